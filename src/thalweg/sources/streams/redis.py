"""Redis Streams, read by position and written exactly once.

Read, a stream is asked for the entries after a position, whatever its consumer group thinks: the
group is kept for whoever watches. With every commit it is set to what is done, so that its lag
(``XINFO GROUPS``) is true; what consumers of the group that died left pending is taken over and
acknowledged once it is done. Needs Redis 6.2; the lag, and the knowledge that entries were trimmed
before they were read, need Redis 7. Tried with Redis 7.0 on one server; a Redis Cluster runs the
scripts only where all keys lie in one slot, as those named ``{events}:0`` do.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from thalweg.sources.streams.base import (
    Format,
    LostRecordsError,
    Position,
    Records,
    Stream,
)
from thalweg.sources.streams.brokers import BYTES, SECONDS, parse
from thalweg.sources.streams.payloads import lines_of
from thalweg.sources.streams.redis_line import (
    OPTIONS,
    GroupThereError,
    NoGroupError,
    Server,
    keys_of,
)
from thalweg.sources.streams.redis_publisher import RedisPublisher
from thalweg.sources.streams.redis_scripts import FETCH, NUMBER

__all__ = ["RedisPublisher", "RedisStream"]

AT_ONCE: Final = 8_192
"""How many entries one script gives: for so long nobody else is served."""

COUNTED: Final = 200_000
"""How many entries are looked at, at most, to learn which number one has."""

_CONSUMER: Final = "thalweg"


@final
class RedisStream(Stream):
    """A Redis stream, or several numbered ones that are its partitions.

    Parameters
    ----------
    uri
        ``redis://[user:password@]host[:port]/[database]?stream=events``, and what may follow:
        ``&partitions=4`` for the keys ``events:0`` to ``events:3``; ``&group=name`` for the
        consumer group, made where it is not there; ``&field=data`` for the field that is the
        payload (an entry without it is a JSON object of all its fields); ``&format=json``, csv
        or arrow. ``rediss://`` encrypts.
    idle
        After how many seconds of silence another consumer of the group counts as dead.

    Examples
    --------
    >>> stream = RedisStream("redis://:sesame@localhost/0?stream=events&partitions=2")
    >>> stream.uri, stream.partitions()
    ('redis://@localhost/0?stream=events&partitions=2', ('events:0', 'events:1'))
    """

    def __init__(self, uri: str, idle: float = 60.0) -> None:
        self._broker = parse(uri, 6379, OPTIONS)
        self._server = Server(self._broker)
        self._names = keys_of(self._broker)
        self._format = self._broker.format
        self._field = self._broker.options.get("field", "data")
        self._group = self._broker.options.get("group", "thalweg")
        self._idle = round(idle * 1000)
        self._grouped: set[str] = set()
        self._counts: dict[str, _Count] = {}

    @property
    def uri(self) -> str:
        """What it was opened with, free of secrets."""
        return self._broker.shown

    @property
    def format(self) -> Format:
        """How its payloads are written."""
        return self._format

    def partitions(self) -> Sequence[str]:
        """Name the keys."""
        return self._names

    def fetch(
        self,
        partition: str,
        after: Position | None,
        most: int = 65_536,
        until: Position | None = None,
    ) -> Records | None:
        """Give the next entries that are there."""
        self._made(partition)
        count = self._count(partition, after)
        from_, room, pieces = str(after or ""), BYTES, list[_Entries]()
        while most > 0 and room > 0:
            asked = min(most, AT_ONCE)
            words = (from_, until or "+", asked, room, self._field)
            told = self._server.say("EVAL", FETCH, 1, partition, *words)
            if told[5] >= 0:
                self._check(partition, count.of(from_), from_, told)
            if not told[0]:
                break
            pieces.append(_Entries(told))
            count.chunks.append(pieces[-1].ids)
            from_ = pieces[-1].ids[-1].as_py()
            most -= told[0]
            room -= pieces[-1].size
            if told[0] < asked:
                break
        if not pieces:
            return None
        ids = pa.concat_arrays([one.ids for one in pieces])
        payloads = pa.concat_arrays([one.payloads for one in pieces])
        return Records(partition, payloads, ids, _times(ids))

    def newest(self, partition: str) -> Position | None:
        """Give the id of the last entry."""
        found = self._server.say("XREVRANGE", partition, "+", "-", "COUNT", 1)
        return str(found[0][0], "ascii") if found else None

    def wait(self, after: Mapping[str, Position | None], seconds: float) -> None:
        """Let Redis wait for entries."""
        ends = time.monotonic() + seconds
        names = list(after)
        ids = [after[name] or "0-0" for name in names]
        while names and (left := ends - time.monotonic()) > 0:
            # Never for so long that a server which waits looks like one that is lost.
            millis = max(1, round(min(left, SECONDS / 2) * 1000))
            words = ("COUNT", 1, "BLOCK", millis, "STREAMS", *names, *ids)
            if self._server.say("XREAD", *words):
                return

    def lag(self, after: Mapping[str, Position | None]) -> int | None:
        """Count the entries after these, trimmed ones included; deleted ones make it too large."""
        total = 0
        for partition, position in after.items():
            found = self._counts.get(partition)
            number = found.of(str(position or "")) if found else None
            known, added = self._number(partition, position if number is None else None)
            number = known if number is None else number
            if number < 0 and added:
                return None
            total += max(0, added - number) if added else 0
        return total

    def commit(self, positions: Mapping[str, Position]) -> None:
        """Set the group to these entries, and acknowledge what dead consumers left before them."""
        for partition, given in positions.items():
            self._made(partition)
            position = str(given)
            found = self._counts.get(partition)
            number = found.of(position) if found else None
            if number is None:
                number = self._number(partition, position)[0]
            read = ("ENTRIESREAD", number) if number >= 0 else ()
            try:
                self._server.say("XGROUP", "SETID", partition, self._group, position, *read)
                pending = self._server.say("XPENDING", partition, self._group)
            except NoGroupError:  # The key was deleted: what was done is done.
                self._grouped.discard(partition)
                continue
            if found:
                found.drop(position)
            if pending[0]:
                self._take_over(partition, position)

    def close(self) -> None:
        """Let go of the connection."""
        self._server.close()

    def _made(self, partition: str) -> None:
        """Make the group where it is not there."""
        if partition in self._grouped:
            return
        try:
            words = ("CREATE", partition, self._group, "0", "MKSTREAM")
            self._server.say("XGROUP", *words)
        except GroupThereError:
            pass
        self._grouped.add(partition)

    def _take_over(self, partition: str, position: str) -> None:
        """Claim what dead consumers left pending, and acknowledge what is done of it."""
        group, start = (partition, self._group), "0-0"
        while True:
            claim = (*group, _CONSUMER, self._idle, start, "COUNT", 1000, "JUSTID")
            told = self._server.say("XAUTOCLAIM", *claim)
            start = str(told[0], "ascii")
            if start == "0-0":
                break
        while ours := self._server.say("XPENDING", *group, "-", position, 1000, _CONSUMER):
            self._server.say("XACK", *group, *(one[0] for one in ours))

    def _number(self, partition: str, position: Position | None) -> tuple[int, int]:
        """Ask which number an entry has, -1 where unknown, and how many were ever added."""
        words = (self._group, position or "", COUNTED)
        number, added = self._server.say("EVAL", NUMBER, 1, partition, *words)
        return number, added

    def _count(self, partition: str, after: Position | None) -> _Count:
        """Find or begin the count of entries fetched, at a position."""
        place = str(after or "")
        found = self._counts.get(partition)
        if found and found.end == place:
            return found
        number = found.of(place) if found else None
        if number is None:
            number = self._number(partition, after)[0]
        self._counts[partition] = _Count(place, number if number >= 0 else None)
        return self._counts[partition]

    def _check(self, partition: str, number: int | None, after: str, told: Sequence[Any]) -> None:
        """Refuse to go on where entries were trimmed that were not read."""
        first, added, length = str(told[4], "ascii"), told[5], told[6]
        gone = added - length - number if number is not None else 0
        if gone > 0:
            raise LostRecordsError(
                f"{gone} entries of {partition} after {after} are no longer on "
                f"{self._broker.server}: the first is {first or 'still to come'}",
                "entries that stay until they are read",
                "Trim the stream less (MAXLEN, MINID), or begin anew where it begins now.",
            )


@final
class _Count:
    """Which number each entry has that was fetched and is not yet committed.

    Parameters
    ----------
    mark
        The entry before the first of them.
    number
        Its number: how many were ever added up to it; None where unknown.
    """

    def __init__(self, mark: str, number: int | None) -> None:
        self.mark = mark
        self.number = number
        self.chunks: list[pa.Array] = []

    @property
    def end(self) -> str:
        """The last entry fetched."""
        return self.chunks[-1][-1].as_py() if self.chunks else self.mark

    def of(self, position: str) -> int | None:
        """Say which number an entry has, where that is known."""
        if self.number is None or position == self.mark:
            return self.number
        before, wanted = self.number, _ordered(position)
        for chunk in self.chunks:
            if wanted <= _ordered(chunk[-1].as_py()):
                ids = range(len(chunk))
                place = bisect_left(ids, wanted, key=lambda i: _ordered(chunk[i].as_py()))
                return before + place + 1 if chunk[place].as_py() == position else None
            before += len(chunk)
        return None

    def drop(self, position: str) -> None:
        """Forget the entries up to one."""
        number = self.of(position)
        if number is None or self.number is None:
            return
        over = number - self.number
        while self.chunks and over >= len(self.chunks[0]):
            over -= len(self.chunks.pop(0))
        if over:
            self.chunks[0] = self.chunks[0][over:]
        self.mark, self.number = position, number


@final
class _Entries:
    """What the script `FETCH` gave, as columns."""

    def __init__(self, told: Sequence[Any]) -> None:
        self.ids = lines_of(told[1]).cast(pa.large_string()).cast(pa.string())
        sizes = np.frombuffer(told[2], dtype="<u4").astype(np.int64)
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
        self.size = int(offsets[-1])
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(told[3]))]
        self.payloads = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(sizes), buffers)


def _ordered(position: str) -> tuple[int, int]:
    """Give an id as numbers; the start is before all."""
    if not position:
        return -1, 0
    millis, _, sequence = position.partition("-")
    return int(millis), int(sequence or 0)


def _times(ids: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Read the times in ids, which are in milliseconds."""
    millis = pc.replace_substring_regex(ids, "-.*", "").cast(pa.uint64()).to_numpy()
    times: np.ndarray[Any, np.dtype[np.int64]] = (
        np.minimum(millis, np.uint64(2**63 // 1000 - 1)).astype(np.int64) * 1000
    )
    return times
