"""Exact sums of float64 for thousands of slots at once: wide integers in limbs of 32 bits.

Every float64 is an integer times a power of two. Its mantissa is cut at fixed binary places and
the pieces are added as integers, so that no order and no split changes a sum: what
`thalweg.stats.sums.ExactSum` is for one column, this is for one column by many keys.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.stats.windows.places import Ids, Mask

Floats = NDArray[np.float64]
Wide = tuple[Floats, Floats, NDArray[np.int64]]

_BITS: Final = 32
_LOW: Final = (1 << _BITS) - 1
_UNIT: Final = 1088  # the limb of place L is in units of 2 ** (32 L - 1088): one of them is of 1
_ONE: Final = _UNIT // _BITS
_WHOLE: Final = 2.0**31
_SAFE: Final = 1 << 28  # so many additions, each below 2**34, stay within int64
_SPLITTER: Final = 2.0**27 + 1


@final
class Limbs:
    """One exact sum for each slot.

    Examples
    --------
    >>> limbs = Limbs()
    >>> limbs.grow(2)
    >>> limbs.add(np.array([1, 1, 1]), np.array([1e300, 1.0, -1e300]))
    >>> high, _, exponent = limbs.gather(np.array([0, 1]), begins=np.array([0, 1]))
    >>> np.ldexp(high, exponent).tolist()
    [0.0, 1.0]
    """

    __slots__ = ("_added", "_first", "_sums")

    def __init__(self, first: int = 0, sums: Ids | None = None) -> None:
        self._first = first  # the place of the lowest limb that is held
        self._sums: Ids = np.zeros((0, 0), dtype=np.int64) if sums is None else sums
        self._added = 0

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return int(self._sums.nbytes)

    def grow(self, slots: int) -> None:
        """Make room for so many slots."""
        larger = np.zeros((slots, self._sums.shape[1]), dtype=np.int64)
        larger[: len(self._sums)] = self._sums
        self._sums = larger

    def add(self, slots: Ids, values: Floats) -> None:
        """Add finite values [N] to the sums of slots [N]."""
        self._added += len(values)
        if self._added > _SAFE:
            _carry(self._sums.T)
            self._added = len(values)
        if not len(values):
            return
        whole = np.rint(values)
        if (whole == values).all() and np.abs(whole).max() < _WHOLE:
            self._reach(_ONE, _ONE)
            np.add.at(self._column(_ONE), slots, whole.astype(np.int64))
            return
        self._add_pieces(slots, values)

    def add_squares(self, slots: Ids, values: Floats) -> None:
        """Add the squares of values [N] below 2**500, each as the sum of two float64.

        These are the rounded square and what was rounded off (Dekker 1971). Numbers below 2**-480
        count as zero.
        """
        values = np.where(np.abs(values) < 2.0**-480, 0.0, values)
        square = values * values
        if (np.rint(square) == square).all() and square.max(initial=0.0) < 2.0**53:
            self.add(slots, square)
            return
        high = values * _SPLITTER
        high -= high - values
        low = values - high
        error = ((high * high - square) + 2.0 * (high * low)) + low * low
        self.add(np.concatenate([slots, slots]), np.concatenate([square, error]))

    def gather(self, slots: Ids, begins: Ids) -> Wide:
        """Add up the sums of groups of slots [M], each of which begins somewhere.

        Each sum is (high + low) * 2 ** exponent, of about 100 bits; high alone, so scaled, is the
        sum rounded once. What is held of all slots together stays within int64, so that nothing
        is carried before.
        """
        width = self._sums.shape[1]
        sums = np.zeros((width + 2, len(begins)), dtype=np.int64)
        if width:
            limbs = np.ascontiguousarray(self._sums[slots].T)
            if len(slots) > len(begins):
                limbs = np.add.reduceat(limbs, begins, axis=1)
            sums[:width] = limbs
        _carry(sums)
        negative = sums[-1] < 0
        np.negative(sums, out=sums, where=negative)
        _carry(sums)
        top = len(sums) - 1 - np.argmax(sums[::-1] != 0, axis=0)
        high, low = np.zeros(len(begins)), np.zeros(len(begins))
        deep = sums.any(axis=0) & (np.argmax(sums != 0, axis=0) < top - 3)
        lost = np.where(deep, 2.0**-1000, 0.0)  # of what is below the limbs that are read
        for step in range(4):
            limb = np.take_along_axis(sums, np.maximum(top - step, 0)[None], axis=0)[0]
            part = np.ldexp(np.where(top >= step, limb, 0).astype(np.float64), -_BITS * step)
            high, rest = two_sum(high, part)
            low, slip = two_sum(low, rest)
            lost += slip
            high, low = two_sum(high, low)
        # A bit far below decides where high and low lie just between two float64.
        low = np.where(lost != 0, np.nextafter(low, np.copysign(np.inf, lost)), low)
        high, low = two_sum(high, low)
        sign = np.where(negative, -1.0, 1.0)
        return sign * high, sign * low, _BITS * (top + self._first) - _UNIT

    def keep(self, alive: Mask) -> None:
        """Forget the slots that are not alive; the others move up, and limbs of zeros go."""
        self._sums = self._sums[: len(alive)][alive]
        used = np.flatnonzero(self._sums.any(axis=0))
        if len(used):
            self._sums = np.ascontiguousarray(self._sums[:, used[0] : used[-1] + 1])
            self._first += int(used[0])
        else:
            self._first, self._sums = 0, np.zeros((len(self._sums), 0), dtype=np.int64)

    def columns(self, count: int) -> dict[str, Ids]:
        """Give the limbs of the first slots by their place, for a table."""
        sums = self._sums[:count].copy()
        _carry(sums.T)
        return {str(self._first + place): sums[:, place] for place in range(sums.shape[1])}

    @classmethod
    def of(cls, columns: dict[str, Ids], count: int) -> Limbs:
        """Make one of what `columns` gave."""
        if not columns:
            return cls(0, np.zeros((count, 0), dtype=np.int64))
        first = min(int(place) for place in columns)
        return cls(
            first, np.stack([columns[str(first + at)] for at in range(len(columns))], axis=1)
        )

    def _add_pieces(self, slots: Ids, values: Floats) -> None:
        """Cut each mantissa into three limbs and add them."""
        bits = np.ascontiguousarray(values).view(np.int64)
        power = (bits >> 52) & 0x7FF
        mantissa = bits & ((1 << 52) - 1)
        mantissa |= (power != 0).astype(np.int64) << 52  # subnormals have no leading one
        power = np.maximum(power, 1) + (_UNIT - 1075)
        there = mantissa != 0
        if not there.all():  # the power of zero says nothing and would ask for limbs
            slots, bits, mantissa, power = slots[there], bits[there], mantissa[there], power[there]
            if not len(slots):
                return
        place, shift = power >> 5, power & (_BITS - 1)
        self._reach(int(place.min()), int(place.max()) + 2)
        sign = 1 | (bits >> 63)
        low = (mantissa & _LOW) << shift
        high = (mantissa >> _BITS) << shift
        flat = self._sums.reshape(-1)
        at = slots * self._sums.shape[1]
        at += place - self._first
        np.add.at(flat, at, sign * (low & _LOW))
        at += 1
        np.add.at(flat, at, sign * ((low >> _BITS) + (high & _LOW)))
        high >>= _BITS
        if high.any():
            at += 1
            np.add.at(flat, at, sign * high)

    def _reach(self, low: int, high: int) -> None:
        """Hold the limbs from a place to another, both included."""
        width = self._sums.shape[1]
        if not width:
            self._first, self._sums = low, np.zeros((len(self._sums), high + 1 - low), np.int64)
            return
        before, after = max(self._first - low, 0), max(high + 1 - self._first - width, 0)
        if before or after:
            self._sums = np.pad(self._sums, ((0, 0), (before, after)))
            self._first -= before

    def _column(self, place: int) -> Ids:
        return self._sums[:, place - self._first]


def two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Add, and give what was rounded off as well (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Multiply, and give what was rounded off as well (Dekker)."""
    total = a * b
    a_high, b_high = a * _SPLITTER, b * _SPLITTER
    a_high -= a_high - a
    b_high -= b_high - b
    a_low, b_low = a - a_high, b - b_high
    return total, ((a_high * b_high - total) + a_high * b_low + a_low * b_high) + a_low * b_low


def _carry(sums: Ids) -> None:
    """Bring every limb [limbs, N] but the highest into 0 to 2**32 - 1, where it stands."""
    for place in range(len(sums) - 1):
        sums[place + 1] += sums[place] >> _BITS
        sums[place] &= _LOW
