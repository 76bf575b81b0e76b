"""What is held of one number column: for each slot its count, extremes, exact sums and buckets."""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.stats.arrays import plain
from thalweg.stats.histogram import ordered_keys, values_of
from thalweg.stats.parsing import read_numbers
from thalweg.stats.windows.limbs import Floats, Limbs, Wide, two_product, two_sum
from thalweg.stats.windows.places import Ids, Mask
from thalweg.stats.windows.runs import Runs

SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
"""The quantiles that are given."""
QUANTILE_ERROR: Final = 2.0**-7
"""By how much of itself a quantile may be off: 0.8%."""

_BITS: Final = 19  # sign, exponent and seven bits of the mantissa
_CUT: Final = 64 - _BITS
_MIDDLE: Final = 1 << (_BITS - 1)
_BLOCK: Final = 1 << 14  # so many values stay in the cache
_VAST: Final = 2.0**500  # squares of larger numbers are not exact, or infinite

FIELDS: Final = (
    ("count", pa.int64()),
    ("mean", pa.float64()),
    ("sum", pa.float64()),
    ("min", pa.float64()),
    ("max", pa.float64()),
    ("deviation", pa.float64()),
    ("p50", pa.float64()),
    ("p95", pa.float64()),
    ("p99", pa.float64()),
)
"""The names and types of what is given of a number column."""


@final
class Numbers:
    """Statistics of one number column by slot. Null, NaN and infinite values are left out."""

    __slots__ = ("_broken", "_buckets", "_count", "_high", "_low", "_squares", "_sums")

    fields = FIELDS

    def __init__(self) -> None:
        self._count: Ids = np.zeros(0, dtype=np.int64)
        self._low: Floats = np.zeros(0)
        self._high: Floats = np.zeros(0)
        self._broken: Mask = np.zeros(0, dtype=np.bool_)  # whether any number is not whole
        self._sums, self._squares = Limbs(), Limbs()
        self._buckets = Runs(_BITS)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        dense = (self._count, self._low, self._high, self._broken)
        parts = (self._sums, self._squares, self._buckets)
        return sum(array.nbytes for array in dense) + sum(part.nbytes for part in parts)

    def grow(self, slots: int) -> None:
        """Make room for so many slots."""
        more = slots - len(self._count)
        self._count = np.concatenate([self._count, np.zeros(more, dtype=np.int64)])
        self._low = np.concatenate([self._low, np.full(more, np.inf)])
        self._high = np.concatenate([self._high, np.full(more, -np.inf)])
        self._broken = np.concatenate([self._broken, np.zeros(more, dtype=np.bool_)])
        self._sums.grow(slots)
        self._squares.grow(slots)

    def take(self, slots: Ids, column: pa.Array) -> None:
        """Take values [N] into slots [N]."""
        column = plain(column)
        if isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        values, valid = read_numbers(column)
        if not valid.all():
            slots, values = slots[valid], values[valid]
        if not len(values):
            return
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK] + 0.0  # -0.0 is 0.0
            self._take(slots[start : start + _BLOCK], block)

    def prepare(self, wanted: int, slots: int) -> None:
        """Make ready to be asked for so many of so many slots."""
        self._buckets.prepare(wanted, slots)

    def results(self, slots: Ids, begins: Ids) -> dict[str, pa.Array]:
        """Give the statistics of groups of slots [M], each of which begins somewhere."""
        count = np.add.reduceat(self._count[slots], begins)
        none = count == 0
        low = np.where(none, 0.0, np.minimum.reduceat(self._low[slots], begins))
        high = np.where(none, 0.0, np.maximum.reduceat(self._high[slots], begins))
        broken = np.logical_or.reduceat(self._broken[slots], begins)
        sums = self._sums.gather(slots, begins)
        squares = self._squares.gather(slots, begins)
        vast = np.maximum(np.abs(low), np.abs(high)) >= _VAST
        _, marks, counts = self._buckets.of(slots, begins)
        found = {
            "mean": _mean(*sums, count),
            "sum": _scaled(sums[0], sums[2]),
            "min": low,
            "max": high,
            "deviation": np.where(vast, np.nan, _deviation(sums, squares, count)),
        }
        order = _Order(marks, counts, count, low, high, ~broken)
        found |= {name: order.quantile(share) for name, share in SHARES.items()}
        arrays = {
            name: pa.array(values, mask=none | ~np.isfinite(values))
            for name, values in found.items()
        }
        return {"count": pa.array(count), **arrays}

    def keep(self, alive: Mask) -> None:
        """Forget the slots that are not alive; the others move up."""
        used = len(alive)
        self._count, self._low = self._count[:used][alive], self._low[:used][alive]
        self._high, self._broken = self._high[:used][alive], self._broken[:used][alive]
        for part in (self._sums, self._squares, self._buckets):
            part.keep(alive)

    def tables(self, slots: int) -> dict[str, pa.Table]:
        """Give everything that it is, of the first slots."""
        dense: dict[str, Any] = {
            "count": self._count[:slots],
            "low": self._low[:slots],
            "high": self._high[:slots],
            "broken": self._broken[:slots],
        }
        for name, limbs in (("sum", self._sums), ("square", self._squares)):
            dense |= {f"{name}:{place}": part for place, part in limbs.columns(slots).items()}
        owners, marks, counts = self._buckets.all()
        buckets = {"slot": owners, "mark": marks, "count": counts}
        return {"slots": pa.table(dense), "buckets": pa.table(buckets)}

    @classmethod
    def of(cls, tables: dict[str, pa.Table]) -> Numbers:
        """Make one of what `tables` gave."""
        made, slots = cls(), tables["slots"]
        dense = {name: slots[name].to_numpy() for name in slots.column_names}
        made._count, made._broken = dense.pop("count").copy(), dense.pop("broken").copy()
        made._low, made._high = dense.pop("low").copy(), dense.pop("high").copy()
        limbs = [
            Limbs.of(
                {k.partition(":")[2]: v for k, v in dense.items() if k.startswith(start)},
                len(made._count),
            )
            for start in ("sum:", "square:")
        ]
        made._sums, made._squares = limbs
        held = tables["buckets"]
        made._buckets.replace(*(held[name].to_numpy() for name in ("slot", "mark", "count")))
        return made

    def _take(self, slots: Ids, values: Floats) -> None:
        """Take some finite values in."""
        np.add.at(self._count, slots, 1)
        np.minimum.at(self._low, slots, values)
        np.maximum.at(self._high, slots, values)
        broken = np.rint(values) != values
        if broken.any():
            self._broken[slots[broken]] = True
        self._sums.add(slots, values)
        small = np.abs(values) < _VAST
        if small.all():
            self._squares.add_squares(slots, values)
        else:
            self._squares.add_squares(slots[small], values[small])
        self._buckets.add(slots, (ordered_keys(values) >> _CUT) + _MIDDLE)


def _scaled(values: Floats, exponent: NDArray[np.int64]) -> Floats:
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(values, exponent)


def _mean(high: Floats, low: Floats, exponent: NDArray[np.int64], count: Ids) -> Floats:
    """Divide sums by counts and round once."""
    divisor = np.maximum(count, 1).astype(np.float64)
    quotient = high / divisor
    product, error = two_product(quotient, divisor)
    rest = ((high - product) - error) + low
    return _scaled(quotient + rest / divisor, exponent)


def _deviation(sums: Wide, squares: Wide, count: Ids) -> Floats:
    """Give the sample standard deviation of sums and sums of squares, in about 100 bits."""
    divisor = np.maximum(count, 1).astype(np.float64)
    _, exponent = np.frexp(squares[0])
    half = (exponent + squares[2]) >> 1  # so that the squares are near 1
    total = [_scaled(part, squares[2] - 2 * half) for part in squares[:2]]
    high, low = (_scaled(part, sums[2] - half) for part in sums[:2])
    product, error = two_product(high, high)
    error += 2.0 * high * low
    quotient = product / divisor
    back, lost = two_product(quotient, divisor)
    rest = (((product - back) - lost) + error) / divisor
    left, slip = two_sum(total[0], -quotient)
    variance = np.maximum(left + (slip + (total[1] - rest)), 0.0)
    variance /= np.maximum(divisor - 1.0, 1.0)
    return np.where(count > 1, _scaled(np.sqrt(variance), half), 0.0)


@final
class _Order:
    """Order statistics of groups, estimated from their buckets.

    Parameters
    ----------
    buckets, counts
        The buckets of all groups, one group after another, ascending in each.
    count, low, high
        How many numbers each group has, the smallest and the largest.
    whole
        Whether a group has whole numbers only: then so are its order statistics.
    """

    def __init__(
        self, buckets: Ids, counts: Ids, count: Ids, low: Floats, high: Floats, whole: Mask
    ) -> None:
        self._buckets, self._counts = buckets, counts
        self._count, self._low, self._high, self._whole = count, low, high, whole
        self._ends = np.cumsum(counts)
        self._base = np.cumsum(count) - count  # every number of a group has a bucket

    def quantile(self, share: float) -> Floats:
        """Interpolate between order statistics, as numpy does; NaN of nothing."""
        if not len(self._buckets):
            return np.full(len(self._count), np.nan)
        position = share * np.maximum(self._count - 1, 0)
        rank = np.floor(position).astype(np.int64)
        below, above = self._statistic(rank), self._statistic(rank + 1)
        part = position - rank
        return np.where(below == above, below, below * (1 - part) + above * part)

    def _statistic(self, rank: Ids) -> Floats:
        """Estimate the values at ranks [G]: those of a bucket are spread evenly over it."""
        last = np.maximum(self._count - 1, 0)
        rank = np.minimum(rank, last)
        there = self._base + rank
        at = np.searchsorted(self._ends, there, side="right")
        at = np.minimum(at, len(self._ends) - 1)  # where a group at the end has nothing
        bottom = (self._buckets[at] - _MIDDLE) << _CUT
        low = np.clip(values_of(bottom), self._low, self._high)
        high = np.clip(values_of(bottom | ((1 << _CUT) - 1)), self._low, self._high)
        low, high = (
            np.where(self._whole, edge(side), side)
            for edge, side in ((np.ceil, low), (np.floor, high))
        )
        held = self._counts[at]
        inside = (there - (self._ends[at] - held) + 0.5) / held
        high = np.where(bottom == 0, low, high)  # what shares a bucket with 0 is below 1e-309
        value = low * (1 - inside) + high * inside
        value = np.where(self._whole, np.rint(value), value)
        found: Floats = np.where(rank == 0, self._low, np.where(rank == last, self._high, value))
        return found
