"""Fill gaps of one number along another column: a temperature along the time.

What stands in for a missing cell is read from a curve that was fitted on the training rows: the
mean of the number in each stretch of the other column, joined by straight lines. So the fill
depends on the row alone, never on its neighbours: one row, a batch and a stream give the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import ColumnError
from thalweg.stats import ColumnSummary, TableSummary
from thalweg.stats.parsing import (
    canonical_text,
    is_missing_text,
    number_text,
    read_numbers,
    read_times,
)
from thalweg.stats.sums import ExactSum

STRETCHES: Final = 256


@final
@dataclass(frozen=True, slots=True)
class Curve:
    """A number along another column.

    Parameters
    ----------
    column
        The number with gaps.
    along
        The column that orders it: numbers, dates or times.
    places
        Where the curve is known: the stretches' own means, rising.
    values
        The number there.
    """

    column: str
    along: str
    places: tuple[float, ...]
    values: tuple[float, ...]

    def fill(self, column: pa.Array, along: pa.Array) -> pa.Array:
        """Fill the gaps of a column [N] where the other one [N] is known.

        Examples
        --------
        >>> curve = Curve("heat", "hour", (0.0, 10.0), (5.0, 25.0))
        >>> curve.fill(pa.array([1.0, None]), pa.array([3, 5])).to_pylist()
        [1.0, 15.0]
        """
        missing = _missing(column)
        places, placed = _places(along)
        gaps = missing & placed
        if not gaps.any() or not self.places:
            return column
        fills = np.zeros(len(column))
        fills[gaps] = np.interp(places[gaps], self.places, self.values)
        # What is there stays as it is, readable or not: a cell must not depend on those around it.
        types = pa.types
        if types.is_floating(column.type) or types.is_integer(column.type):
            return pc.if_else(pa.array(gaps), fills, column.cast(pa.float64(), safe=False))
        return pc.if_else(pa.array(gaps), number_text(fills), canonical_text(column))

    def to_json(self) -> dict[str, Any]:
        """Give plain data."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Read plain data back."""
        places, values = tuple(given["places"]), tuple(given["values"])
        return cls(given["column"], given["along"], places, values)


def fit_curves(
    wanted: Mapping[str, str], summary: TableSummary, batches: Iterable[pa.RecordBatch]
) -> tuple[Curve, ...]:
    """Fit curves in one pass over the training rows.

    Parameters
    ----------
    wanted
        Column -> the column that it is to be interpolated along.
    summary
        The statistics of the training rows; the stretches are quantiles.
    batches
        The training rows. Their order and cut do not matter: the sums are exact.

    Raises
    ------
    ColumnError
        Where a column to go along holds neither numbers nor times.
    """
    if not wanted:
        return ()
    edges = {name: _edges(along, summary.columns[along]) for name, along in wanted.items()}
    sums = {name: [_Stretch() for _ in range(len(cut) + 1)] for name, cut in edges.items()}
    for rows in batches:
        for name, along in wanted.items():
            numbers, known = read_numbers(rows.column(name))
            places, placed = _places(rows.column(along))
            both = known & placed
            stretch = np.searchsorted(edges[name], places[both], side="right")
            for index in np.unique(stretch):
                inside = stretch == index
                sums[name][index].update(places[both][inside], numbers[both][inside])
    return tuple(_curve(name, along, sums[name]) for name, along in wanted.items())


@final
class _Stretch:
    """The exact means of a stretch."""

    def __init__(self) -> None:
        self.places = ExactSum()
        self.values = ExactSum()

    def update(self, places: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        self.places.update(places)
        self.values.update(values)


def _curve(name: str, along: str, stretches: Sequence[_Stretch]) -> Curve:
    points = {one.places.mean: one.values.mean for one in stretches if one.places.count}
    places = sorted(points)
    return Curve(name, along, tuple(places), tuple(points[place] for place in places))


def _edges(name: str, summary: ColumnSummary) -> NDArray[np.float64]:
    """Cut the column to go along at quantiles."""
    ordered = summary.times if summary.times.count >= summary.numbers.count else summary.numbers
    if not ordered.count:
        raise ColumnError(
            f"column {name!r} gives no order", "numbers, dates or times to go along", "Use another."
        )
    return np.unique(ordered.quantile(np.linspace(0, 1, STRETCHES + 1)[1:-1]))


def _missing(array: pa.Array) -> NDArray[np.bool_]:
    """Say which cells [N] hold nothing: null, NaN or a word for missing."""
    nothing: NDArray[np.bool_] = array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    return nothing | is_missing_text(array)


def _places(array: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read numbers or times, whichever a cell is."""
    numbers, known = read_numbers(array)
    times, timed = read_times(array)
    return np.where(timed, times, numbers), known | timed
