"""Tumbling and sliding windows: rows are counted in panes that lie side by side."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from typing import Final, final

import numpy as np
import pyarrow as pa

from thalweg.stats.hashing import mix
from thalweg.stats.windows.places import Hashes, Ids, Mask, Places
from thalweg.stats.windows.slots import Closing, Slots, nothing
from thalweg.stats.windows.spec import WindowSpec
from thalweg.stats.windows.watermark import LEAST, MOST

_AT_ONCE: Final = 1 << 22  # so many pairs of a slot and a window are given at once


@final
class Panes(Slots):
    """A slot for each key in each pane.

    A pane is as long as the greatest common divisor of size and slide, so that every window is
    made of whole panes, and a row is counted once, however many windows it is in. Windows and
    panes are numbered from 1970-01-01.

    Parameters
    ----------
    spec
        Tumbling or sliding windows.
    """

    __slots__ = (
        "_closed",
        "_dead",
        "_each",
        "_keys",
        "_pane",
        "_panes",
        "_places",
        "_recent",
        "_soonest",
        "_spec",
        "_step",
        "_used",
    )

    def __init__(self, spec: WindowSpec) -> None:
        self._spec = spec
        self._pane = gcd(spec.size, spec.slide)
        self._each = spec.size // self._pane  # panes of a window
        self._step = spec.slide // self._pane  # panes from one window to the next
        self._places = Places()
        self._panes: Ids = nothing()  # of each slot, with room to grow
        self._keys: Ids = nothing()
        self._recent: Ids = nothing()  # a slot that each key may be in: where it was last
        self._used = 0
        self._dead = 0
        self._closed = LEAST // self._pane  # windows that end at or before this pane are closed
        self._soonest = MOST  # no window that holds rows ends before this pane

    def __len__(self) -> int:
        return self._used

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        own = self._panes.nbytes + self._keys.nbytes + self._recent.nbytes
        return int(self._places.nbytes + own)

    @property
    def open(self) -> int:
        """How many windows hold rows and are not closed, those of all keys as one."""
        panes = np.unique(self._panes[: self._used])
        first, last = self._windows(panes)
        first = np.maximum(first, self._after())
        last_before = np.concatenate(([LEAST], np.maximum.accumulate(last)[:-1]))[: len(last)]
        first = np.maximum(first, last_before + 1)
        return int(np.maximum(last - first + 1, 0).sum())

    def place(self, keys: Ids, times: Ids) -> Ids:
        """Give the slot of each row [N], made where there is none; -1 where it is late."""
        panes = times // self._pane
        ends = panes // self._step * self._step + self._each
        late = ends <= self._closed
        if late.any():
            slots = np.full(len(times), -1, dtype=np.int64)
            there = ~late
            slots[there] = self._find(keys[there], panes[there])
            return slots
        return self._find(keys, panes)

    def close(self, bound: int) -> Iterator[Closing]:
        """Close all windows that end at or before a time; give their slots in parts."""
        until = bound // self._pane
        low, self._closed = self._after(), max(self._closed, until)
        if until < self._soonest:
            return
        panes = self._panes[: self._used]
        first, last = self._windows(panes)
        yield from self._parts(np.maximum(first, low), last, low, self._after() - 1)
        ends = last * self._step + self._each
        self._dead = int((ends <= self._closed).sum())
        soon = np.maximum(first, self._after())[ends > self._closed]
        self._soonest = int(soon.min()) * self._step + self._each if len(soon) else MOST

    def alive(self) -> Mask:
        """Say which slots an open window needs."""
        last = self._panes[: self._used] // self._step
        alive: Mask = last * self._step + self._each > self._closed
        return alive

    def dead(self) -> int:
        """How many slots no open window needs, as far as is known without looking."""
        return self._dead

    def keep(self, alive: Mask, keys: Ids) -> None:
        """Forget the slots that are not alive; number the keys anew by what they were."""
        self._panes = self._panes[: self._used][alive]
        self._keys = keys[self._keys[: self._used][alive]]
        self._used, self._dead, self._recent = len(self._panes), 0, nothing()
        self._places = Places(_hashed(self._keys, self._panes))

    def keys(self) -> Ids:
        """Give the number of each slot's key."""
        return self._keys[: self._used]

    def table(self) -> tuple[dict[str, int], pa.Table]:
        """Give everything that it is."""
        used = self._used
        plain = {"closed": self._closed, "soonest": self._soonest}
        return plain, pa.table({"pane": self._panes[:used], "key": self._keys[:used]})

    def load(self, plain: dict[str, int], table: pa.Table) -> None:
        """Become what `table` gave."""
        self._closed, self._soonest = int(plain["closed"]), int(plain["soonest"])
        self._panes, self._keys = table["pane"].to_numpy().copy(), table["key"].to_numpy().copy()
        self._used, self._dead, self._recent = len(self._panes), 0, nothing()
        self._places = Places(_hashed(self._keys, self._panes))

    def _after(self) -> int:
        """Give the first window that is not closed."""
        return (self._closed - self._each) // self._step + 1

    def _windows(self, panes: Ids) -> tuple[Ids, Ids]:
        """Give the first and the last window that each pane is in."""
        return (panes - self._each) // self._step + 1, panes // self._step

    def _find(self, keys: Ids, panes: Ids) -> Ids:
        """Give the slots of keys in panes, made where there are none."""
        if not self._used:
            return self._look(keys, panes)
        more = int(keys.max(initial=-1)) + 1 - len(self._recent)
        if more > 0:
            self._recent = np.pad(self._recent, (0, more + len(self._recent) // 2))
        slots = self._recent[keys]
        other = np.flatnonzero((self._panes[slots] != panes) | (self._keys[slots] != keys))
        if len(other):
            keys = keys[other]
            slots[other] = self._recent[keys] = self._look(keys, panes[other])
        return slots

    def _look(self, keys: Ids, panes: Ids) -> Ids:
        """Look slots up in the table, and make those that are not there."""
        slots, new = self._places.find(_hashed(keys, panes))
        if len(new):
            total = self._used + len(new)
            if total > len(self._panes):
                self._panes = np.resize(self._panes[: self._used], total + total // 2)
                self._keys = np.resize(self._keys[: self._used], total + total // 2)
            self._panes[self._used : total] = panes[new]
            self._keys[self._used : total] = keys[new]
            self._used = total
            window = max(int(self._windows(panes[new].min(keepdims=True))[0][0]), self._after())
            self._soonest = min(self._soonest, window * self._step + self._each)
        return slots

    def _parts(self, first: Ids, last: Ids, low: int, high: int) -> Iterator[Closing]:
        """Give the windows from one to another in parts that are not too large."""
        number = np.minimum(last, high) - np.maximum(first, low) + 1
        slots = np.flatnonzero(number > 0)
        if not len(slots):
            return
        number = number[slots]
        low = max(low, int(first[slots].min()))
        high = min(high, int(last[slots].max()))
        if low < high and number.sum() > _AT_ONCE:
            middle = (low + high) // 2
            yield from self._parts(first, last, low, middle)
            yield from self._parts(first, last, middle + 1, high)
            return
        windows = np.repeat(np.maximum(first[slots], low), number)
        ends = np.cumsum(number)
        windows += np.arange(len(windows)) - np.repeat(ends - number, number)
        slots = np.repeat(slots, number)
        starts = self._times(windows * self._step)
        yield Closing(
            slots, self._keys[slots], starts, self._times(windows * self._step + self._each)
        )

    def _times(self, panes: Ids) -> Ids:
        """Give when panes begin, as far as int64 holds it."""
        return np.clip(panes, -(MOST // self._pane), MOST // self._pane) * self._pane


def _hashed(keys: Ids, panes: Ids) -> Hashes:
    if len(panes) and (panes == panes[0]).all():
        return mix(keys.view(np.uint64) + mix(panes[:1].view(np.uint64)))
    return mix(keys.view(np.uint64) + mix(panes.view(np.uint64)))
