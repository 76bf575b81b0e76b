"""Quantiles of a stream of numbers: a histogram that coarsens itself, the same in any order.

Every float64 has an integer key that sorts as the number does. The histogram counts keys without
their last `level` bits, at the smallest level at which no more than `capacity` buckets are
occupied. A bucket, once occupied, stays so, and coarsening is a function of the set of occupied
buckets alone; therefore level and counts depend on which values came, not on their order nor on
how they were split. Level 0 counts every distinct value exactly.

It belongs to the family of DDSketch (Masson, Rim & Lee 2019) with the uniform collapse of
UDDSketch (Epicoco et al. 2020); buckets are spaced by the bits of the number itself, so no
logarithm is taken, zero and both signs need no special case, and small data stay exact.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.stats.arrays import sum_by_key, unique_counts
from thalweg.stats.codec import State, Summary

_MAGNITUDE: Final = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_BLOCK: Final = 1 << 15  # so many values stay in the cache while they are counted
_WIDEST: Final = 1 << 17  # the widest range of buckets that is counted by address


def ordered_keys(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Map float64 [N] to int64 [N] that sort in the same order; -0.0 is 0.0."""
    bits = (values + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & _MAGNITUDE)


def values_of(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """Undo `ordered_keys`."""
    return (keys ^ ((keys >> 63) & _MAGNITUDE)).view(np.float64)


@final
class AdaptiveHistogram(Summary):
    """Counts of finite numbers in buckets as narrow as the capacity allows.

    Parameters
    ----------
    capacity
        The most buckets. Memory is 16 bytes for each.

    Examples
    --------
    >>> some = AdaptiveHistogram()
    >>> some.update(np.array([1.0, 2.0, 4.0]))
    >>> some.quantile(0.5), some.exact
    (array(2.), True)
    """

    __slots__ = ("_buffer", "_buffered", "_counts", "_keys", "_level", "_range", "capacity")

    def __init__(self, capacity: int = 8192) -> None:
        self.capacity = capacity
        self._level = 0
        self._keys: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._range: tuple[int, int] | None = None  # keys of the smallest and largest value
        self._buffer: tuple[tuple[int, NDArray[np.int64], NDArray[np.int64]], ...] = ()
        self._buffered = 0

    def update(self, values: NDArray[np.float64], weights: NDArray[np.int64] | None = None) -> None:
        """Count values.

        Parameters
        ----------
        values
            float64 [N], all finite.
        weights
            int64 [N], above 0: how often each value counts. Once each by default.
        """
        if not len(values):
            return
        self._widen(*ordered_keys(np.array([values.min(), values.max()])).tolist())
        if weights is None and self._level:
            counted = _count_coarsely(np.ascontiguousarray(values), self._level)
            if counted is not None:
                self._take(self._level, *counted)
                return
        keys = ordered_keys(values)
        keys >>= self._level
        self._take(self._level, *unique_counts(keys, weights))

    def merge(self, other: AdaptiveHistogram) -> None:
        """Count what another has counted.

        Raises
        ------
        ValueError
            Where the capacities differ.
        """
        if other.capacity != self.capacity:
            message = f"capacities differ: {self.capacity} and {other.capacity}"
            raise ValueError(message)
        other._compact()
        if other._range is not None:
            self._widen(*other._range)
            self._take(other._level, other._keys, other._counts)
            self._compact()

    @property
    def count(self) -> int:
        """How many values there are."""
        self._compact()
        return int(self._counts.sum())

    @property
    def level(self) -> int:
        """How many low bits of the values' keys are not told apart."""
        self._compact()
        return self._level

    @property
    def exact(self) -> bool:
        """Whether every distinct value has a bucket of its own."""
        return self.level == 0

    @property
    def coarse(self) -> bool:
        """Whether it is known already not to be `exact`; looking costs nothing."""
        return self._level > 0

    @property
    def minimum(self) -> float:
        """The smallest value, exactly; NaN of nothing."""
        return float("nan") if self._range is None else _value(self._range[0])

    @property
    def maximum(self) -> float:
        """The largest value, exactly; NaN of nothing."""
        return float("nan") if self._range is None else _value(self._range[1])

    def value_counts(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Give the distinct values in ascending order and how often each came.

        Raises
        ------
        ValueError
            Where the histogram is not `exact`.
        """
        if not self.exact:
            message = f"more than {self.capacity} distinct values: counts of each are not kept"
            raise ValueError(message)
        return values_of(self._keys), self._counts.copy()

    def quantile(self, shares: ArrayLike) -> NDArray[np.float64]:
        """Estimate quantiles.

        Parameters
        ----------
        shares
            Numbers from 0 to 1.

        Returns
        -------
        numpy.ndarray
            float64 of the same shape; NaN of nothing. While `exact`, the linear interpolation
            between order statistics (numpy's default); else off by no more than `error`.
        """
        self._compact()
        return self._quantile(shares, self._counts)

    def distinct_quantile(self, shares: ArrayLike) -> NDArray[np.float64]:
        """Estimate quantiles with every occupied bucket counted once.

        A value that makes up most of a column takes all its quantiles; these still tell the rest
        apart.
        """
        self._compact()
        return self._quantile(shares, np.ones_like(self._counts))

    def error(self, shares: ArrayLike) -> NDArray[np.float64]:
        """Bound the error of `quantile` at the given shares, in the values' own unit.

        It is the width of the widest bucket that the quantile lies in or between: 0 while
        `exact`, and at levels up to 52 (the mantissa) at most ``2 ** (level - 52)`` of the value.
        """
        self._compact()
        shares = np.asarray(shares, dtype=np.float64)
        if not len(self._keys):
            return np.full(shares.shape, np.nan)
        position = shares * (self._counts.sum() - 1)
        ends = np.cumsum(self._counts)
        low, high = self._edges()
        width = high - low
        first = np.searchsorted(ends, np.floor(position), side="right")
        last = np.searchsorted(ends, np.ceil(position), side="right")
        top = len(ends) - 1
        widest: NDArray[np.float64] = np.maximum(
            width[np.minimum(first, top)], width[np.minimum(last, top)]
        )
        return widest

    def cdf(self, values: ArrayLike) -> NDArray[np.float64]:
        """Estimate the share of values that are no larger than each given one; NaN of nothing."""
        self._compact()
        values = np.asarray(values, dtype=np.float64)
        if not len(self._keys):
            return np.full(values.shape, np.nan)
        low, high = self._edges()
        ends = np.cumsum(self._counts).astype(np.float64)
        begins = ends - self._counts
        bucket = np.clip(np.searchsorted(low, values, side="right") - 1, 0, len(low) - 1)
        width = high[bucket] - low[bucket]
        reach = np.clip(values, low[bucket], high[bucket]) - low[bucket]
        part = np.divide(reach, width, out=np.ones(values.shape), where=width > 0)
        part = np.where(values < low[bucket], 0.0, part)
        share: NDArray[np.float64] = (begins[bucket] + part * self._counts[bucket]) / ends[-1]
        return share

    def bins(
        self, number: int = 50, low: float | None = None, high: float | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Count values in bins of equal width, for a plot.

        Parameters
        ----------
        number
            How many bins.
        low, high
            Where the first begins and the last ends; the smallest and largest value by default.

        Returns
        -------
        tuple
            Edges float64 [number + 1] and counts float64 [number]. A value on an edge belongs to
            the bin that ends there, the lowest to the first bin.
        """
        if self._range is None:
            return np.linspace(0, 1, number + 1), np.zeros(number)
        low = self.minimum if low is None else low
        high = self.maximum if high is None else high
        edges = 2 * np.linspace(low / 2, high / 2, number + 1)  # high - low could overflow
        below = self.cdf(edges)
        below[0] = self.cdf(np.nextafter(low, -np.inf))
        return edges, np.diff(below) * self.count

    def buckets(
        self,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Give the lowest and highest value of each occupied bucket [B], and its count."""
        self._compact()
        low, high = self._edges()
        return low, high, self._counts.copy()

    def state(self) -> State:
        """Give everything that it is."""
        self._compact()
        return State(
            {"capacity": self.capacity, "level": self._level},
            {
                "keys": self._keys,
                "counts": self._counts,
                "range": np.array(self._range or (), dtype=np.int64),
            },
        )

    @classmethod
    def from_state(cls, state: State) -> AdaptiveHistogram:
        """Make one of its state."""
        made = cls(int(state.values["capacity"]))
        made._level = int(state.values["level"])
        made._keys, made._counts = state.arrays["keys"], state.arrays["counts"]
        span = state.arrays["range"].tolist()
        made._range = (span[0], span[1]) if span else None
        if len(made._keys) != len(made._counts) or not 0 <= made._level < 64:
            raise ValueError(made._level)
        return made

    def _widen(self, low: int, high: int) -> None:
        """Take the keys of the smallest and largest of some values in."""
        if self._range is not None:
            low, high = min(low, self._range[0]), max(high, self._range[1])
        self._range = (low, high)

    def _take(self, level: int, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Count keys that are known; hold others back: many are cheaper to sort at once."""
        if level == self._level and len(self._keys):
            at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            known = self._keys[at] == keys
            self._counts = self._counts.copy()  # it may be another's as well
            self._counts[at[known]] += counts[known]
            if known.all():
                return
            keys, counts = keys[~known], counts[~known]
        self._buffer = (*self._buffer, (level, keys, counts))
        self._buffered += len(keys)
        if self._buffered > 2 * self.capacity:
            self._compact()

    def _compact(self) -> None:
        """Bring everything to the level that it needs."""
        if not self._buffer:
            return
        parts = [(self._level, self._keys, self._counts), *self._buffer]
        level = max(level for level, _, _ in parts)
        keys, counts = sum_by_key(
            np.concatenate([keys >> (level - below) for below, keys, _ in parts]),
            np.concatenate([counts for _, _, counts in parts]),
        )
        if len(keys) > self.capacity:
            more = _shift_needed(keys, self.capacity)
            keys, counts = sum_by_key(keys >> more, counts)
            level += more
        self._level, self._keys, self._counts = level, keys, counts
        self._buffer, self._buffered = (), 0

    def _edges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the lowest and the highest value that each bucket may hold."""
        if self._range is None:
            return np.zeros(0), np.zeros(0)
        below = self._keys << self._level
        above = below + ((1 << self._level) - 1)
        return values_of(np.maximum(below, self._range[0])), values_of(
            np.minimum(above, self._range[1])
        )

    def _quantile(self, shares: ArrayLike, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Interpolate between the order statistics that the counts tell of."""
        shares = np.asarray(shares, dtype=np.float64)
        if not len(counts):
            return np.full(shares.shape, np.nan)
        position = shares * (counts.sum() - 1)
        rank = np.floor(position)
        part = position - rank
        ends = np.cumsum(counts)
        below = self._statistic(rank, ends, counts)
        above = self._statistic(np.minimum(rank + 1, ends[-1] - 1), ends, counts)
        return np.where(below == above, below, below * (1 - part) + above * part)

    def _statistic(
        self, ranks: NDArray[np.float64], ends: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Estimate the values at ranks from 0: those of a bucket are spread evenly over it."""
        bucket = np.searchsorted(ends, ranks, side="right")
        low, high = self._edges()
        # A range's two ends are exact: the first rank of all and the last.
        inside = (ranks - (ends - counts)[bucket] + 0.5) / counts[bucket]
        inside = np.where(ranks == 0, 0.0, np.where(ranks == ends[-1] - 1, 1.0, inside))
        return low[bucket] * (1 - inside) + high[bucket] * inside


def _count_coarsely(
    values: NDArray[np.float64], level: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Count values [N] by their keys less some low bits, by address: nothing is sorted.

    The buckets of a sign lie close together, but those of both signs lie far apart, around the
    keys of the numbers next to zero; so each sign gets a row of its own, and zero is set apart.

    Returns
    -------
    tuple | None
        The distinct keys in ascending order and their counts, or None where the magnitudes differ
        so much that sorting is cheaper.
    """
    bits = values.view(np.int64)
    zeros = len(values) - int(np.count_nonzero(values))
    if zeros:
        bits = bits[values != 0]
    if not len(bits):
        return np.zeros(1, dtype=np.int64), np.array([zeros], dtype=np.int64)
    low, high = _magnitudes(bits, level)
    width = high - low + 1
    if width > min(_WIDEST, len(bits)):
        return None
    size = max(_BLOCK, 2 * width)
    scratch = np.empty((2, min(size, len(bits))), dtype=np.int64)
    counts = np.zeros(2 * width, dtype=np.int64)
    for start in range(0, len(bits), size):
        block = bits[start : start + size]
        place, sign = scratch[:, : len(block)]
        np.bitwise_and(block, _MAGNITUDE, out=place)
        place >>= level
        place -= low
        np.right_shift(block, 63, out=sign)
        sign &= width
        place += sign
        counts += np.bincount(place, minlength=2 * width)
    above, below = (np.flatnonzero(part) for part in (counts[:width], counts[width:]))
    keys = [~(below[::-1] + low), above + low]  # the key of a negative number is not its magnitude
    found = [counts[width:][below[::-1]], counts[above]]
    if zeros:
        keys.insert(1, np.zeros(1, dtype=np.int64))
        found.insert(1, np.array([zeros], dtype=np.int64))
        if low == 0 and len(above) and above[0] == 0:  # zero's bucket has other numbers too
            keys[2], found[1] = keys[2][1:], found[1] + found[2][:1]
            found[2] = found[2][1:]
    return np.concatenate(keys), np.concatenate(found)


def _magnitudes(bits: NDArray[np.int64], level: int) -> tuple[int, int]:
    """Give the lowest and the highest magnitude [N], less some low bits."""
    low, high = int(_MAGNITUDE), 0
    scratch = np.empty(min(_BLOCK, len(bits)), dtype=np.int64)
    for start in range(0, len(bits), _BLOCK):
        block = bits[start : start + _BLOCK]
        magnitude = np.bitwise_and(block, _MAGNITUDE, out=scratch[: len(block)])
        low, high = min(low, int(magnitude.min())), max(high, int(magnitude.max()))
    return low >> level, high >> level


def _value(key: int) -> float:
    return float(values_of(np.array([key], dtype=np.int64))[0])


def _shift_needed(keys: NDArray[np.int64], capacity: int) -> int:
    """Say by how many bits sorted distinct keys must be cut so that no more than capacity remain.

    Neighbours fall together once the cut is above the highest bit in which they differ.
    """
    differing = keys[1:] ^ keys[:-1]
    highest = np.zeros(len(differing), dtype=np.int64)
    wide = differing.view(np.uint64)
    for step in (32, 16, 8, 4, 2, 1):
        above = (wide >> np.uint64(step)) > 0
        highest += step * above
        wide = np.where(above, wide >> np.uint64(step), wide)
    remaining = len(keys) - np.cumsum(np.bincount(highest, minlength=64))
    return int(np.argmax(remaining <= capacity)) + 1
