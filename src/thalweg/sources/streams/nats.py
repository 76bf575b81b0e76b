"""NATS JetStream, read by position and written exactly once.

Each partition is a subject of one stream, and is read by a consumer of the reader's own that needs
no acknowledgements: ``nats consumer ls STREAM`` shows it under the group's name with what it has
still to read. A commit notes the position in the key-value bucket ``thalweg`` under
``reader.GROUP.PARTITION``. Nothing is ever acknowledged, so only streams with limits (not work
queues, not interest) can be read. That messages were removed before they were read can be known
only where the stream has one subject. Tried with NATS 2.9 on one server; needs 2.9.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources.streams.base import (
    Format,
    LostRecordsError,
    Position,
    Records,
    Stream,
)
from thalweg.sources.streams.brokers import SECONDS, driver, parse
from thalweg.sources.streams.nats_line import OPTIONS, Line, key_of, stream_of, subjects_of
from thalweg.sources.streams.nats_publisher import NatsPublisher
from thalweg.sources.streams.nats_reader import Reader, place_of

__all__ = ["NatsPublisher", "NatsStream"]

_MINUTE: Final = 60.0


@final
class NatsStream(Stream):
    """A JetStream subject, or several numbered ones that are its partitions.

    Parameters
    ----------
    uri
        ``nats://[user:password@]host[:port]?stream=EVENTS&subject=events``, and what may follow:
        ``&partitions=4`` for the subjects ``events.0`` to ``events.3``; ``&group=name`` for whoever
        watches; ``&format=json``, csv or arrow. Without a subject it is the stream's name. A token
        stands where the user does; ``tls://`` encrypts.

    Examples
    --------
    >>> stream = NatsStream("nats://sesame@localhost?stream=EVENTS&subject=events&partitions=2")
    >>> stream.uri, stream.partitions()
    ('nats://localhost?stream=EVENTS&subject=events&partitions=2', ('events.0', 'events.1'))
    """

    def __init__(self, uri: str) -> None:
        self._broker = parse(uri, 4222, OPTIONS)
        self._subjects = subjects_of(self._broker)
        self._format = self._broker.format
        self._group = self._broker.options.get("group", "thalweg")
        self._line = Line(self._broker)
        self._readers: dict[str, Reader] = {}
        self._checked = -1

    @property
    def uri(self) -> str:
        """What it was opened with, free of secrets."""
        return self._broker.shown

    @property
    def format(self) -> Format:
        """How its payloads are written."""
        return self._format

    def partitions(self) -> Sequence[str]:
        """Name the subjects."""
        return self._subjects

    def fetch(
        self,
        partition: str,
        after: Position | None,
        most: int = 65_536,
        until: Position | None = None,
    ) -> Records | None:
        """Give the next messages that are there."""
        start, end = _number(after), _number(until)
        found = self._line.call(lambda: self._fetched(partition, start, most, end), _MINUTE)
        if not found:
            return None
        replies = [reply.split(".") for reply, _ in found]
        shift = 5 if len(replies[0]) < 12 else 7
        positions = np.array([one[shift] for one in replies]).astype(np.int64)
        times = np.array([one[shift + 2] for one in replies]).astype(np.int64) // 1000
        payloads = pa.array([one.data for _, one in found], pa.large_binary())
        return Records(partition, payloads, pa.array(positions), times)

    def newest(self, partition: str) -> Position | None:
        """Give the last message's sequence number."""
        return self._line.call(lambda: self._newest(partition))

    def wait(self, after: Mapping[str, Position | None], seconds: float) -> None:
        """Let the server send a message as soon as there is one."""
        if after and seconds > 0:
            self._line.call(lambda: self._waited(after, seconds), seconds + SECONDS)

    def lag(self, after: Mapping[str, Position | None]) -> int | None:
        """Count the messages after these."""
        return self._line.call(lambda: self._lag(after), _MINUTE)

    def commit(self, positions: Mapping[str, Position]) -> None:
        """Note the positions for whoever watches."""
        if positions:
            self._line.call(lambda: self._noted(positions))

    def close(self) -> None:
        """Let the server forget the readers, and let go of the connection."""
        if any(not reader.lost for reader in self._readers.values()):
            with contextlib.suppress(SourceError):  # It forgets them by itself.
                self._line.call(self._left, 2.0)
        self._line.close()

    def _reader(self, partition: str) -> Reader:
        if partition not in self._readers:
            name = key_of(self._group, partition).replace(".", "-").replace("/", "-")
            self._readers[partition] = Reader(self._line, partition, name)
        return self._readers[partition]

    async def _fetched(
        self, partition: str, after: int | None, most: int, until: int | None
    ) -> list[tuple[str, Any]]:
        await self._check()
        reader = self._reader(partition)
        for _ in range(3):
            await reader.seek(after)
            await reader.fill(most)
            if not reader.lost:
                break
        else:
            raise ConnectionResetError("messages are dropped on the way")
        found = reader.give(most, until)
        if found and after is not None and place_of(found[0][1]) > after + 1:
            await self._gap(partition, after)
        return found

    async def _gap(self, partition: str, after: int) -> None:
        """Refuse to go on where messages were removed that were not read."""
        facts = await self._line.facts()
        gone = facts.state.first_seq - after - 1
        if gone > 0 and facts.config.subjects == [partition]:
            self._readers.pop(partition)
            raise LostRecordsError(
                f"{gone} messages of {partition} after {after} are no longer on "
                f"{self._broker.server}: the first is {facts.state.first_seq}",
                "messages that stay until they are read",
                "Raise the stream's limits, or begin anew where it begins now.",
            )

    async def _check(self) -> None:
        """See, once for a connection, that the stream can be read."""
        if self._checked == self._line.generation:
            return
        facts = await self._line.facts()
        kept = getattr(facts.config.retention, "value", facts.config.retention)
        if kept not in ("limits", None):
            raise SourceError(
                f"the stream {stream_of(self._broker)} keeps messages by {kept}",
                "a stream with limits, which can be read from wherever one likes",
                "Make one with --retention limits, perhaps with this one as its source.",
            )
        self._checked = self._line.generation

    async def _newest(self, partition: str) -> int | None:
        errors = driver("nats.js.errors")
        await self._check()
        try:
            name = stream_of(self._broker)
            return int((await self._line.streams.get_last_msg(name, partition)).seq)
        except errors.NotFoundError:
            return None

    async def _waited(self, after: Mapping[str, Position | None], seconds: float) -> None:
        await self._check()
        ends = time.monotonic() + seconds
        readers = [self._reader(partition) for partition in after]
        for reader in readers:
            reader.arrived.clear()
        for reader, position in zip(readers, after.values(), strict=True):
            await reader.seek(_number(position))
        while (left := ends - time.monotonic()) > 0:
            if any(reader.messages or reader.pending or reader.lost for reader in readers):
                return
            for reader in readers:
                await reader.wait(left)
            tasks = [asyncio.ensure_future(reader.arrived.wait()) for reader in readers]
            try:
                await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
            for reader in readers:
                reader.arrived.clear()

    async def _lag(self, after: Mapping[str, Position | None]) -> int:
        await self._check()
        total = 0
        for partition, position in after.items():
            reader, start = self._reader(partition), _number(position)
            if not reader.lost and reader.at == start:
                total += await reader.behind()
                continue
            other = Reader(self._line, partition, "lag")
            await other.seek(start)
            total += other.pending
            await other.leave()
        return total

    async def _noted(self, positions: Mapping[str, Position]) -> None:
        bucket = await self._line.bucket()
        for partition, position in positions.items():
            key = key_of("reader", self._group, partition)
            await bucket.put(key, json.dumps(position).encode())

    async def _left(self) -> None:
        for reader in self._readers.values():
            await reader.leave()


def _number(position: Position | None) -> int | None:
    return None if position is None else int(position)
