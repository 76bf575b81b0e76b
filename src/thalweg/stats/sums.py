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
_BLOCK: Final = 1 << 15  # so many values stay in the cache while they are added
_LARGE: Final = 2.0**500  # the squares of smaller numbers are finite
_FINE: Final = -500  # and those of multiples of this power of two are exact sums of two float64
_CUTS: Final = 4  # where more are needed, exponents lie so far apart that limbs are faster
_SPLITTER: Final = 2.0**27 + 1
_ROOM: Final = 2.0**62


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
        if not heavy or self._add_whole(values, weights, heavy):
            self.count += heavy
        elif weights is None:
            self._add_blocks(np.ascontiguousarray(values))
        elif heavy > _SAFE:
            self._halve(values, weights)
        else:
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

    def _add_whole(
        self, values: NDArray[np.float64], weights: NDArray[np.int64] | None, heavy: int
    ) -> bool:
        """Add whole numbers, where all of them are and int64 holds the sums; say whether."""
        if values[0] != np.rint(values[0]):  # most often one look is enough
            return False
        top = max(abs(float(values.max())), abs(float(values.min())))
        if top * top * heavy >= _ROOM or not (np.rint(values) == values).all():
            return False
        whole = values.astype(np.int64)
        heavier = whole if weights is None else whole * weights
        self._total += int(heavier.sum()) << _SCALE
        self._squares += int((whole * heavier).sum()) << 2 * _SCALE
        return True

    def _add_blocks(self, values: NDArray[np.float64]) -> None:
        """Add values block by block; those too large or too fine for `_add_fast` by `_add`."""
        scratch = np.empty((5, min(_BLOCK, len(values))))
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK]
            self.count += len(block)
            if not self._add_fast(block, scratch[:, : len(block)]):
                self._add(block, None)

    def _add_fast(self, values: NDArray[np.float64], scratch: NDArray[np.float64]) -> bool:
        """Add float64 [N] in float64 arithmetic that makes no error; say whether that can be.

        Every square is the sum of two float64, the rounded square and what was rounded off
        (Dekker 1971, "A floating-point technique for extending the available precision").
        """
        square, error, high, low, rest = scratch
        top = max(float(values.max()), -float(values.min()))
        if top >= _LARGE:
            return False
        np.copyto(rest, values)
        summed = _exact_sum(rest, top, _FINE, low)
        if summed is None:
            return False
        np.multiply(values, values, out=square)
        np.multiply(values, _SPLITTER, out=high)
        np.subtract(high, values, out=low)
        high -= low
        np.subtract(values, high, out=low)
        np.multiply(high, high, out=error)
        error -= square
        high *= low
        high *= 2.0
        error += high
        low *= low
        error += low
        squares = _exact_sum(square, top * top, 2 * _FINE, low)
        errors = _exact_sum(error, top * top * 2.0**-53, 2 * _FINE, low)
        if squares is None or errors is None:
            return False
        self._total += _scaled(summed, _SCALE)
        self._squares += _scaled(squares, 2 * _SCALE) + _scaled(errors, 2 * _SCALE)
        return True

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


def _exact_sum(
    values: NDArray[np.float64], top: float, finest: int, scratch: NDArray[np.float64]
) -> tuple[float, ...] | None:
    """Add float64 [N] of at most ``top`` each, without any rounding; they are lost by it.

    From all of them the high bits are cut, at one place, so that these add up exactly in whatever
    order; then from the rest (Rump, Ogita & Oishi 2008, "Accurate floating-point summation").

    Returns
    -------
    tuple | None
        Floats whose sum it is, or None where that takes many cuts or bits below 2 ** finest.
    """
    sums: list[float] = []
    room = len(values).bit_length() + 1
    exponent = math.frexp(top)[1]
    while top:
        if exponent + room - 52 < finest or len(sums) == _CUTS:
            return None
        cutter = math.ldexp(1.5, exponent + room)
        np.add(values, cutter, out=scratch)
        scratch -= cutter
        values -= scratch
        sums.append(float(scratch.sum()))
        exponent += room - 52  # no rest is above half of the lowest bit that was cut
        if not values.any():
            break
    return tuple(sums)


def _scaled(parts: tuple[float, ...], scale: int) -> int:
    """Add floats as integers in units of 2 ** -scale."""
    total = 0
    for part in parts:
        numerator, denominator = part.as_integer_ratio()
        total += numerator * ((1 << scale) // denominator)
    return total


def _rounded(numerator: int, denominator: int) -> float:
    """Divide whole numbers and round once, to even."""
    if denominator == 0:
        return math.nan
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf
