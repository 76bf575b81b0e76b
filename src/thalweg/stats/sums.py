"""Sums that do not depend on the order of what is added.

Floating-point addition is not associative, so two workers that split a column differently get
different means. Here the sum of the values and the sum of their squares are exact integers
(every float64 is an integer times 2**-1074), in the manner of a superaccumulator (Kulisch 1981;
Neal 2015, "Fast exact summation using small and large superaccumulators"): only what is read off
at the end is rounded, once.
"""

from __future__ import annotations

import math
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.stats.codec import State, Summary

_LIMB: Final = 18  # bits: 53 bits are three limbs, and their products fit in 36
_MASK: Final = (1 << _LIMB) - 1
_SAFE: Final = 1 << 24  # so many products, each below 2**38, add up below 2**63
_SCALE: Final = 1074  # the smallest float64 above zero is 2**-1074


@final
class ExactSum(Summary):
    """Count, sum and sum of squares of finite float64 values, without any rounding.

    Examples
    --------
    >>> some = ExactSum()
    >>> some.update(np.array([1e300, 1.0, -1e300]))
    >>> some.sum
    1.0
    >>> some.mean
    0.3333333333333333
    """

    __slots__ = ("_squares", "_total", "count")

    def __init__(self) -> None:
        self.count = 0
        self._total = 0  # in units of 2**-1074
        self._squares = 0  # in units of 2**-2148

    def update(self, values: NDArray[np.float64], weights: NDArray[np.int64] | None = None) -> None:
        """Add values.

        Parameters
        ----------
        values
            float64 [N], all finite.
        weights
            int64 [N], not negative: how often each value counts. Once each by default.
        """
        heavy = len(values) if weights is None else int(weights.sum())
        if heavy > _SAFE:
            self._halve(values, weights)
        elif heavy:
            self.count += heavy
            self._add(values, weights)

    def merge(self, other: ExactSum) -> None:
        """Add what another has added."""
        self.count += other.count
        self._total += other._total
        self._squares += other._squares

    @property
    def sum(self) -> float:
        """The sum, rounded once; infinite where it is beyond float64."""
        return _rounded(self._total, 1 << _SCALE)

    @property
    def mean(self) -> float:
        """The mean, rounded once; NaN of nothing."""
        return _rounded(self._total, self.count << _SCALE)

    @property
    def variance(self) -> float:
        """The sample variance (divided by count - 1), rounded once; 0 of one value."""
        divisor = max(self.count - 1, min(self.count, 1))
        squared = self.count * self._squares - self._total**2
        return _rounded(squared, self.count * divisor << 2 * _SCALE)

    def state(self) -> State:
        """Give everything that it is."""
        return State(
            {"count": self.count, "total": hex(self._total), "squares": hex(self._squares)}
        )

    @classmethod
    def from_state(cls, state: State) -> ExactSum:
        """Make one of its state."""
        made = cls()
        made.count = int(state.values["count"])
        made._total = int(state.values["total"], 16)
        made._squares = int(state.values["squares"], 16)
        return made

    def _halve(self, values: NDArray[np.float64], weights: NDArray[np.int64] | None) -> None:
        """Add in parts that cannot overflow."""
        if len(values) == 1 and weights is not None:
            single = ExactSum()
            single.update(values)
            weight = int(weights[0])
            self.count += weight
            self._total += weight * single._total
            self._squares += weight * single._squares
            return
        middle = len(values) // 2
        for part in (slice(None, middle), slice(middle, None)):
            self.update(values[part], None if weights is None else weights[part])

    def _add(self, values: NDArray[np.float64], weights: NDArray[np.int64] | None) -> None:
        """Add the mantissas of each sign and exponent as integers, in limbs of 18 bits."""
        bits = np.ascontiguousarray(values).view(np.int64)
        tops = (bits >> 52).astype(np.int16)  # sign and exponent
        changes = np.flatnonzero(tops[1:] != tops[:-1]) + 1
        if len(changes) > 256:  # not sorted: bring equal exponents together (a radix sort)
            order = np.argsort(tops, kind="stable")
            bits, tops = bits[order], tops[order]
            weights = None if weights is None else weights[order]
            changes = np.flatnonzero(tops[1:] != tops[:-1]) + 1
        starts = np.concatenate(([0], changes))
        exponents = tops[starts].astype(np.int64) & 0x7FF
        mantissas = bits & ((1 << 52) - 1)
        mantissas |= ((tops & 0x7FF) != 0).astype(np.int64) << 52  # subnormals have no leading one
        low, middle, high = mantissas & _MASK, (mantissas >> _LIMB) & _MASK, mantissas >> 2 * _LIMB
        sums = [
            np.add.reduceat(part if weights is None else part * weights, starts).tolist()
            for part in (
                low,
                middle,
                high,
                low * low,
                2 * (low * middle),
                2 * (low * high) + middle * middle,
                2 * (middle * high),
                high * high,
            )
        ]
        shifts = np.maximum(exponents - 1, 0).tolist()
        signs = np.where(tops[starts] < 0, -1, 1).tolist()
        for shift, sign, *limbs in zip(shifts, signs, *sums, strict=True):
            total = sum(limb << (_LIMB * place) for place, limb in enumerate(limbs[:3]))
            squares = sum(limb << (_LIMB * place) for place, limb in enumerate(limbs[3:]))
            self._total += sign * (total << shift)
            self._squares += squares << (2 * shift)


def _rounded(numerator: int, denominator: int) -> float:
    """Divide whole numbers and round once, to even."""
    if denominator == 0:
        return math.nan
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf
