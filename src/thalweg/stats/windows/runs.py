"""Counts by packed keys, a slot above and a mark below, in a few sorted runs.

What comes is sorted in bulk and merged into larger runs as they grow (a log-structured merge), so
a single row costs next to nothing, and many cost a few tens of nanoseconds each. A slot, a mark
and a count share the 64 bits of one integer, so that one sort moves all of them.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.stats.windows.places import Ids, Mask

Packed = NDArray[np.uint64]

_BUFFER: Final = 1 << 16
_FAN: Final = 4  # so many runs of a size are merged at once
_DENSE: Final = 16  # from one slot in so many pairs on, an index is faster than to search
_TALLY: Final = 12  # bits of a count; a larger one takes several pairs
_MOST: Final = (1 << _TALLY) - 1


@final
class Runs:
    """How often each pair of a slot and a mark came.

    Parameters
    ----------
    bits
        How many bits a mark has; a slot has 52 less these.

    Examples
    --------
    >>> runs = Runs(bits=8)
    >>> runs.add(np.array([5, 5, 2]), np.array([1, 1, 9]))
    >>> [part.tolist() for part in runs.of(np.array([2, 5]), begins=np.array([0]))]
    [[0, 0], [1, 9], [2, 1]]
    """

    __slots__ = ("_buffer", "_buffered", "_index", "_runs", "bits")

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self._buffer: list[Packed] = []
        self._buffered = 0
        self._runs: list[Packed] = []
        self._index: list[Ids] = []  # where each slot begins in each run, while it is of use

    def add(self, slots: Ids, marks: Ids) -> None:
        """Count pairs [N], once each."""
        self._index = []
        packed = slots << self.bits
        packed |= marks
        packed <<= _TALLY
        packed |= 1
        self._buffer.append(packed.view(np.uint64))
        self._buffered += len(slots)
        if self._buffered >= _BUFFER:
            self._settle()

    def __len__(self) -> int:
        """How many pairs are held, those of several runs as often."""
        return self._buffered + sum(len(run) for run in self._runs)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return 8 * len(self)

    def prepare(self, wanted: int, slots: int) -> None:
        """Make ready to be asked for so many of so many slots, where that will be faster."""
        self._settle()
        if _DENSE * wanted < len(self):
            return
        self._index = []
        for run in self._runs:
            sizes = np.bincount(self._slots(run), minlength=slots)
            self._index.append(np.concatenate(([0], np.cumsum(sizes))))

    def of(self, slots: Ids, begins: Ids) -> tuple[Ids, Ids, Ids]:
        """Add up the counts of groups of slots [M], each of which begins somewhere.

        Returns
        -------
        tuple
            Groups, marks and counts: each pair once, in ascending order.
        """
        self._settle()
        low = self.bits + _TALLY
        sizes = np.diff(begins, append=len(slots))
        groups = np.repeat(np.arange(len(begins)) << low, sizes)
        parts = [np.zeros(0, dtype=np.uint64)]
        for number, run in enumerate(self._runs):
            if self._index:
                start = self._index[number][slots]
                length = self._index[number][slots + 1]
                length -= start
            else:
                start = np.searchsorted(run, (slots << low).view(np.uint64))
                length = np.searchsorted(run, ((slots + 1) << low).view(np.uint64)) - start
            ends = np.cumsum(length)
            at = np.repeat(start - (ends - length), length)
            at += np.arange(len(at))
            part = run[at]
            part &= np.uint64((1 << low) - 1)
            part |= np.repeat(groups, length).view(np.uint64)
            parts.append(part)
        return self._apart(*_counted(parts, runs=False))

    def all(self) -> tuple[Ids, Ids, Ids]:
        """Give every pair once: slots in ascending order, marks, counts."""
        self._settle()
        return self._apart(*_counted([np.zeros(0, dtype=np.uint64), *self._runs], runs=True))

    def replace(self, slots: Ids, marks: Ids, counts: Ids) -> None:
        """Hold nothing but these pairs, which are in ascending order."""
        self._buffer, self._buffered, self._index = [], 0, []
        packed = _packed(((slots << self.bits) | marks).view(np.uint64), counts)
        self._runs = [packed] if len(packed) else []

    def keep(self, alive: Mask) -> None:
        """Forget the slots that are not alive; the others move up."""
        self._settle()
        low = self.bits + _TALLY
        move = (np.cumsum(alive) - 1) << low
        kept = []
        for run in self._runs:
            slots = self._slots(run)
            there = alive[slots]
            part = run[there]
            part &= np.uint64((1 << low) - 1)
            part |= move[slots[there]].view(np.uint64)
            kept.append(part)
        self._runs, self._index = [part for part in kept if len(part)], []

    def _slots(self, run: Packed) -> Ids:
        return (run >> np.uint64(self.bits + _TALLY)).view(np.int64)

    def _apart(self, pairs: Packed, counts: Ids) -> tuple[Ids, Ids, Ids]:
        mask = np.uint64((1 << self.bits) - 1)
        return (pairs >> np.uint64(self.bits)).view(np.int64), (pairs & mask).view(np.int64), counts

    def _settle(self) -> None:
        """Sort what was held back into a run, and merge runs that are alike in size."""
        if not self._buffered:
            return
        self._runs.append(_packed(*_counted(self._buffer, runs=False)))
        self._buffer, self._buffered = [], 0
        while len(self._runs) >= _FAN:
            most = _FAN * len(self._runs[-1])
            alike = len(self._runs)
            while alike and len(self._runs[alike - 1]) <= most:
                alike -= 1
            if len(self._runs) - alike < _FAN:
                return
            self._runs[alike:] = [_packed(*_counted(self._runs[alike:], runs=True))]


def _counted(parts: list[Packed], *, runs: bool) -> tuple[Packed, Ids]:
    """Add the counts of equal pairs: the distinct ones in ascending order, and their counts.

    A stable sort finds the runs that are sorted already and merges them.
    """
    packed = np.concatenate(parts)
    packed.sort(kind="stable" if runs else None)
    pairs = packed >> np.uint64(_TALLY)
    packed &= np.uint64(_MOST)
    counts = packed.view(np.int64)
    change = pairs[1:] != pairs[:-1]
    if change.all():
        return pairs, counts
    starts = np.flatnonzero(np.concatenate(([True], change)))
    return pairs[starts], np.add.reduceat(counts, starts)


def _packed(pairs: Packed, counts: Ids) -> Packed:
    """Put pairs and counts into one integer each, into several where the count is large."""
    if counts.max(initial=0) > _MOST:
        number = (counts + (_MOST - 1)) // _MOST
        pairs = np.repeat(pairs, number)
        last = np.cumsum(number) - 1
        rest = counts - (number - 1) * _MOST
        counts = np.full(len(pairs), _MOST)
        counts[last] = rest
        packed = (pairs << np.uint64(_TALLY)) | counts.view(np.uint64)
        packed.sort(kind="stable")  # the rest of a count may be below the others
        return packed
    return (pairs << np.uint64(_TALLY)) | counts.view(np.uint64)
