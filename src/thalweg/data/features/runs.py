"""Events sorted by key and time, and what is asked of stretches of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.data.features.exact import ExactPrefix
from thalweg.data.features.values import Hashes, Mask
from thalweg.stats.hashing import MISSING
from thalweg.stats.moments import Moments

Int = NDArray[np.int64]
Values = NDArray[Any]

NO_CODE: Final = -1
"""The code of a text that is missing."""

_STEP: Final = 16  # so many values share one maximum
_ROWS: Final = 1 << 13  # so many rows are looked at at once, to stay in the cache
_ROOM: Final = 1 << 62


@final
@dataclass(frozen=True, slots=True)
class Events:
    """Events in any order.

    Parameters
    ----------
    keys, times
        uint64 [N] and int64 [N] in microseconds.
    values
        For each slot an array [N]: float64 (NaN is missing), uint64 hashes (`MISSING`), or int64
        codes of texts (`NO_CODE`).
    """

    keys: Hashes
    times: Moments
    values: Mapping[str, Values]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: Int | Mask | slice) -> Events:
        """Choose events."""
        values = {name: value[rows] for name, value in self.values.items()}
        return Events(self.keys[rows], self.times[rows], values)

    def sorted(self) -> Events:
        """Put them in order of key and time."""
        return self.take(np.lexsort((self.times, self.keys)))

    @classmethod
    def join(cls, parts: Sequence[Events]) -> Events:
        """Put events behind each other."""
        some = [part for part in parts if len(part)] or list(parts[:1])
        if len(some) == 1:
            return some[0]
        return cls(
            np.concatenate([part.keys for part in some]),
            np.concatenate([part.times for part in some]),
            {name: np.concatenate([p.values[name] for p in some]) for name in some[0].values},
        )

    @property
    def nbytes(self) -> int:
        """How much memory they take."""
        values = sum(value.nbytes for value in self.values.values())
        return int(self.keys.nbytes + self.times.nbytes + values)


def is_there(values: Values) -> Mask:
    """Say which values of a slot are not missing."""
    if values.dtype == np.float64:
        return ~np.isnan(values)
    there: Mask = values != (MISSING if values.dtype == np.uint64 else NO_CODE)
    return there


@final
class Index:
    """Finds the place of a key and a time among sorted ones.

    Each pair becomes one integer, so that one binary search finds it.

    Parameters
    ----------
    keys, times
        uint64 [N] and int64 [N], sorted by key and then by time.
    """

    def __init__(self, keys: Hashes, times: Moments) -> None:
        new = np.empty(len(keys), dtype=np.bool_)
        new[:1] = True
        np.not_equal(keys[1:], keys[:-1], out=new[1:])
        self.starts = np.flatnonzero(new)
        self._keys = keys[self.starts]
        self.ids = np.cumsum(new) - 1
        self._first, last = (int(times.min()), int(times.max())) if len(times) else (0, 0)
        self._span = last - self._first + 2
        self._ranks: Moments | None = None
        if len(self.starts) * self._span < _ROOM:
            places = times - self._first
        else:  # times too far apart: their ranks do as well
            self._ranks = np.unique(times)
            self._span = len(self._ranks) + 1
            places = np.searchsorted(self._ranks, times)
        self._codes = self.ids * self._span + places

    def locate(self, keys: Hashes) -> tuple[Int, Mask | None]:
        """Look keys [Q] up for `at`: where their codes begin, and which are there (None: all)."""
        where = np.searchsorted(self._keys, keys)
        known: Mask = self._keys[np.minimum(where, len(self._keys) - 1)] == keys
        return where * self._span, None if known.all() else known

    def at(self, located: tuple[Int, Mask | None], times: Moments) -> Int:
        """Give the place of the first event of a key [Q] that is not before a time [Q]."""
        codes, known = located
        if self._ranks is None:
            places = np.minimum(np.maximum(times - self._first, 0), self._span - 1)
        else:
            places = np.searchsorted(self._ranks, times)
        if known is not None:
            places = places * known
        found: Int = self._codes.searchsorted(codes + places)
        return found

    def find(self, keys: Hashes, times: Moments) -> Int:
        """Look keys [Q] up and give their places; see `at`."""
        if not len(self._codes):
            return np.zeros(len(keys), dtype=np.int64)
        return self.at(self.locate(keys), times)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        ranks = 0 if self._ranks is None else self._ranks.nbytes
        return int(self.ids.nbytes + self._codes.nbytes + 2 * self._keys.nbytes + ranks)


@final
class Extremes:
    """The largest value of any stretch: shared ones of every sixteen, and a table over these.

    Parameters
    ----------
    values
        float64 [N].
    """

    def __init__(self, values: NDArray[np.float64]) -> None:
        self._values = values
        starts = np.arange(0, len(values), _STEP)
        level = np.maximum.reduceat(values, starts) if len(values) else values
        self._levels = [level]
        reach = 1
        while len(level) > reach:  # a sparse table (Bender & Farach-Colton 2000)
            level = np.maximum(level[:-reach], level[reach:])
            self._levels.append(level)
            reach *= 2

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return sum(level.nbytes for level in self._levels)

    def between(self, first: Int, last: Int) -> NDArray[np.float64]:
        """Give the largest value of each stretch [Q]; minus infinity of an empty one."""
        if len(first) == 1 and 0 < last[0] - first[0] < _ROWS:  # as a lone row of a stream
            return np.array([self._values[first[0] : last[0]].max()])
        found = np.full(len(first), -np.inf)
        some = np.flatnonzero(first < last)
        for at in range(0, len(some), _ROWS):
            rows = some[at : at + _ROWS]
            found[rows] = self._largest(first[rows], last[rows])
        return found

    def _largest(self, first: Int, last: Int) -> NDArray[np.float64]:
        steps = np.arange(_STEP)[:, None]
        begin = np.minimum(first + steps, last - 1)
        found: NDArray[np.float64] = self._values[begin].max(axis=0)
        far = np.flatnonzero(last - first > _STEP)
        if len(far):
            first, last = first[far], last[far]
            end = self._values[np.maximum(last - 1 - steps, first)].max(axis=0)
            found[far] = np.maximum(found[far], end)
            low, high = (first + _STEP - 1) // _STEP, last // _STEP
            wide = np.flatnonzero(high > low)
            low, high = low[wide], high[wide]
            heights = np.frexp((high - low).astype(np.float64))[1] - 1
            for height in np.unique(heights).tolist():
                mine = heights == height
                level = self._levels[height]
                best = np.maximum(level[low[mine]], level[high[mine] - (1 << height)])
                rows = far[wide[mine]]
                found[rows] = np.maximum(found[rows], best)
        return found


@final
class Slot:
    """The values of one slot of a run that are there, and what helps to answer for them.

    It does not know the run: of two that know each other memory is given back late.
    """

    def __init__(self, events: Events, index: Index, name: str) -> None:
        values = events.values[name]
        there = is_there(values)
        self._events = events
        self._index = index
        self._rank: Int | None = None
        self._rows: Int | slice = slice(None)
        if not there.all():
            self._rank = np.zeros(len(values) + 1, dtype=np.int64)
            np.cumsum(there, out=self._rank[1:])
            self._rows = np.flatnonzero(there)
        self.values = values[self._rows]
        self._latest: Values | None = None
        self._leaving: dict[int, Index] = {}

    def places(self, first: Int, last: Int) -> tuple[Int, Int]:
        """Turn stretches of the run into stretches of the values that are there."""
        return (first, last) if self._rank is None else (self._rank[first], self._rank[last])

    @cached_property
    def sums(self) -> ExactPrefix:
        """The sums of the values."""
        return ExactPrefix(self.values)

    @cached_property
    def largest(self) -> Extremes:
        """The largest values."""
        return Extremes(self.values)

    @cached_property
    def smallest(self) -> Extremes:
        """The smallest values, with their sign changed."""
        return Extremes(-self.values)

    @cached_property
    def times(self) -> Moments:
        """When the values were."""
        return self._events.times[self._rows]

    @cached_property
    def ids(self) -> Int:
        """Of which key they are, by number."""
        return self._index.ids[self._rows]

    def latest(self, order: Callable[[Values], Values]) -> Values:
        """Give for each value the largest one of its key and moment; ``order`` ranks values."""
        if self._latest is None:
            self._latest = self._of_moments(order)
        return self._latest

    def _of_moments(self, order: Callable[[Values], Values]) -> Values:
        times, ids, values = self.times, self.ids, self.values
        new = np.ones(len(values), dtype=np.bool_)
        new[1:] = (times[1:] != times[:-1]) | (ids[1:] != ids[:-1])
        if new.all():
            return values
        sort = np.lexsort((order(values), np.cumsum(new)))
        starts = np.flatnonzero(new)
        ends = np.append(starts[1:], len(values)) - 1
        return np.repeat(values[sort][ends], ends - starts + 1)

    def distinct(self, over: int) -> Index:
        """Index when each value leaves the count: the same comes again, or the window ends."""
        if over not in self._leaving:
            times, ids, values = self.times, self.ids, self.values
            order = np.lexsort((values, ids))
            same = (ids[order[1:]] == ids[order[:-1]]) & (values[order[1:]] == values[order[:-1]])
            ends = times + over
            before, after = order[:-1][same], order[1:][same]
            ends[before] = np.minimum(ends[before], times[after])
            keys = self._events.keys[self._rows]
            leaving = np.lexsort((ends, ids))
            self._leaving[over] = Index(keys, ends[leaving])
        return self._leaving[over]

    @property
    def nbytes(self) -> int:
        """How much memory it takes beside the run."""
        own = 0 if self._rank is None else self._rank.nbytes + self.values.nbytes
        made = [self.__dict__.get(name) for name in ("sums", "largest", "smallest", "ids")]
        made += [self.__dict__.get("times")] if self._rank is not None else []
        ways = sum(index.nbytes for index in self._leaving.values())
        return int(own + ways + sum(one.nbytes for one in made if one is not None))


@final
class Run:
    """Events in order of key and time, ready to be asked.

    Parameters
    ----------
    events
        Sorted; see `Events.sorted`.
    """

    def __init__(self, events: Events) -> None:
        self.events = events
        self._slots: dict[str, Slot] = {}

    def __len__(self) -> int:
        return len(self.events)

    @cached_property
    def index(self) -> Index:
        """Where each key and time stands."""
        return Index(self.events.keys, self.events.times)

    def slot(self, name: str) -> Slot:
        """Give what helps to answer for a slot."""
        if name not in self._slots:
            self._slots[name] = Slot(self.events, self.index, name)
        return self._slots[name]

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        index = self.index.nbytes if "index" in self.__dict__ else 0
        return self.events.nbytes + index + sum(slot.nbytes for slot in self._slots.values())


def stretches(first: Int, last: Int) -> Int:
    """Give all places from ``first`` up to, without, ``last`` of each stretch [Q], one by one.

    Examples
    --------
    >>> stretches(np.array([3, 7, 9]), np.array([5, 7, 10])).tolist()
    [3, 4, 9]
    """
    sizes = last - first
    before = np.cumsum(sizes) - sizes
    found: Int = np.arange(int(sizes.sum())) + np.repeat(first - before, sizes)
    return found


def last_moments(events: Events) -> Events:
    """Keep of sorted events those of each key's last two moments.

    Two, because the next row of the key may be of the last moment itself and sees the one before.
    """
    return events.take(_last(events) | _last_but_one(events)) if len(events) else events


def _last(events: Events) -> Mask:
    """Say which sorted events are of their key's last moment."""
    ends = np.flatnonzero(events.keys[1:] != events.keys[:-1])
    if not len(ends):
        return _of(events.times, events.times[-1])
    ends = np.append(ends, len(events) - 1)
    return _of(events.times, np.repeat(events.times[ends], np.diff(ends, prepend=-1)))


def _of(times: Moments, moments: Moments | np.int64) -> Mask:
    mask: Mask = times == moments
    return mask


def _last_but_one(events: Events) -> Mask:
    """Say which sorted events are of the moment before their key's last one."""
    before = np.flatnonzero(~_last(events))
    found = np.zeros(len(events), dtype=np.bool_)
    if len(before):
        found[before] = _last(events.take(before))
    return found


def any_of(keys: Hashes, wanted: Hashes) -> Mask:
    """Say which keys [N] are among wanted ones, sorted [K]."""
    places: Int | int = 0
    if len(wanted) > 1:
        places = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    found: Mask = wanted[places] == keys
    return found
