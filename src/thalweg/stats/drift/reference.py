"""What the columns of a table looked like, in a bounded size: what later rows are compared with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from thalweg.stats.numbers import NumberSummary, finite
from thalweg.stats.parsing import means_missing
from thalweg.stats.summary import ColumnSummary
from thalweg.stats.table import TableSummary

Shape = Literal["number", "values", "length", "time", "key", "nothing"]
"""How a column is looked at: by its numbers, its frequent values or the lengths of its texts and
lists. Of times, of keys (each row has its own) and of bytes only what is missing is compared."""

BINS: Final = 64
"""How many parts the quantiles cut numbers into."""
TOP: Final = 100
"""The most values that are kept of a column."""

_FEW: Final = 20  # numbers with no more distinct values than this are looked at as values
_MOST: Final = 0.9  # so much of what is there must read as a number, or as a time
_UNIQUE: Final = 0.9  # where so much of the rows are distinct whole numbers or texts, it is a key
_KEYED: Final = 100  # fewer rows do not tell
_LISTED: Final = 1000  # so many of the most frequent values of a column are looked through
_SURE: Final = 3.0  # by so many of its deviations a count must lie above those not kept

Floats = NDArray[np.float64]


class Plain(BaseModel):
    """Frozen data that survives JSON and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@final
class ColumnReference(Plain):
    """The distribution of a column.

    Parameters
    ----------
    shape
        How it is looked at.
    count
        How many cells are there and could be read in that way.
    missing
        The share of rows that are missing, or could not be read.
    edges
        Of numbers and lengths: ascending, the smallest and the largest among them.
    shares
        The share of cells up to the first edge, up to each other one, and above the last; or of
        each value of `values`.
    values
        The most frequent values, as text.
    complete
        Whether `values` are all that there were.
    singles
        How many of the values came once: so many more are to be expected unseen (Good 1953).
    mean, deviation
        Of numbers and lengths.
    """

    shape: Shape
    count: int
    missing: float
    edges: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    complete: bool = True
    singles: int = 0
    mean: float | None = None
    deviation: float | None = None

    @model_validator(mode="after")
    def _fits(self) -> ColumnReference:
        """Refuse what compares to nothing."""
        parts = len(self.values) or (len(self.edges) + 1 if self.edges else 0)
        if len(self.shares) != parts or list(self.edges) != sorted(set(self.edges)):
            message = f"{len(self.shares)} shares of {parts} parts"
            raise ValueError(message)
        return self

    @classmethod
    def of(cls, column: ColumnSummary, rows: int, shape: Shape | None = None) -> ColumnReference:
        """Sum up a column.

        Parameters
        ----------
        column
            Its statistics.
        rows
            How many rows its table has: more than its own, where some batches lack it.
        shape
            How it is to be looked at; by default what suits it.
        """
        shape = shape or _shape(column)
        counts, edges = np.zeros(0), np.zeros(0)
        values: tuple[str, ...] = ()
        complete, singles = True, 0
        numbers = quantities(column, shape)
        if shape == "values":
            values, counts, complete = _frequent(column)
            singles = int((counts == 1).sum()) if complete else 0
            if not values:  # none is frequent enough to be told from the others
                shape = "length" if column.lengths.count else "nothing"
                numbers = quantities(column, shape)
        if numbers is not None:
            edges = _edges(numbers)
            counts = parted(cumulated(numbers, edges)) * numbers.count
        count = present(column, shape)
        return cls(
            shape=shape,
            count=count,
            missing=1 - count / rows if rows else 0.0,
            edges=tuple(edges.tolist()),
            shares=tuple((counts / max(count, 1)).tolist()),
            values=values,
            complete=complete,
            singles=singles,
            mean=None if numbers is None else finite(numbers.mean),
            deviation=None if numbers is None else finite(numbers.deviation),
        )


@final
class Reference(Plain):
    """The distribution of each column of a table: a few KB a column, however large the table.

    It holds no cells but the most frequent values of columns that repeat them, and the numbers at
    the quantiles; of texts that do not repeat, and of bytes, no more than lengths and what is
    missing.

    Parameters
    ----------
    rows
        How many rows it was made of.
    columns
        The columns by name.

    Examples
    --------
    >>> summary = TableSummary()
    >>> summary.update(pa.record_batch({"city": ["Ulm", "Bonn", "Ulm", None]}))
    >>> found = Reference.of(summary).columns["city"]
    >>> found.values, found.count, found.missing
    (('Ulm', 'Bonn'), 3, 0.25)
    """

    version: Literal[1] = 1
    rows: int
    columns: dict[str, ColumnReference]

    @classmethod
    def of(cls, summary: TableSummary, columns: Iterable[str] | None = None) -> Reference:
        """Sum up a table.

        Parameters
        ----------
        summary
            Its statistics.
        columns
            Which columns; all by default. Those that are not there are left out.
        """
        names = summary.columns if columns is None else columns
        found = {
            name: ColumnReference.of(summary.columns[name], summary.rows)
            for name in names
            if name in summary.columns
        }
        return cls(rows=summary.rows, columns=found)


def present(column: ColumnSummary, shape: Shape) -> int:
    """Count the cells of a column that are there and can be read in a way."""
    if shape == "number":
        return column.numbers.count
    return max(column.rows - column.nulls - column.missing_texts, 0)


def quantities(column: ColumnSummary, shape: Shape) -> NumberSummary | None:
    """Give the numbers that a column is looked at by; None where it is not."""
    match shape:
        case "number":
            return column.numbers
        case "length":
            return column.sizes if column.sizes.count else column.lengths
        case _:
            return None


def cumulated(numbers: NumberSummary, edges: Floats, like: Floats | None = None) -> Floats:
    """Give the share of numbers up to each edge [E].

    A coarse histogram does not tell where in a bucket its numbers lie. Where a heap of equal
    numbers is in one with an edge, interpolation would move it: it is taken to lie as it did in the
    shares ``like`` [E], as far as the bucket allows.
    """
    found = numbers.histogram.cdf(edges)
    if like is None or not len(edges) or not numbers.count:
        return found
    low, high, counts = numbers.histogram.buckets()
    ends = np.cumsum(counts) / counts.sum()
    share = counts / counts.sum()
    bucket = np.clip(np.searchsorted(low, edges, side="right") - 1, 0, None)
    parted = (low[bucket] <= edges) & (edges < high[bucket]) & (share[bucket] > 1 / BINS)
    within = np.clip(like, (ends - share)[bucket], ends[bucket])
    return np.where(parted, within, found)


def tallied(column: ColumnSummary) -> tuple[dict[str, int], bool]:
    """Give the most frequent values that mean something, and whether these are all there are."""
    common = column.top(_LISTED)
    whole = len(common) < _LISTED and column.counts_exact
    if column.missing_texts and common:
        gone = means_missing(pa.array([text.strip() for text, _ in common], pa.large_string()))
        common = [one for one, missing in zip(common, gone.tolist(), strict=True) if not missing]
    return dict(common), whole


def _shape(column: ColumnSummary) -> Shape:
    """Decide how a column is looked at."""
    there = present(column, "nothing")
    if not there:
        return "nothing"
    if column.sizes.count:
        return "length"
    distinct = column.distinct()
    numbers = column.numbers
    if numbers.count >= _MOST * there and distinct > _FEW:
        whole = numbers.whole == numbers.count
        keyed = whole and there >= _KEYED and distinct > _UNIQUE * there
        return "key" if keyed else "number"
    if column.times.count >= _MOST * there:
        return "time"
    if column.texts or column.booleans or numbers.count:
        return "values"
    return "nothing"


def _frequent(column: ColumnSummary) -> tuple[tuple[str, ...], Floats, bool]:
    """Give the values that are kept, their counts, and whether these are all there are.

    Where they are not all, those at the end of the list are there by luck, and would be rarer in
    any other rows: a value is kept only where its count is surely above those that are not.
    """
    found, whole = tallied(column)
    if whole and len(found) <= TOP:
        return tuple(found), np.array(list(found.values()), dtype=np.float64), True
    counts = np.array(list(found.values()), dtype=np.float64)
    rest = counts[TOP] if len(counts) > TOP else counts[-1] if len(counts) else 0.0
    sure = counts[:TOP] - _SURE * np.sqrt(counts[:TOP]) > rest
    kept = int(np.argmin(sure)) if not sure.all() else len(sure)
    return tuple(list(found)[:kept]), counts[:kept], False


def parted(below: Floats) -> Floats:
    """Give the share of each part [E + 1] by what lies below the edges [E]; none of no edges."""
    return np.diff(np.concatenate(([0.0], below, [1.0]))) if len(below) else np.zeros(0)


def _edges(numbers: NumberSummary) -> Floats:
    """Cut numbers at their quantiles, and around each heap of equal ones."""
    if not numbers.count:
        return np.zeros(0)
    low, high, counts = numbers.histogram.buckets()
    heaped = counts > counts.sum() / BINS
    cuts = numbers.quantile(np.linspace(0, 1, BINS + 1))
    bucket = np.clip(np.searchsorted(low, cuts, side="right") - 1, 0, None)
    cuts = cuts[~heaped[bucket] | (cuts >= high[bucket])]
    with np.errstate(over="ignore"):  # nothing is less than the least number
        below = np.nextafter(low[heaped], -np.inf)
    edges = np.unique(np.concatenate([cuts, below, high[heaped]]))
    found: Floats = edges[np.isfinite(edges)]
    return found
