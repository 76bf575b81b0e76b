"""The rows that a model judged worst, with their cells as the network saw and heard them.

Cells come back from their encoding, so that nothing of the raw data need be kept. In texts, the
words that mattered are found by leaving each out in turn (occlusion, Zeiler and Fergus 2014).
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.data.arrays import Arrays
from thalweg.data.schema import Column
from thalweg.kinds import KINDS
from thalweg.kinds.base import Encoded
from thalweg.kinds.classes import decide
from thalweg.lab.metrics import losses
from thalweg.models.decoder import Answers
from thalweg.models.model import Model
from thalweg.models.record import Exhibit, Importance, Mistake
from thalweg.stats.parsing import canonical_text

MOST_BYTES: Final = 3 << 20
"""What all pictures and sounds of a record may take, in base64."""

MOST_CELL: Final = 1 << 19
"""What one of them may take."""

MOST_LETTERS: Final = 1_200
MOST_PIECES: Final = 40
MOST_VALUES: Final = 12
"""How many other columns of a row are shown."""

MOST_ITEMS: Final = 5
"""How many items of a list are shown."""

LARGE: Final = "too large to be kept here"
MISSING: Final = "missing"

_PIECE: Final = re.compile(
    # A sign of a script without blanks stands alone; a word takes what follows it along.
    r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\u0e00-\u0eff\U00020000-\U0003ffff]\W*"
    r"|[^\s\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\u0e00-\u0eff\U00020000-\U0003ffff]+\s*"
    r"|\s+"
)

Media = Literal["image", "audio", "text", "value"]
Scores = Callable[[Arrays], NDArray[np.float64]]


def worst_mistakes(
    model: Model,
    arrays: Arrays,
    truth: NDArray[Any],
    answers: Answers,
    importances: Sequence[Importance] = (),
    most: int = 12,
) -> list[Mistake]:
    """Show the rows with the highest loss; of classes, those that were called wrongly.

    Parameters
    ----------
    model
        The judged model.
    arrays
        The rows that it was judged on.
    truth
        Of these rows; see `thalweg.lab.evaluate.truth_of`.
    answers
        What it said of them.
    importances
        Which columns to show first.
    most
        How many rows.

    Returns
    -------
    list
        The worst first.
    """
    loss = losses(model.task, truth, answers.prediction)
    wrong = np.isfinite(loss)
    if model.task in ("binary", "multiclass"):
        called = decide(answers.prediction, model.calibration.threshold)
        wrong &= called != truth
    rows = np.flatnonzero(wrong)
    rows = rows[np.argsort(-loss[rows], kind="stable")][:most]
    if not len(rows):
        return []
    sayings = [_saying(model, truth, answers, row) for row in rows.tolist()]
    exhibits = _exhibits(model, arrays.take(rows), [one.place for one in sayings], importances)
    return [
        Mistake(
            truth=one.truth,
            prediction=one.prediction,
            probability=one.probability,
            loss=float(loss[row]),
            exhibits=shown,
        )
        for row, one, shown in zip(rows.tolist(), sayings, exhibits, strict=True)
    ]


@final
@dataclass(frozen=True, slots=True)
class _Saying:
    """What was true of a row and what was said of it, in words; where its probability stands."""

    truth: str
    prediction: str
    probability: float | None
    place: int


def _saying(model: Model, truth: NDArray[Any], answers: Answers, row: int) -> _Saying:
    """Put a row's truth and prediction into words."""
    said = answers.prediction[row]
    if model.task == "regression":
        return _Saying(f"{float(truth[row]):.6g}", f"{float(said):.6g}", None, 0)
    classes = model.classes
    if model.task == "multilabel":
        given = np.broadcast_to(_thresholds(model), said.shape) <= said
        right = truth[row].astype(np.bool_)
        worst = int(np.abs(right - said).argmax())
        return _Saying(_labels(classes, right), _labels(classes, given), None, worst)
    (chosen,) = decide(said[None], model.calibration.threshold).tolist()
    return _Saying(classes[int(truth[row])], classes[chosen], float(said[chosen]), chosen)


def _thresholds(model: Model) -> NDArray[np.float64]:
    threshold = model.calibration.threshold
    return np.asarray(0.5 if threshold is None else threshold, dtype=np.float64)


def _labels(classes: Sequence[str], given: NDArray[np.bool_]) -> str:
    return ", ".join(name for name, one in zip(classes, given, strict=True) if one) or "no label"


def _exhibits(
    model: Model, arrays: Arrays, places: Sequence[int], importances: Sequence[Importance]
) -> list[list[Exhibit]]:
    """Show the cells of some rows: pictures, sounds and texts, and the values that matter."""
    restored = _restored(model, arrays)
    columns = {column.name: column for column in model.schema.columns}
    media = {name: _media(columns[name], cells) for name, cells in restored.items()}
    weights = {one.column: one.value for one in importances}
    values = sorted(
        (name for name in columns if media[name] == "value"),
        key=lambda name: -weights.get(name, 0.0),
    )
    names = [name for name in columns if media[name] != "value"] + values[:MOST_VALUES]
    pieces = {
        name: _pieces(model, arrays, restored, columns[name], places)
        for name in names
        if media[name] == "text"
    }
    texts = {name: _texts(restored[name]) for name in names if media[name] == "value"}
    room = MOST_BYTES
    found = []
    for row in range(len(arrays)):
        shown = []
        for name in names:
            cell = texts[name][row] if name in texts else restored[name][row].as_py()
            one = _exhibit(name, media[name], cell, room)
            if one.media in ("image", "audio"):
                room -= len(one.data)
            if name in pieces and one.data:
                one = one.model_copy(update={"pieces": pieces[name][row]})
            shown.append(one)
        found.append(shown)
    return found


def exhibits_of(
    model: Model, arrays: Arrays, weights: Sequence[Mapping[str, float]]
) -> list[list[Exhibit]]:
    """Show the cells of rows [N], media first, then values by what each weighs in its row."""
    restored = _restored(model, arrays)
    columns = {column.name: column for column in model.schema.columns}
    media = {name: _media(columns[name], cells) for name, cells in restored.items()}
    texts = {name: _texts(restored[name]) for name in columns if media[name] == "value"}
    first = [name for name in columns if media[name] != "value"]
    room = MOST_BYTES
    found = []
    for row, weight in enumerate(weights):
        values = sorted(texts, key=lambda name: -weight.get(name, -math.inf))[:MOST_VALUES]
        shown = []
        for name in first + values:
            cell = texts[name][row] if name in texts else restored[name][row].as_py()
            one = _exhibit(name, media[name], cell, room)
            if one.media in ("image", "audio"):
                room -= len(one.data)
            shown.append(one)
        found.append(shown)
    return found


def _texts(cells: pa.Array) -> list[str | None]:
    """Write values; numbers to six digits, which is as much as their encoding keeps."""
    if pa.types.is_floating(cells.type):
        return [None if cell is None else f"{cell:.6g}" for cell in cells.to_pylist()]
    if pa.types.is_nested(cells.type):
        return [None if cell is None else _listed(cell) for cell in cells.to_pylist()]
    texts: list[str | None] = canonical_text(cells).to_pylist()
    return texts


def _listed(cell: Sequence[Any]) -> str:
    shown = [f"{one:.3g}" if isinstance(one, float) else str(one) for one in cell[:MOST_ITEMS]]
    more = f" and {len(cell) - MOST_ITEMS} more" if len(cell) > MOST_ITEMS else ""
    return ", ".join(shown) + more


def _exhibit(column: str, media: Media, cell: bytes | str | None, room: int) -> Exhibit:
    """Show one cell, where there is room for it."""
    if cell is None or len(cell) == 0:
        return Exhibit(column=column, media=media, data="", note=MISSING)
    if isinstance(cell, bytes):
        data = base64.b64encode(cell).decode()
        if len(data) > min(room, MOST_CELL):
            return Exhibit(column=column, media=media, data="", note=LARGE)
        return Exhibit(column=column, media=media, data=data)
    return Exhibit(column=column, media=media, data=cell[:MOST_LETTERS])


def _restored(model: Model, arrays: Arrays) -> dict[str, pa.Array]:
    """Give the cells of every column back from their encoding."""
    found = {}
    nowhere = np.zeros(len(arrays), np.bool_)
    for name, columns in model.schema.by_kind().items():
        unreadable = np.zeros((len(arrays), len(columns)), np.bool_)
        encoded = Encoded(arrays.features[name], nowhere, unreadable)
        for place, column in enumerate(columns):
            found[column.name] = KINDS[name].restore(encoded, place, column.state)
    return found


def _media(column: Column, cells: pa.Array) -> Media:
    """Say how a column's restored cells are shown."""
    if pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type):
        begun = next((cell for cell in cells.to_pylist() if cell), b"")
        return "image" if begun[:4] == b"\x89PNG" else "audio" if begun[:4] == b"RIFF" else "value"
    return "text" if column.kind == "text" else "value"


def _pieces(
    model: Model,
    arrays: Arrays,
    restored: Mapping[str, pa.Array],
    column: Column,
    places: Sequence[int],
) -> list[list[tuple[str, float]]]:
    """Weigh the pieces of a column's texts: what the prediction loses where one is left out."""
    texts = [(cell or "")[:MOST_LETTERS] for cell in restored[column.name].to_pylist()]
    parts = [pieces_of(text) for text in texts]
    # Each text whole, and then without each of its pieces.
    rows = np.repeat(np.arange(len(texts)), [1 + len(one) for one in parts])
    cells = [
        text
        for text, one in zip(texts, parts, strict=True)
        for text in (text, *("".join(one[:at] + one[at + 1 :]) for at in range(len(one))))
    ]
    changed = _with_cells(model, arrays.take(rows), restored, column, rows, cells)
    answered = model.answers(changed).prediction
    own = np.array(places)[rows]
    scores = answered if answered.ndim == 1 else answered[np.arange(len(rows)), own]
    found, at = [], 0
    for one in parts:
        lost = scores[at] - scores[at + 1 : at + 1 + len(one)]
        found.append([(piece, float(value)) for piece, value in zip(one, lost, strict=True)])
        at += 1 + len(one)
    return found


def _with_cells(
    model: Model,
    arrays: Arrays,
    restored: Mapping[str, pa.Array],
    column: Column,
    rows: NDArray[np.int64],
    cells: Sequence[str],
) -> Arrays:
    """Put other cells into a column of encoded rows: its kind encodes anew, the others stay."""
    columns = model.schema.by_kind()[column.kind]
    again = [
        pa.array(cells, pa.large_string())
        if one.name == column.name
        else restored[one.name].take(pa.array(rows))
        for one in columns
    ]
    encoded = KINDS[column.kind].encode(again, [one.state for one in columns])
    return Arrays({**arrays.features, column.kind: encoded.fields})


def pieces_of(text: str, most: int = MOST_PIECES) -> list[str]:
    """Cut a text into words, or signs where a script has no blanks; into at most so many pieces.

    Examples
    --------
    >>> pieces_of("Not bad, 很好!")
    ['Not ', 'bad, ', '很', '好!']
    >>> pieces_of("one two three four five", most=2)
    ['one two three ', 'four five']
    """
    words = _PIECE.findall(text)
    each = max(1, -(-len(words) // most))
    return ["".join(words[at : at + each]) for at in range(0, len(words), each)]
