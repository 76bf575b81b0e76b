"""The worst mistakes as a page shows them: pictures, sounds, words that mattered, values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from thalweg.kinds.base import Task
from thalweg.lab.report import wording
from thalweg.models.record import Evaluation, Exhibit, Mistake

MOST_SOURCES: Final = 5_000_000
"""How many letters all pictures and sounds of a page may take."""

STEPS: Final = 5
"""How many shades tell how much a word mattered."""

FAINT: Final = 0.02
"""A probability that changes by less is not worth a full shade."""

TYPES: Final = {"image": "image/png", "audio": "audio/wav"}


@final
@dataclass(frozen=True, slots=True)
class Word:
    """A piece of a text.

    Parameters
    ----------
    text
        As it stands.
    shade
        A class of the stylesheet: ``for-3``, ``against-1``; empty where it hardly mattered.
    title
        How much it mattered, in words.
    """

    text: str
    shade: str = ""
    title: str = ""


@final
@dataclass(frozen=True, slots=True)
class Shown:
    """A cell of a row.

    Parameters
    ----------
    column
        Its column.
    media
        ``image``, ``audio``, ``text`` or ``value``.
    source
        Of a picture or a sound: a ``data:`` URI; empty where there is none.
    words
        Of a text: its pieces.
    text
        Of another value: what it says.
    note
        Why there is nothing.
    """

    column: str
    media: Literal["image", "audio", "text", "value"]
    source: str = ""
    words: tuple[Word, ...] = ()
    text: str = ""
    note: str = ""


@final
@dataclass(frozen=True, slots=True)
class Case:
    """A row that went wrong.

    Parameters
    ----------
    truth, prediction
        In words.
    chance
        What the model gave the prediction, in words; empty for numbers.
    media, values
        Its cells: those to look at, listen to and read, and all others.
    """

    truth: str
    prediction: str
    chance: str
    media: tuple[Shown, ...]
    values: tuple[Shown, ...]


@final
@dataclass(frozen=True, slots=True)
class Cases:
    """All rows that are shown.

    Parameters
    ----------
    cases
        The worst first.
    sentence
        What they are.
    words
        What the colours of words mean; empty where there are none.
    """

    cases: tuple[Case, ...]
    sentence: str
    words: str

    @property
    def rich(self) -> bool:
        """Whether there is anything but values."""
        return any(case.media for case in self.cases)

    @property
    def sources(self) -> frozenset[str]:
        """Which media the page brings along."""
        return frozenset(one.media for case in self.cases for one in case.media if one.source)


def cases(evaluation: Evaluation) -> Cases:
    """Prepare the worst mistakes."""
    room = MOST_SOURCES
    found = []
    for mistake in evaluation.mistakes:
        case, room = _case(mistake, room)
        found.append(case)
    coloured = any(one.words for case in found for one in case.media)
    return Cases(tuple(found), _sentence(evaluation.task), _legend(evaluation) if coloured else "")


def _sentence(task: Task) -> str:
    if task == "regression":
        return "The unseen rows whose prediction is farthest from the truth."
    if task == "anomaly":
        return (
            "The oddest of the unseen rows, with the chance of a score so high among ordinary rows "
            "and first the columns that make each so."
        )
    if task == "multilabel":
        return "The unseen rows whose labels surprised the model most."
    return "The unseen rows that were called wrongly with the most confidence."


def _legend(evaluation: Evaluation) -> str:
    what = {"regression": "the predicted number", "multilabel": "the most mistaken label"}
    subject = what.get(evaluation.task, "the predicted class")
    return (
        f"Words are coloured by what {subject} loses when each is left out: "
        "the ones that spoke for it, and the ones that spoke against it."
    )


def _case(mistake: Mistake, room: int) -> tuple[Case, int]:
    """Prepare one row; say how much room its pictures and sounds leave."""
    media, values = [], []
    for exhibit in mistake.exhibits:
        if exhibit.media in TYPES:
            fits = len(exhibit.data) <= room
            room -= len(exhibit.data) if fits else 0
            media.append(_played(exhibit, fits=fits))
        elif exhibit.media == "text":
            words = tuple(_words(exhibit))
            media.append(Shown(exhibit.column, "text", words=words, note=exhibit.note))
        else:
            values.append(Shown(exhibit.column, "value", text=exhibit.data, note=exhibit.note))
    chance = "" if mistake.probability is None else wording.share(mistake.probability)
    case = Case(mistake.truth, mistake.prediction, chance, tuple(media), tuple(values))
    return case, room


def _played(exhibit: Exhibit, *, fits: bool) -> Shown:
    """Prepare a picture or a sound."""
    if not exhibit.data or not fits:
        return Shown(exhibit.column, exhibit.media, note=exhibit.note or "no room for it here")
    source = f"data:{TYPES[exhibit.media]};base64,{exhibit.data}"
    return Shown(exhibit.column, exhibit.media, source=source)


def _words(exhibit: Exhibit) -> Iterable[Word]:
    """Colour a text's pieces."""
    if not exhibit.pieces:
        return [Word(exhibit.data)] if exhibit.data else []
    weights = [weight for _, weight in exhibit.pieces]
    shades = _shades(weights)
    return [
        Word(piece, shade, f"{weight:+.3g}".replace("-", "−") if shade else "")
        for (piece, weight), shade in zip(exhibit.pieces, shades, strict=True)
    ]


def _shades(weights: Sequence[float]) -> list[str]:
    """Name the shade of each weight.

    Examples
    --------
    >>> _shades([0.5, -0.3, 0.0, float("nan")])
    ['for-5', 'against-3', '', '']
    """
    finite = [abs(weight) for weight in weights if wording.finite(weight)]
    largest = max([FAINT, *finite])
    found = []
    for weight in weights:
        step = round(STEPS * abs(weight) / largest) if wording.finite(weight) else 0
        found.append(f"{'for' if weight > 0 else 'against'}-{step}" if step else "")
    return found
