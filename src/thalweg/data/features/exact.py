"""Sums over any stretch of a sequence, rounded once, so that no cut of it changes a bit.

Every float64 is a whole number times 2**-1126. It is written in limbs of 32 bits; the limbs are
summed up along the sequence as int64, which is exact for two thousand million values, and so are
differences of these sums (a superaccumulator, Kulisch 1981, kept for every prefix).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]

_BITS: Final = 32
_MASK: Final = (1 << _BITS) - 1
_SCALE: Final = 1126  # the least exponent of a float64 whose fraction is a whole number of 53 bits
_UNIT: Final = 1 << _SCALE
_FEW: Final = 8
_SHORT: Final = 64


@final
@dataclass(frozen=True, slots=True)
class Totals:
    """Exact sums of a few rows, as whole numbers [Q] in units of 2**-1126."""

    values: list[int]


@final
@dataclass(frozen=True, slots=True)
class Sums:
    """Exact sums.

    Parameters
    ----------
    limbs
        Which limbs these are, rising: the sum is that of ``values * 2 ** (32 * limb - 1126)``.
    values
        int64 [Q, limbs].
    """

    limbs: tuple[int, ...]
    values: Int


@final
class ExactPrefix:
    """The sums of all prefixes of values.

    Parameters
    ----------
    values
        float64 [N], finite.

    Examples
    --------
    >>> sums = ExactPrefix(np.array([1e300, 1.0, -1e300]))
    >>> rounded([sums.between(np.array([0, 1]), np.array([3, 2]))], 2)
    array([1., 1.])
    """

    def __init__(self, values: NDArray[np.float64]) -> None:
        self._values = values

    @cached_property
    def _few(self) -> list[int]:
        """The sums of all prefixes of a few values."""
        return list(accumulate(map(_whole, self._values.tolist()), initial=0))

    @cached_property
    def _many(self) -> Sums:
        """The sums of all prefixes."""
        values = self._values
        fraction, exponent = np.frexp(values)
        whole = (fraction * 2.0**53).astype(np.int64)
        place = exponent.astype(np.int64) + (_SCALE - 53)
        limb, shift = place >> 5, place & 31
        low = (whole & _MASK) << shift
        middle = ((whole >> _BITS) << shift) + (low >> _BITS)
        parts = (low & _MASK, middle & _MASK, middle >> _BITS)
        there = set(np.flatnonzero(np.bincount(limb[whole != 0])).tolist())
        found = {}
        for wanted in sorted({one + step for one in there for step in range(3)}):
            column = np.zeros(len(values), dtype=np.int64)
            for step, part in enumerate(parts):
                if wanted - step in there:
                    mine = limb == wanted - step
                    column += part if mine.all() else np.where(mine, part, 0)
            if column.any():
                found[wanted] = column
        sums = np.zeros((len(values) + 1, len(found)), dtype=np.int64)
        for at, column in enumerate(found.values()):
            np.cumsum(column, out=sums[1:, at])
        return Sums(tuple(found), sums)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return int(self._many.values.nbytes) if "_many" in self.__dict__ else 0

    def between(self, first: Int, last: Int) -> Sums | Totals:
        """Sum the values from ``first`` up to, without, ``last``, each int64 [Q]."""
        if len(first) <= _FEW and len(self._values) <= _SHORT:
            sums = self._few
            pairs = zip(first.tolist(), last.tolist(), strict=True)
            return Totals([sums[end] - sums[begin] for begin, end in pairs])
        many = self._many
        return Sums(many.limbs, many.values[last] - many.values[first])


def rounded(parts: Sequence[Sums | Totals], count: int) -> NDArray[np.float64]:
    """Add sums [Q] and round them once: float64 [Q], NaN where float64 cannot hold one.

    It is what `math.fsum` gives, whatever the sums were added from.
    """
    if count <= _FEW:  # for a lone row whole arrays take ten times as long
        return np.array([_rounded(parts, row) for row in range(count)])
    many = [part for part in parts if isinstance(part, Sums)]
    used = sorted({limb for part in many for limb in part.limbs})
    if not used:
        return np.zeros(count)
    digits = np.zeros((used[-1] - used[0] + 6, count), dtype=np.int64)  # three limbs lead, two end
    low = used[0] - 2
    for part in many:
        for at, limb in enumerate(part.limbs):
            digits[limb - low] += part.values[:, at]
    _carry(digits)
    negative = digits[-1] < 0
    if negative.any():
        digits[:, negative] *= -1
        _carry(digits)
    return np.where(negative, -1.0, 1.0) * _nearest(digits, low)


def _whole(value: float) -> int:
    """Give a number in units of 2**-1126."""
    fraction, exponent = math.frexp(value)
    return int(fraction * 2.0**53) << (exponent + _SCALE - 53)


def _rounded(parts: Sequence[Sums | Totals], row: int) -> float:
    """Round one sum."""
    total = 0
    for part in parts:
        if isinstance(part, Totals):
            total += part.values[row]
            continue
        for limb, value in zip(part.limbs, part.values[row].tolist(), strict=True):
            total += value << (_BITS * limb)
    try:
        return total / _UNIT  # which rounds to the nearest
    except OverflowError:
        return np.nan


def _carry(digits: Int) -> None:
    """Bring all limbs [L, Q] but the last into 32 bits without a sign."""
    for place in range(len(digits) - 1):
        digits[place + 1] += digits[place] >> _BITS
        digits[place] &= _MASK


def _nearest(digits: Int, low: int) -> NDArray[np.float64]:
    """Round numbers given as limbs [L, Q] without signs, of which the two lowest are zero."""
    columns = np.arange(digits.shape[1])
    top = len(digits) - 1 - np.argmax(digits[::-1] != 0, axis=0)
    top = np.maximum(top, 2)
    first, second, third = (digits[top - step, columns].astype(np.uint64) for step in range(3))
    some = digits != 0
    below = np.logical_or.accumulate(some, axis=0)[np.maximum(top - 3, 0), columns] & (top > 2)
    # Sixty-four bits from the highest on; whether any follow is told by the last of them.
    lead = _BITS - np.frexp(first.astype(np.float64))[1].astype(np.uint64)
    rest = third << lead
    bits = (((first << np.uint64(_BITS)) | second) << lead) | (rest >> np.uint64(_BITS))
    bits |= ((rest & np.uint64(_MASK)) != 0) | below
    power = (top + low - 1) * _BITS - _SCALE - lead.astype(np.int64)
    with np.errstate(over="ignore"):
        found = np.ldexp(bits.astype(np.float64), power)
    return np.where(np.isfinite(found), found, np.nan)
