"""An index of what waits: for each number in order of arrival its time, its state and its hash."""

from __future__ import annotations

from typing import Final, final

import numpy as np
from numpy.typing import NDArray

GONE: Final = 0
WAITING: Final = 1
ANSWERED: Final = 2

_BLOCK: Final = 4096
"""So many slots share one bound of their times: what is older is looked for block by block."""
_NEVER: Final = np.iinfo(np.int64).max

Numbers = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@final
class Slots:
    """Slots numbered in order of arrival, about 30 bytes each, found by a hash.

    Hashes lie in sorted runs, each at least twice as long as the next: what is added is merged
    rarely and looked up in few places (O'Neil et al. 1996, the log-structured merge tree).

    Parameters
    ----------
    first, end
        To be rebuilt: the first slot that is not gone, and the number of the next new one.

    Examples
    --------
    >>> slots = Slots()
    >>> first = slots.add(np.array([7, 9], np.uint64), np.array([100, 200]))
    >>> slots.candidates(np.array([9, 8], np.uint64))
    (array([0]), array([1]))
    >>> slots.older(150).tolist()
    [0]
    """

    __slots__ = ("_base", "_bounds", "_next", "_runs", "_states", "_times")

    def __init__(self, first: int = 0, end: int = 0) -> None:
        self._base = self._next = first // _BLOCK * _BLOCK  # the first slot that is kept
        self._times: Numbers = np.zeros(0, np.int64)
        self._states: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._bounds: Numbers = np.zeros(0, np.int64)  # of each block, the earliest time
        self._runs: list[tuple[Hashes, Numbers]] = []
        self._extend(end)

    @property
    def end(self) -> int:
        """The number of the next slot."""
        return self._next

    @property
    def nbytes(self) -> int:
        """How much memory the index takes."""
        runs = sum(one.nbytes + other.nbytes for one, other in self._runs)
        return runs + self._times.nbytes + self._states.nbytes + self._bounds.nbytes

    def add(self, hashes: Hashes, times: Numbers) -> int:
        """Give the next slots [N] to what comes, which waits now, and tell the first's number."""
        first = self._next
        self._extend(first + len(times))
        self._times[first - self._base : self._next - self._base] = times
        self._states[first - self._base : self._next - self._base] = WAITING
        blocks = (np.arange(first, self._next) - self._base) // _BLOCK
        np.minimum.at(self._bounds, blocks, times)
        self._add_run(hashes, np.arange(first, self._next))
        return first

    def candidates(self, hashes: Hashes) -> tuple[Numbers, Numbers]:
        """Find slots that are not gone by their hash.

        Returns
        -------
        tuple
            Pairs [K]: which of the hashes [M], and a slot that has it.
        """
        queries, slots = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for known, numbers in self._runs:
            left = np.searchsorted(known, hashes, "left")
            counts = np.searchsorted(known, hashes, "right") - left
            asked = np.flatnonzero(counts)
            if not len(asked):
                continue
            many = counts[asked]
            within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
            queries.append(np.repeat(asked, many))
            slots.append(numbers[np.repeat(left[asked], many) + within])
        found, asking = np.concatenate(slots), np.concatenate(queries)
        there = self.states(found) != GONE
        return asking[there], found[there]

    def states(self, slots: Numbers) -> NDArray[np.uint8]:
        """Say whether slots [N] wait, are answered or gone."""
        inside = slots >= self._base
        found = np.zeros(len(slots), np.uint8)
        found[inside] = self._states[slots[inside] - self._base]
        return found

    def times(self, slots: Numbers) -> Numbers:
        """Give the times of slots [N] that are not gone."""
        found: Numbers = self._times[slots - self._base]
        return found

    def become(self, slots: Numbers, state: int) -> None:
        """Change the state of slots [N] that are not gone."""
        self._states[slots - self._base] = state

    def older(self, moment: int) -> Numbers:
        """Let go of all that is older than a moment, and give those slots that waited."""
        blocks = np.flatnonzero(self._bounds < moment)
        if not len(blocks):
            return np.zeros(0, np.int64)
        places = (blocks[:, None] * _BLOCK + np.arange(_BLOCK)).ravel()
        places = places[places < self._next - self._base]
        there = self._states[places] != GONE
        late = there & (self._times[places] < moment)
        waited: Numbers = places[late & (self._states[places] == WAITING)] + self._base
        self._states[places[late]] = GONE
        kept = places[there & ~late]
        self._bounds[blocks] = _NEVER
        np.minimum.at(self._bounds, kept // _BLOCK, self._times[kept])
        self._trim()
        return waited

    def answered(self) -> tuple[Numbers, Hashes, Numbers]:
        """Give the slots [K] that are answered, with their hashes and times, in order."""
        slots, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        for known, numbers in self._runs:
            some = self.states(numbers) == ANSWERED
            slots.append(numbers[some])
            hashes.append(known[some])
        found = np.concatenate(slots)
        order = np.argsort(found)
        return found[order], np.concatenate(hashes)[order], self.times(found[order])

    def rebuild(self, slots: Numbers, hashes: Hashes, times: Numbers, state: int) -> None:
        """Set slots [N] as they were: see `answered`."""
        self._times[slots - self._base] = times
        self._states[slots - self._base] = state
        np.minimum.at(self._bounds, (slots - self._base) // _BLOCK, times)
        self._add_run(hashes, slots)

    def _add_run(self, hashes: Hashes, slots: Numbers) -> None:
        order = np.argsort(hashes, kind="stable")
        self._runs.append((hashes[order], slots[order]))
        while len(self._runs) > 1 and 2 * len(self._runs[-1][0]) > len(self._runs[-2][0]):
            self._merge(2)

    def _merge(self, runs: int) -> None:
        """Make one run of the last ones, without what is gone."""
        some, self._runs = self._runs[-runs:], self._runs[:-runs]
        hashes = np.concatenate([one for one, _ in some])
        slots = np.concatenate([other for _, other in some])
        there = self.states(slots) != GONE
        hashes, slots = hashes[there], slots[there]
        order = np.argsort(hashes, kind="stable")  # sorted runs are merged in one pass
        if len(order):
            self._runs.append((hashes[order], slots[order]))

    def _extend(self, end: int) -> None:
        """Make room for slots up to a number."""
        need = -(-(end - self._base) // _BLOCK)
        if need > len(self._bounds):
            blocks = max(need, len(self._bounds) + len(self._bounds) // 2) - len(self._bounds)
            self._times = np.concatenate([self._times, np.zeros(blocks * _BLOCK, np.int64)])
            self._states = np.concatenate([self._states, np.zeros(blocks * _BLOCK, np.uint8)])
            self._bounds = np.concatenate([self._bounds, np.full(blocks, _NEVER)])
        self._next = end

    def _trim(self) -> None:
        """Give back the room of the oldest slots where at least half of all are gone."""
        used = -(-(self._next - self._base) // _BLOCK)
        live = np.flatnonzero(self._bounds[:used] != _NEVER)
        front = int(live[0]) if len(live) else max(0, used - 1)
        if front < 1 or 2 * front < len(self._bounds):
            return
        self._base += front * _BLOCK
        self._times = self._times[front * _BLOCK :].copy()
        self._states = self._states[front * _BLOCK :].copy()
        self._bounds = self._bounds[front:].copy()
        if self._runs:
            self._merge(len(self._runs))
