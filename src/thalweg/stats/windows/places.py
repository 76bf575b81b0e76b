"""Dense numbers for hashes: an open-addressing table that looks thousands up at once."""

from __future__ import annotations

from typing import Final, final

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]

_LEAST: Final = 1 << 8


@final
class Places:
    """Numbers hashes from 0 in the order in which they come first; linear probing.

    Examples
    --------
    >>> places = Places()
    >>> ids, first = places.find(np.array([7, 9, 7], dtype=np.uint64))
    >>> ids.tolist(), first.tolist(), len(places)
    ([0, 1, 0], [0, 1], 2)
    """

    __slots__ = ("_hashes", "_mask", "_table", "count")

    def __init__(self, hashes: Hashes | None = None) -> None:
        self._hashes: Hashes  # from 1 on, those of the numbers from 0 on
        self._table: Ids  # numbers from 1 on; 0 is an empty place
        self.count = 0
        self._rebuild(np.zeros(0, dtype=np.uint64) if hashes is None else hashes)

    def __len__(self) -> int:
        return self.count

    @property
    def hashes(self) -> Hashes:
        """The hash of each number [len(self)]."""
        return self._hashes[1 : self.count + 1]

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return int(self._hashes.nbytes + self._table.nbytes)

    def find(self, hashes: Hashes) -> tuple[Ids, Ids]:
        """Look hashes [N] up, and number those that are new.

        Returns
        -------
        tuple
            Their numbers int64 [N]; and at which rows the new ones came first, int64 [M], in the
            order of their numbers.
        """
        hashes = np.maximum(hashes, np.uint64(1))
        at = (hashes & self._mask).view(np.int64)
        ids = self._table[at]
        rest = np.flatnonzero(self._hashes[ids] != hashes)
        if not len(rest):
            return ids - 1, rest
        missing = []
        wanted, at = hashes[rest], at[rest]
        while len(rest):
            there = self._table[at]
            empty, hit = there == 0, self._hashes[there] == wanted
            ids[rest[hit]] = there[hit]
            missing.append(rest[empty])
            on = ~(empty | hit)
            rest, wanted, at = rest[on], wanted[on], (at[on] + 1) & np.int64(self._mask)
        ids -= 1
        lost = np.sort(np.concatenate(missing))
        if not len(lost):
            return ids, lost
        new, where, back = np.unique(hashes[lost], return_index=True, return_inverse=True)
        order = np.argsort(where)  # numbers follow the rows
        number = np.empty(len(order), dtype=np.int64)
        number[order] = np.arange(self.count, self.count + len(order))
        ids[lost] = number[back]
        self._add(new[order])
        return ids, lost[where[order]]

    def keep(self, alive: Mask) -> None:
        """Forget the numbers that are not alive [len(self)]; the others move up."""
        self._rebuild(self.hashes[alive])

    def _add(self, new: Hashes) -> None:
        """Give new distinct hashes their numbers."""
        total = self.count + len(new)
        if 5 * total > 3 * len(self._table):
            self._rebuild(np.concatenate([self.hashes, new]))
            return
        if total >= len(self._hashes):
            larger = np.zeros(max(_LEAST, 2 * total), dtype=np.uint64)
            larger[: len(self._hashes)] = self._hashes
            self._hashes = larger
        self._hashes[self.count + 1 : total + 1] = new
        self._insert(self.count, total)
        self.count = total

    def _rebuild(self, hashes: Hashes) -> None:
        size = max(_LEAST, 1 << (2 * len(hashes)).bit_length())
        self._mask = np.uint64(size - 1)
        self._table = np.zeros(size, dtype=np.int64)
        self._hashes = np.zeros(len(hashes) + 1, dtype=np.uint64)
        np.maximum(hashes, np.uint64(1), out=self._hashes[1:])  # so that 0 is nobody's
        self.count = len(hashes)
        self._insert(0, self.count)

    def _insert(self, low: int, high: int) -> None:
        """Put numbers into the table: whoever loses a place tries the next."""
        ids = np.arange(low + 1, high + 1)
        at = (self._hashes[ids] & self._mask).view(np.int64)
        while len(ids):
            free = self._table[at] == 0
            self._table[at[free]] = ids[free]
            on = self._table[at] != ids
            ids, at = ids[on], (at[on] + 1) & np.int64(self._mask)
