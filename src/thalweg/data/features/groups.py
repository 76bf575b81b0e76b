"""What features with the same keys share: their events, remembered in a block and a tail.

Most events lie in a block sorted by key and time; the newest in a short tail in order of arrival.
When the tail has grown both are sorted to a new block, without what no window can see any more
(a log-structured merge, O'Neil et al. 1996, of two levels).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, final

import numpy as np
import pyarrow as pa

from thalweg.core.durations import write_duration
from thalweg.core.errors import ArtifactError
from thalweg.data.features.answers import Answering, answer
from thalweg.data.features.declare import Feature
from thalweg.data.features.runs import Events, Run, any_of, is_there, last_moments, stretches
from thalweg.data.features.values import Hasher, Hashes, Mask, read_floats
from thalweg.data.features.words import Words
from thalweg.stats.moments import LATEST, Moments

FORMAT: Final = 1

_TAIL: Final = 4_096
_SHARE: Final = 8  # the tail may have this part of the block's length

_SLOT: Final = {
    "sum": "number",
    "mean": "number",
    "max": "number",
    "min": "number",
    "distinct": "hash",
}
_TYPES: Final = {"number": np.float64, "hash": np.uint64, "text": np.int64}


@final
@dataclass(frozen=True, slots=True)
class GroupKey:
    """What features must share to share their events.

    Parameters
    ----------
    by
        The columns of the key.
    ever
        Whether the window has no end: then only each key's last moment is held.
    column
        Of those without an end, the column: its last moment is another one than the next's.
    """

    by: tuple[str, ...]
    ever: bool
    column: str | None

    @classmethod
    def of(cls, feature: Feature) -> Self:
        """Say where a feature belongs."""
        ever = feature.over is None
        return cls(feature.by, ever, feature.column if ever else None)

    @property
    def name(self) -> str:
        """A name that no other has."""
        return json.dumps([list(self.by), self.ever, self.column], ensure_ascii=False)


def slot_of(feature: Feature) -> str | None:
    """Name the slot that holds a feature's values; None where it needs none."""
    if feature.column is None:
        return None
    kind = _SLOT.get(feature.function) or ("text" if feature.text else "number")
    return f"{kind}:{feature.column}"


@final
class Group:
    """The features of one key and the events that they need.

    Parameters
    ----------
    key
        What they share.
    features
        The features.
    """

    def __init__(self, key: GroupKey, features: Sequence[Feature]) -> None:
        self.key = key
        self._features = list(features)
        self._longest = max((feature.over or 0 for feature in features), default=0)
        slots = dict.fromkeys(slot for one in features if (slot := slot_of(one)) is not None)
        self._slots = list(slots)
        self._words = {slot: Words() for slot in slots if slot.startswith("text:")}
        none = {slot: np.zeros(0, _TYPES[slot.partition(":")[0]]) for slot in slots}
        self._none = Events(np.zeros(0, np.uint64), np.zeros(0, np.int64), none)
        self._block = Run(self._none)
        self._tail = Tail(self._none)
        self._newest: int | None = None

    def compute(
        self,
        rows: pa.RecordBatch,
        keys: Hashes,
        times: Moments,
        there: Mask,
        watermark: int | None,
        hasher: Hasher,
    ) -> dict[str, pa.Array]:
        """Answer rows [N] and remember them; those not ``there`` get nulls."""
        events = Events(keys, times, self._read(rows, hasher))
        some = None if there.all() else np.flatnonzero(there)
        if some is not None:
            events = events.take(some)
        order = np.lexsort((events.times, events.keys)) if len(events) > 1 else None
        if order is not None:
            events = events.take(order)
            some = order if some is None else some[order]
        asked = self._asked(events) if len(events) else None
        found = {
            one.name: answer(one, slot_of(one), asked, some, rows.num_rows)
            for one in self._features
        }
        if len(events):
            self._remember(events, watermark)
        return found

    def _read(self, rows: pa.RecordBatch, hasher: Hasher) -> dict[str, Any]:
        """Read the slots' values of rows [N]."""
        values: dict[str, Any] = {}
        for slot in self._slots:
            kind, _, column = slot.partition(":")
            cells = rows.column(column)
            if kind == "number":
                values[slot] = read_floats(cells)
            elif kind == "hash":
                values[slot] = hasher.values(cells)
            else:
                values[slot] = self._words[slot].add(cells)
        return values

    def _asked(self, events: Events) -> Answering:
        """Bring the events together that the answers of sorted rows depend on."""
        keys = events.keys
        if len(keys) > 1:
            keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))]
        tail = self._tail.events
        if len(tail) and len(keys) < len(tail):
            tail = tail.take(any_of(tail.keys, keys))
        floor = self._floor
        if len(tail) and floor is not None and not self.key.ever:
            tail = tail.take(tail.times >= floor)
        fresh = self._readable(events) if self.key.ever else events

        def joined() -> Run:
            low = int(events.times.min()) - self._longest
            return self._run([self._gathered(keys, low), tail, events])

        if self.key.ever and self._newest is not None and int(events.times.min()) < self._newest:
            # A late row sees what every other way to cut the rows would have left, and no more.
            past = last_moments(Events.join([self._gathered(keys, None), tail]).sorted())
            runs = [self._run([past, fresh])]
        elif not len(tail) and len(keys) == len(events):
            runs = [self._block]  # no row sees itself
        else:
            runs = [self._block, self._run([tail, fresh])]
        return Answering(events.keys, events.times, runs, joined, floor, self._words)

    @staticmethod
    def _run(parts: Sequence[Events]) -> Run:
        """Join parts, of which the last is sorted."""
        some = [part for part in parts if len(part)]
        alone = len(some) == 1 and some[0] is parts[-1]
        return Run(some[0] if alone else Events.join(parts).sorted())

    def _gathered(self, keys: Hashes, low: int | None) -> Events:
        """Take the events of some keys out of the block, from a time on that all rows share."""
        block = self._block
        if not len(block):
            return self._none
        since = -LATEST if low is None else low
        if self._floor is not None and not self.key.ever:
            since = max(since, self._floor)
        first = block.index.find(keys, np.full(len(keys), since))
        last = block.index.find(keys, np.full(len(keys), LATEST + 1))
        return block.events.take(stretches(first, last))

    def _readable(self, events: Events) -> Events:
        """Of what is remembered for ever: leave out the rows whose value is missing."""
        if not self._slots:
            return events
        there = is_there(events.values[self._slots[0]])
        return events if there.all() else events.take(there)

    @property
    def _floor(self) -> int | None:
        """The moment before which nothing is seen any more, however it is remembered still."""
        return None if self._newest is None else self._newest - self._longest

    def _remember(self, events: Events, watermark: int | None) -> None:
        newest = int(events.times.max())
        if watermark is not None and not self.key.ever:
            newest = min(newest, watermark)
        self._newest = newest if self._newest is None else max(self._newest, newest)
        kept = self._readable(events) if self.key.ever else events
        if self.key.ever:
            kept = last_moments(kept)
        self._tail.append(kept)
        if len(self._tail) > max(_TAIL, len(self._block) // _SHARE):
            self._compact()

    def _compact(self) -> None:
        """Sort the tail into the block and leave out what is over."""
        events = Events.join([self._block.events, self._tail.events])
        if self._floor is not None and not self.key.ever:
            seen = events.times >= self._floor
            if not seen.all():
                events = events.take(seen)
        events = events.sorted()
        if self.key.ever:
            events = last_moments(events)
        values = dict(events.values)
        for slot, words in self._words.items():
            values[slot] = words.narrowed(values[slot])
        self._block = Run(Events(events.keys, events.times, values))
        self._tail = Tail(self._none)

    def state(self) -> pa.Table:
        """Give what is remembered; it is put in order first, so that both go on alike."""
        self._compact()
        events = self._block.events
        columns = {"key": pa.array(events.keys), "time": pa.array(events.times)}
        for slot, values in events.values.items():
            columns[slot] = (
                self._words[slot].take(values) if slot in self._words else pa.array(values)
            )
        told = {
            "format": FORMAT,
            "newest": self._newest,
            "longest": write_duration(self._longest) if self._longest else None,
        }
        return pa.table(columns).replace_schema_metadata({"features": json.dumps(told)})

    def restore(self, table: pa.Table) -> None:
        """Take up what `state` gave.

        Raises
        ------
        ArtifactError
            Where it is of other features, or of another version.
        """
        told = json.loads((table.schema.metadata or {}).get(b"features", b"{}"))
        longest = write_duration(self._longest) if self._longest else None
        fits = table.column_names == ["key", "time", *self._slots]
        if not fits or told.get("format") != FORMAT or told.get("longest") != longest:
            raise ArtifactError(
                f"a state of columns {', '.join(table.column_names)} over {told.get('longest')}",
                f"one of {', '.join(['key', 'time', *self._slots])} over {longest}",
                "Use the state that was saved with this model, and its version of Thalweg.",
            )
        columns = table.combine_chunks()
        values: dict[str, Any] = {}
        for slot in self._slots:
            column = columns.column(slot)
            if slot in self._words:
                values[slot] = self._words[slot].add(column)
            else:
                values[slot] = column.to_numpy()
        keys, times = columns.column("key").to_numpy(), columns.column("time").to_numpy()
        self._block = Run(Events(keys, times, values))
        self._newest = told["newest"]

    @property
    def remembered(self) -> int:
        """How many events are held."""
        return len(self._block) + len(self._tail)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        words = sum(words.nbytes for words in self._words.values())
        return self._block.nbytes + self._tail.nbytes + words


@final
class Tail:
    """Events in order of arrival, in arrays that double when they are full."""

    def __init__(self, none: Events) -> None:
        self._room = none
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def events(self) -> Events:
        """The events."""
        return self._room.take(slice(0, self._length))

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return self._room.nbytes

    def append(self, events: Events) -> None:
        """Put events behind the others."""
        length = self._length + len(events)
        if length > len(self._room):
            grown = max(length, 2 * len(self._room), 64)
            more = np.zeros(grown - self._length, dtype=np.int64)
            old = self.events
            self._room = Events(
                np.concatenate((old.keys, more.view(np.uint64))),
                np.concatenate((old.times, more)),
                {n: np.concatenate((v, more.view(v.dtype))) for n, v in old.values.items()},
            )
        self._room.keys[self._length : length] = events.keys
        self._room.times[self._length : length] = events.times
        for name, values in events.values.items():
            self._room.values[name][self._length : length] = values
        self._length = length
