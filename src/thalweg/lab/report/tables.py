"""The tables of a page, some with small drawings: intervals, confusion, slices, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from thalweg.lab.report.standing import Contest
from thalweg.lab.report.wording import chance, compact, finite, metric_named, number, share
from thalweg.models.record import Evaluation, Figure, Importance, Slice

MOST_CLASSES: Final = 12
"""How many classes a confusion matrix shows on their own; the rest are put together."""

MOST_LABELS: Final = 100
"""How many labels the table of labels shows."""

OTHERS: Final = "all other classes"


@final
@dataclass(frozen=True, slots=True)
class Dot:
    """A figure with its interval on an axis, in percent of the drawing.

    Parameters
    ----------
    at, left, right
        Where the figure and its bounds lie; None where there is no figure.
    outside
        ``left`` or ``right`` where the figure lies beyond the axis, else empty.
    """

    at: float | None
    left: float = 0.0
    right: float = 0.0
    outside: str = ""


def dot(figure: Figure | None, axis: tuple[float, float]) -> Dot:
    """Place a figure on an axis.

    Examples
    --------
    >>> dot(Figure(value=5.0, low=4.0, high=7.0), (0.0, 10.0))
    Dot(at=50.0, left=40.0, right=70.0, outside='')
    """
    low, high = axis
    if figure is None or not finite(figure.value) or not high > low:
        return Dot(None)
    ends = [figure.value, figure.low, figure.high]
    at, left, right = (
        round(
            min(max(100 * ((end if finite(end) else figure.value) - low) / (high - low), 0), 100), 2
        )
        for end in ends
    )
    outside = "left" if figure.value < low else "right" if figure.value > high else ""
    return Dot(at, left, right, outside)


@final
@dataclass(frozen=True, slots=True)
class Line:
    """A labelled row of a dot-and-interval plot."""

    label: str
    text: str
    bounds: str
    dot: Dot
    strong: bool = False
    tag: str = ""


def contest_lines(contest: Contest) -> list[Line]:
    """Draw every contender of one metric."""
    return [
        Line(
            one.label,
            one.text,
            one.bounds,
            dot(one.figure, contest.axis),
            one.own,
            "best" if one.best else "",
        )
        for one in contest.contenders
    ]


@final
@dataclass(frozen=True, slots=True)
class Importances:
    """How much each column matters, the most first.

    Parameters
    ----------
    lines
        A row of the plot for each column.
    zero
        Where no effect lies, in percent of the drawing.
    """

    lines: Sequence[Line]
    zero: float


def importance_lines(importances: Sequence[Importance]) -> Importances:
    """Draw the columns' importances on one axis that holds zero."""
    known = [one for one in importances if finite(one.value)]
    known.sort(key=lambda one: -one.value)
    ends = [end for one in known for end in (one.value, one.low, one.high) if finite(end)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    margin = 0.02 * (high - low) or 1.0
    axis = (low - margin, high + margin)
    largest = max((abs(one.value) for one in known), default=0.0)
    lines = []
    for one in known:
        figure = Figure(value=one.value, low=one.low, high=one.high)
        lines.append(
            Line(
                one.column,
                number(one.value, largest),
                f"{number(one.low, largest)} to {number(one.high, largest)}",
                dot(figure, axis),
                strong=finite(one.low) and one.low > 0,
                tag=one.kind,
            )
        )
    return Importances(lines, round(100 * -axis[0] / (axis[1] - axis[0]), 2))


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a confusion matrix: its count, share of the row, and darkness from 0 to 10."""

    count: int
    share: str
    heat: int
    right: bool


@final
@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix, true classes down and predicted classes across.

    Parameters
    ----------
    classes
        The classes' names; the last may stand for all that are left.
    rows
        For each true class its cells, and how many rows it has.
    mistakes
        The most frequent mistakes: true class, predicted class, count, share of the true class.
    """

    classes: Sequence[str]
    rows: Sequence[tuple[Sequence[Cell], int]]
    mistakes: Sequence[tuple[str, str, int, str]]


def confusion(evaluation: Evaluation) -> Confusion | None:
    """Prepare the confusion matrix; of many classes the commonest, the rest put together."""
    counts = np.array(evaluation.confusion, dtype=np.int64)
    names = list(evaluation.classes)
    if counts.ndim != 2 or counts.shape != (len(names), len(names)) or not names:
        return None
    mistakes = _mistakes(counts, names)
    if len(names) > MOST_CLASSES:
        order = np.argsort(-counts.sum(axis=1), kind="stable")
        kept = np.sort(order[: MOST_CLASSES - 1])
        place = np.full(len(names), len(kept))
        place[kept] = np.arange(len(kept))
        folded = np.zeros((len(kept) + 1, len(kept) + 1), dtype=np.int64)
        np.add.at(folded, (place[:, None], place[None, :]), counts)
        counts, names = folded, [*(names[index] for index in kept), OTHERS]
    rows = []
    for true, row in enumerate(counts.tolist()):
        whole = sum(row)
        cells = tuple(
            Cell(count, share(count, whole), round(10 * count / whole) if whole else 0, at == true)
            for at, count in enumerate(row)
        )
        rows.append((cells, whole))
    return Confusion(tuple(names), tuple(rows), mistakes)


def _mistakes(
    counts: np.ndarray[Any, np.dtype[np.int64]], names: Sequence[str]
) -> list[tuple[str, str, int, str]]:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(-wrong, axis=None, kind="stable")[:5]
    found = []
    for true, predicted in zip(
        *(axis.tolist() for axis in np.unravel_index(worst, wrong.shape)), strict=True
    ):
        count, whole = int(wrong[true, predicted]), int(counts[true].sum())
        if count:
            found.append((names[true], names[predicted], count, share(count, whole)))
    return found


@final
@dataclass(frozen=True, slots=True)
class LabelRow:
    """How one of several labels fares, in words."""

    name: str
    support: str
    precision: str
    recall: str
    f1: str
    ranked: str
    threshold: str


def label_rows(evaluation: Evaluation) -> list[LabelRow]:
    """Put into words how the labels fare, the commonest first, 100 at most."""
    ordered = sorted(evaluation.labels, key=lambda one: -one.support)[:MOST_LABELS]
    return [
        LabelRow(
            one.name,
            f"{one.support:,}",
            number(one.precision, 1.0),
            number(one.recall, 1.0),
            number(one.f1, 1.0),
            number(one.average_precision, 1.0),
            number(one.threshold, 1.0),
        )
        for one in ordered
    ]


@final
@dataclass(frozen=True, slots=True)
class Weakness:
    """A slice in words."""

    where: str
    rows: str
    value: str
    loss: str
    rest: str
    times: str
    chance: str


def weaknesses(slices: Sequence[Slice]) -> list[Weakness]:
    """Put the slices on which the model does worst into words; no value where it is the loss."""
    values = [float("nan") if one.value is None else one.value for one in slices]
    losses = [one.loss for one in slices]
    same = np.allclose(values, losses, equal_nan=True)
    largest, worst = (
        max((abs(value) for value in some if finite(value)), default=0.0)
        for some in (values, losses)
    )
    return [
        Weakness(
            one.where,
            f"{one.rows:,}",
            "" if same else number(value, largest),
            _amount(one.loss, worst),
            _amount(one.rest, worst),
            f"{one.loss / one.rest:.1f}×" if finite(one.loss) and one.rest > 0 else "",
            chance(one.probability),
        )
        for one, value in zip(slices, values, strict=True)
    ]


def _amount(value: float, largest: float) -> str:
    """Write a loss; squared errors may be huge."""
    return compact(value) if largest >= 1e6 else number(value, largest)


def settings_rows(settings: Mapping[str, Any], within: str = "") -> list[tuple[str, str]]:
    """Write settings down as name and text, nested ones with a dot; what is not set is left out.

    Examples
    --------
    >>> settings_rows({"seed": 1, "out": None, "recipe": {"width": 64}, "drop": ["id", "key"]})
    [('seed', '1'), ('recipe.width', '64'), ('drop', 'id, key')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows += settings_rows(value, f"{within}{name}.")
        elif isinstance(value, (list, tuple)):
            rows.append((within + name, ", ".join(map(str, value)) or "none"))
        elif isinstance(value, bool):
            rows.append((within + name, "yes" if value else "no"))
        elif value is not None:
            rows.append((within + name, str(value)))
    return rows


def metric_label(name: str) -> str:
    """Write a metric's name as people do."""
    return metric_named(name).label
