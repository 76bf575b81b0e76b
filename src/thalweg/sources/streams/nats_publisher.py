"""Payloads written to NATS JetStream, each exactly once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.sources.streams.base import FencedError, Format, Position, Publisher, Writer
from thalweg.sources.streams.brokers import SECONDS, driver, parse, shares
from thalweg.sources.streams.nats_line import OPTIONS, Line, key_of, stream_of, subjects_of
from thalweg.sources.streams.nats_reader import Reader

AT_ONCE: Final = 2_000
"""How many messages are under way, at most, that are not yet confirmed."""

WINDOW: Final = 120.0
"""For how many seconds a stream made here knows the messages' names, to take none twice."""

_ID: Final = "Nats-Msg-Id"
_MINUTE: Final = 60.0


@final
class NatsPublisher(Publisher):
    """Writes payloads to a JetStream subject, or to several numbered ones, exactly once.

    Every message is named ``PIPELINE/LANE/SUBJECT/BATCH/INDEX/COUNT`` (``Nats-Msg-Id``). The
    writer's progress, with its fence and the stream's last sequence number, is an entry of the
    key-value bucket ``thalweg`` that only the one who knows its revision may change. `resume`
    reads what the writer sent behind that number and was not confirmed; of the batches that are
    made again only what is missing is sent. So a flush is not seen all at once, but is completed.

    Parameters
    ----------
    uri
        As for `NatsStream`; the stream is made where it is not there.
    writer
        Who writes.
    """

    def __init__(self, uri: str, writer: Writer) -> None:
        self._broker = parse(uri, 4222, OPTIONS)
        self._subjects = subjects_of(self._broker)
        self._format = self._broker.format
        self._line = Line(self._broker)
        subject = self._broker.options.get("subject") or stream_of(self._broker)
        self._name = f"{writer.name}/{subject}"
        self._key = key_of("writer", stream_of(self._broker), self._name)
        self._ready = False
        self._fence = 0
        self._revision = 0
        self._done = 0
        self._last = 0
        self._sequence = 0
        self._held: list[tuple[int, pa.LargeBinaryArray, NDArray[np.intp]]] = []
        self._there: dict[int, set[int]] = {}
        self._window = WINDOW

    @property
    def uri(self) -> str:
        """What it was opened with, free of secrets."""
        return self._broker.shown

    @property
    def format(self) -> Format:
        """How rows are to be written as payloads."""
        return self._format

    @property
    def key(self) -> str:
        """The column whose values choose the partition."""
        return self._broker.options.get("key", "")

    @property
    def guarantee(self) -> str:
        """How often a record arrives."""
        return (
            "exactly once: messages are named and what is missing of an unfinished flush is sent "
            "again, as long as the stream keeps what was sent since the last one; a process that "
            "was taken over from, and was stopped in the middle of sending for longer than the "
            "stream's duplicate window, may double what it sends in that moment; a crash of the "
            "server's machine may take back what JetStream had not yet put on disk"
        )

    @property
    def interval(self) -> float:
        """A flush is three short questions."""
        return 0.0

    def resume(self, fence: int) -> int:
        """Read the progress, refuse whoever has a smaller fence, and see what is there already."""
        self._held = []
        self._done = self._last = self._line.call(lambda: self._resumed(fence), _MINUTE)
        self._ready = True
        return self._done

    def send(
        self, batch: int, payloads: pa.LargeBinaryArray, keys: pa.LargeStringArray | None = None
    ) -> None:
        """Keep the payloads until they are flushed."""
        self._last = batch
        if len(payloads):
            share = shares(len(payloads), keys, len(self._subjects), batch)
            self._held.append((batch, payloads, share))

    def flush(self, positions: Mapping[str, Position]) -> None:
        """Send all that is missing, and then note that it is there."""
        if self._last == self._done:
            return
        if not self._ready:
            raise self._broker.begun_anew()
        self._ready = False
        held, self._held = self._held, []
        try:
            self._line.call(lambda: self._flushed(held), 10 * _MINUTE)
        except FencedError:
            self._ready = True  # To be told so again.
            raise
        self._done, self._ready = self._last, True
        self._there = {batch: some for batch, some in self._there.items() if batch > self._done}

    def close(self) -> None:
        """Let go of the connection; what was not flushed is thrown away."""
        self._held = []
        self._line.close()

    async def _resumed(self, fence: int) -> int:
        errors = driver("nats.js.errors")
        facts = await self._stream()
        bucket = await self._line.bucket()
        while True:
            progress, revision = {"fence": 0, "batch": 0, "after": facts.state.last_seq}, 0
            try:
                entry = await bucket.get(self._key)
                progress, revision = json.loads(entry.value), entry.revision
            except errors.NotFoundError:
                pass
            if progress["fence"] > fence:
                raise self._fenced()
            try:
                value = json.dumps(progress | {"fence": fence}).encode()
                self._revision = await bucket.update(self._key, value, last=revision)
                break
            except errors.KeyWrongLastSequenceError:
                continue  # Somebody was quicker: look again whose fence is larger.
        self._fence, self._sequence = fence, progress["after"]
        done: int = progress["batch"]
        self._there = {}
        # Only now nobody else sends who asks first.
        facts = await self._line.facts()
        for subject in self._subjects if facts.state.last_seq > self._sequence else ():
            async for name in self._names(subject, facts.state.last_seq):
                if not name.startswith(f"{self._name}/") or name.count("/") < 3:
                    continue
                writer, batch, index = name.rsplit("/", 3)[:3]
                if writer == self._name and int(batch) > done:
                    self._there.setdefault(int(batch), set()).add(int(index))
        return done

    async def _names(self, subject: str, last: int) -> AsyncIterator[str]:
        """Read the names of a subject's messages behind the last one that was confirmed."""
        reader, at = Reader(self._line, subject, "resume", headers=True), self._sequence
        while at < last:
            await reader.seek(at)
            await reader.fill(5_000)
            found = reader.give(5_000, None)
            if not found and not reader.lost:
                break
            for _, message in found:
                if name := (message.headers or {}).get(_ID):
                    yield name
            at = reader.at if found and reader.at is not None else at
        await reader.leave()

    async def _flushed(self, held: list[tuple[int, pa.LargeBinaryArray, NDArray[np.intp]]]) -> None:
        errors = driver("nats.js.errors")
        bucket = await self._line.bucket()
        begun = await self._still(bucket)
        acks = _Acks(self._line)
        await acks.open()
        for batch, payloads, share in held:
            there, count = self._there.get(batch, set()), len(payloads)
            stem = f"{self._name}/{batch}"
            for start in range(0, count, AT_ONCE):
                if time.monotonic() - begun > self._window / 4:
                    begun = await self._still(bucket)
                await acks.under(AT_ONCE)
                some = payloads[start : start + AT_ONCE].to_pylist()
                parts = share[start : start + AT_ONCE].tolist()
                for i, (payload, part) in enumerate(zip(some, parts, strict=True), start):
                    if i not in there:
                        await acks.send(self._subjects[part], payload, f"{stem}/{i}/{count}")
        self._sequence = max(self._sequence, await acks.close())
        done = {"fence": self._fence, "batch": self._last, "after": self._sequence}
        try:
            value = json.dumps(done).encode()
            self._revision = await bucket.update(self._key, value, last=self._revision)
        except errors.KeyWrongLastSequenceError:
            raise self._fenced() from None

    async def _still(self, bucket: Any) -> float:
        """See that nobody has taken over, and say when that was."""
        errors, now = driver("nats.js.errors"), time.monotonic()
        try:
            entry = await bucket.get(self._key)
        except errors.NotFoundError:
            entry = None
        if entry is None or entry.revision != self._revision:
            raise self._fenced()
        return now

    async def _stream(self) -> Any:
        """Give what is known of the stream, made where it is not there."""
        errors, api, name = driver("nats.js.errors"), driver("nats.js.api"), stream_of(self._broker)
        try:
            facts = await self._line.streams.stream_info(name)
        except errors.NotFoundError:
            facts = await self._line.streams.add_stream(
                api.StreamConfig(
                    name=name,
                    subjects=list(self._subjects),
                    storage=api.StorageType.FILE,
                    duplicate_window=WINDOW,
                )
            )
        self._window = facts.config.duplicate_window or WINDOW
        return facts

    def _fenced(self) -> FencedError:
        return FencedError(
            f"another process writes as {self._name}",
            "one process at a time",
            "End one of them.",
        )


@final
class _Acks:
    """Sends messages and counts what the stream confirms. Runs on the loop.

    Parameters
    ----------
    line
        The connection.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._sent = 0
        self._confirmed = 0
        self._newest = 0
        self._failed: Exception | None = None
        self._changed = asyncio.Event()
        self._inbox = ""
        self._subscription: Any = None

    async def open(self) -> None:
        """Begin to listen."""
        self._inbox = self._line.client.new_inbox()
        self._subscription = await self._line.client.subscribe(self._inbox, cb=self._take)

    async def send(self, subject: str, payload: bytes, name: str) -> None:
        """Send a message."""
        self._sent += 1
        await self._line.client.publish(subject, payload, self._inbox, {_ID: name})

    async def under(self, most: int) -> None:
        """Wait until fewer are under way."""
        while self._sent - self._confirmed >= most:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), SECONDS)
        if self._failed:
            raise self._failed

    async def close(self) -> int:
        """Wait for all, and give the largest sequence number."""
        await self.under(1)
        await self._subscription.unsubscribe()
        return self._newest

    async def _take(self, message: Any) -> None:
        self._confirmed += 1
        told: dict[str, Any] = {"error": {"code": 503}}
        told = json.loads(message.data) if message.data else told
        if error := told.get("error"):
            said = error.get("description", "no stream takes this subject")
            broker = self._line.broker
            full = error.get("code") == 503 and message.data
            self._failed = self._line.full(said) if full else broker.refused(said)
        else:
            self._newest = max(self._newest, told["seq"])
        self._changed.set()
