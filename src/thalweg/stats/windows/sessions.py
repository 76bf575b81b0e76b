"""Sessions: the rows of a key of which each is closer than a gap to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import numpy as np
import pyarrow as pa

from thalweg.stats.windows.places import Ids, Mask
from thalweg.stats.windows.slots import Closing, Slots, nothing
from thalweg.stats.windows.spec import WindowSpec
from thalweg.stats.windows.watermark import LEAST, MOST


@final
class Sessions(Slots):
    """A slot for each session; one that joins another leaves its slot behind as a part of it.

    Parameters
    ----------
    spec
        Sessions.
    """

    __slots__ = (
        "_closed",
        "_dead",
        "_first",
        "_gap",
        "_keys",
        "_last",
        "_open",
        "_root",
        "_soonest",
        "_used",
    )

    def __init__(self, spec: WindowSpec) -> None:
        self._gap = spec.size
        self._keys: Ids = nothing()  # of each slot, with room to grow, as the next three
        self._first: Ids = nothing()
        self._last: Ids = nothing()
        self._root: Ids = nothing()  # the slot that it is a part of: itself most often
        self._open: Ids = nothing()  # the slots that are sessions and not closed
        self._used = 0
        self._dead = 0
        self._closed = LEAST
        self._soonest = MOST  # no session ends before

    def __len__(self) -> int:
        return self._used

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return int(4 * self._keys.nbytes + self._open.nbytes)

    @property
    def open(self) -> int:
        """How many sessions are not closed."""
        return len(self._open)

    def place(self, keys: Ids, times: Ids) -> Ids:
        """Give the slot of each row [N], made where there is none; -1 where it is late."""
        if not len(keys):
            return nothing()
        order = np.lexsort((times, keys))
        keys, times = keys[order], times[order]
        change = _parted(keys, times[1:], times[:-1], self._gap)
        begin = np.flatnonzero(change)
        fragment = np.cumsum(change) - 1
        last = times[np.append(begin[1:], len(times)) - 1]
        slots = np.empty(len(order), dtype=np.int64)
        slots[order] = self._join(keys[begin], times[begin], last)[fragment]
        return slots

    def close(self, bound: int) -> Iterator[Closing]:
        """Close all sessions that end at or before a time."""
        self._closed = max(self._closed, bound)
        if bound < self._soonest:
            return
        ended = self._ended(self._last[self._open])
        closing = self._open[ended]
        self._open = self._open[~ended]
        rest = self._last[self._open]
        self._soonest = int(rest.min()) + self._gap if len(rest) else MOST
        if not len(closing):
            return
        root = self._roots()
        chosen = np.zeros(self._used, dtype=np.bool_)
        chosen[closing] = True
        slots = np.flatnonzero(chosen[root])
        root = root[slots]
        self._dead += len(slots)
        ends = np.minimum(self._last[root], MOST - self._gap) + self._gap
        yield Closing(slots, self._keys[slots], self._first[root], ends)

    def alive(self) -> Mask:
        """Say which slots an open session needs."""
        there = np.zeros(self._used, dtype=np.bool_)
        there[self._open] = True
        return there[self._roots()]

    def dead(self) -> int:
        """How many slots no open session needs."""
        return self._dead

    def keep(self, alive: Mask, keys: Ids) -> None:
        """Forget the slots that are not alive; number the keys anew by what they were."""
        move = np.cumsum(alive) - 1
        self._root = move[self._roots()[alive]]
        self._keys = keys[self._keys[: self._used][alive]]
        self._first = self._first[: self._used][alive]
        self._last = self._last[: self._used][alive]
        self._open = move[self._open]
        self._used, self._dead = len(self._keys), 0

    def keys(self) -> Ids:
        """Give the number of each slot's key."""
        return self._keys[: self._used]

    def table(self) -> tuple[dict[str, int], pa.Table]:
        """Give everything that it is; only what is alive may be held."""
        used = self._used
        columns = {
            "key": self._keys[:used],
            "first": self._first[:used],
            "last": self._last[:used],
            "root": self._roots(),
        }
        return {"closed": self._closed}, pa.table(columns)

    def load(self, plain: dict[str, int], table: pa.Table) -> None:
        """Become what `table` gave."""
        self._closed = int(plain["closed"])
        self._keys, self._first, self._last, self._root = (
            table[name].to_numpy().copy() for name in ("key", "first", "last", "root")
        )
        self._used, self._dead = len(self._keys), 0
        self._open = np.flatnonzero(self._root == np.arange(self._used))
        rest = self._last[self._open]
        self._soonest = int(rest.min()) + self._gap if len(rest) else MOST

    def _ended(self, last: Ids) -> Mask:
        """Say which sessions, by their last row, end at or before what is closed."""
        ended: Mask = last <= max(self._closed - self._gap, LEAST)
        return ended if self._closed - self._gap >= LEAST else np.zeros_like(ended)

    def _join(self, keys: Ids, first: Ids, last: Ids) -> Ids:
        """Join fragments [F] with each other and the open sessions; give each one's slot."""
        touched = np.zeros(max(int(keys.max()), int(self.keys().max(initial=0))) + 1, np.bool_)
        touched[keys] = True
        near = touched[self._keys[self._open]]
        held = self._open[near]
        old = len(held)
        keys = np.concatenate([self._keys[held], keys])
        first = np.concatenate([self._first[held], first])
        last = np.concatenate([self._last[held], last])
        order = np.lexsort((first, keys))
        reach = _reach(keys[order], last[order])
        change = _parted(keys[order], first[order][1:], reach[:-1], self._gap)
        begin = np.flatnonzero(change)
        cluster = np.empty(len(order), dtype=np.int64)
        cluster[order] = np.cumsum(change) - 1
        low = first[order][begin]
        high = reach[np.append(begin[1:], len(order)) - 1]
        slots = np.full(len(begin), MOST, dtype=np.int64)
        np.minimum.at(slots, cluster[:old], held)  # the oldest slot stands for all
        self._root[held] = slots[cluster[:old]]
        gone = held[slots[cluster[:old]] != held]
        new = np.flatnonzero(slots == MOST)
        late = self._ended(high[new])
        slots[new[late]] = -1
        new = new[~late]
        slots[new] = self._make(keys[order][begin][new])
        there = slots >= 0
        self._first[slots[there]], self._last[slots[there]] = low[there], high[there]
        if len(gone):
            kept = np.ones(self._used, dtype=np.bool_)
            kept[gone] = False
            self._open = self._open[kept[self._open]]
        if there.any():
            soon = int(high[there].min()) + self._gap
            self._soonest = min(self._soonest, soon)
        return slots[cluster[old:]]

    def _make(self, keys: Ids) -> Ids:
        """Make slots for keys [M]."""
        total = self._used + len(keys)
        if total > len(self._keys):
            room = total + total // 2
            for name in ("_keys", "_first", "_last", "_root"):
                setattr(self, name, np.resize(getattr(self, name)[: self._used], room))
        made = np.arange(self._used, total)
        self._keys[made], self._root[made] = keys, made
        self._open = np.concatenate([self._open, made])
        self._used = total
        return made

    def _roots(self) -> Ids:
        """Give the session that each slot is a part of."""
        root = self._root[: self._used]
        while True:
            further = root[root]
            if (further == root).all():
                self._root[: self._used] = root
                return root
            root = further


def _parted(keys: Ids, later: Ids, earlier: Ids, gap: int) -> Mask:
    """Say where in sorted rows another key begins, or the next row is a gap away."""
    apart = later > np.minimum(earlier, MOST - gap) + (gap - 1)
    return np.concatenate(([True], (keys[1:] != keys[:-1]) | apart))


def _reach(keys: Ids, last: Ids) -> Ids:
    """Give the latest of a key's times up to each row; the keys are sorted."""
    order = np.lexsort((last, keys))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return last[order][np.maximum.accumulate(rank)]
