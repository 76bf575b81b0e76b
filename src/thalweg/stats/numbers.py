"""What is known of the numbers of a column: how many, how large, how spread, how distributed."""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.stats.arrays import sum_by_key, unique_counts
from thalweg.stats.codec import State, Summary
from thalweg.stats.histogram import AdaptiveHistogram, ordered_keys, values_of
from thalweg.stats.sums import ExactSum

_LOOKED: Final = 100  # how many numbers are looked at first
_SCALES: Final = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
_RANGE: Final = 8  # how many addresses for each number
_BLOCK: Final = 1 << 15  # so many values stay in the cache
_EXACT: Final = 2.0**53


@final
class NumberSummary(Summary):
    """Mergeable statistics of finite numbers, equal in every bit for any order and split.

    Attributes
    ----------
    whole : int
        How many are whole numbers.
    histogram : AdaptiveHistogram
        Quantiles.

    Examples
    --------
    >>> some = NumberSummary()
    >>> some.update(np.array([1.0, 2.0, 6.0]))
    >>> some.count, some.mean, some.maximum
    (3, 3.0, 6.0)
    """

    __slots__ = ("_sum", "histogram", "whole")

    def __init__(self) -> None:
        self.whole = 0
        self.histogram = AdaptiveHistogram()
        self._sum = ExactSum()

    def update(self, values: NDArray[np.float64], weights: NDArray[np.int64] | None = None) -> None:
        """Take numbers in.

        Parameters
        ----------
        values
            float64 [N], all finite.
        weights
            int64 [N], above 0: how often each counts. Once each by default.
        """
        if not len(values):
            return
        integral = np.rint(values) == values
        self.whole += int(integral.sum() if weights is None else weights[integral].sum())
        self.histogram.update(values, weights)
        self._sum.update(values, weights)

    def merge(self, other: NumberSummary) -> None:
        """Take in what another has taken in."""
        self.whole += other.whole
        self.histogram.merge(other.histogram)
        self._sum.merge(other._sum)

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return self._sum.count

    @property
    def minimum(self) -> float:
        """The smallest; NaN of nothing."""
        return self.histogram.minimum

    @property
    def maximum(self) -> float:
        """The largest; NaN of nothing."""
        return self.histogram.maximum

    @property
    def mean(self) -> float:
        """The mean, exact but for one rounding; NaN of nothing."""
        return self._sum.mean

    @property
    def variance(self) -> float:
        """The sample variance, exact but for one rounding; 0 of one number, NaN of nothing."""
        return self._sum.variance

    @property
    def deviation(self) -> float:
        """The sample standard deviation."""
        return float(np.sqrt(self.variance))

    def quantile(self, shares: Any) -> NDArray[np.float64]:
        """Estimate quantiles: `AdaptiveHistogram.quantile`."""
        return self.histogram.quantile(shares)

    def describe(self) -> dict[str, Any]:
        """Put the main figures into a JSON-able dict: None where there is nothing."""
        low, middle, high = (finite(part) for part in self.quantile([0.25, 0.5, 0.75]))
        return {
            "count": self.count,
            "whole": self.whole,
            "minimum": finite(self.minimum),
            "lower_quartile": low,
            "median": middle,
            "upper_quartile": high,
            "maximum": finite(self.maximum),
            "mean": finite(self.mean),
            "deviation": finite(self.deviation),
        }

    def state(self) -> State:
        """Give everything that it is."""
        state = State({"whole": self.whole})
        state.put("sum", self._sum.state())
        state.put("histogram", self.histogram.state())
        return state

    @classmethod
    def from_state(cls, state: State) -> NumberSummary:
        """Make one of its state."""
        made = cls()
        made.whole = int(state.values["whole"])
        made._sum = ExactSum.from_state(state.part("sum"))
        made.histogram = AdaptiveHistogram.from_state(state.part("histogram"))
        return made


def finite(value: float) -> float | None:
    """Give a float that JSON can hold, or None."""
    return float(value) if np.isfinite(value) else None


def distinct_numbers(
    values: NDArray[np.float64], weights: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Count equal float64 [N]: the distinct ones in ascending order, and their counts."""
    if weights is not None:
        keys, counts = sum_by_key(ordered_keys(values), weights)
        return values_of(keys), counts
    counted = count_decimals(values)
    if counted is not None or not len(values):
        return counted or (values, np.zeros(0, dtype=np.int64))
    ordered = np.sort(values + 0.0)
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts], np.diff(starts, append=len(ordered))


def count_decimals(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Count equal float64 [N] by address, where all are decimals of a few places in some range.

    Prices, measurements and whole numbers are; that a number is the nearest to such a decimal is
    looked at in every one of them, so that the answer is exact.

    Returns
    -------
    tuple | None
        The distinct numbers in ascending order and their counts, or None where they are not.
    """
    some = values[:: (len(values) // _LOOKED) | 1]  # odd: no period of two hides from it
    for scale in _SCALES:
        if not len(some) or not _are_decimals(some, scale):
            continue
        whole = np.empty(len(values), dtype=np.int64)
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK]
            if not _are_decimals(block, scale):
                return None
            np.rint(block * scale, out=whole[start : start + _BLOCK], casting="unsafe")
        if int(whole.max()) - int(whole.min()) >= _RANGE * len(values):
            return None
        keys, counts = unique_counts(whole)
        return keys / scale, counts
    return None


def _are_decimals(values: NDArray[np.float64], scale: float) -> bool:
    """Say whether all numbers are the nearest ones to whole numbers divided by a power of ten."""
    top = max(abs(float(values.min())), abs(float(values.max())))
    if not top * scale < _EXACT:
        return False
    return bool((np.rint(values * scale) / scale == values).all())
