"""The embedded durable log: a folder that many processes append to and read, with no server.

A URI names it: ``log://folder`` or ``log:///absolute/folder``, with ``?partitions=4`` and
``&format=json``, ``csv`` or ``arrow`` (both fixed when it is made), ``&key=column`` (whose values
choose the partition), ``&group=name`` (under which a reader says what is done with) and
``&keep=7d``. Whoever is opened with ``keep`` removes whole segments that nobody has written to for
so long, once every group that ever committed is through with them; to forget a group, remove its
file from the folder ``groups``. Without ``keep`` nothing is ever removed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import final

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources.streams.appender import Share
from thalweg.sources.streams.base import Format, Position, Publisher, Records, Stream, Writer
from thalweg.sources.streams.log_address import LogAddress
from thalweg.sources.streams.log_folder import Log
from thalweg.sources.streams.segments import Mark

__all__ = ["Log", "LogAddress", "LogPublisher", "LogStream"]

_SHORTEST, _SHORT, _LONG = 0.0003, 0.005, 0.02  # seconds that `wait` sleeps at once


@final
class LogStream(Stream):
    """Reads a log. Positions are the offsets of records, from 0 in each partition.

    Parameters
    ----------
    uri
        See the module. A log that is not there is made where ``partitions`` is said.
    """

    def __init__(self, uri: str) -> None:
        self._address = LogAddress.parse(uri)
        one = self._address
        self._log = Log(
            one.folder, one.partitions, one.format, make=one.partitions is not None, keep=one.keep
        )
        self._came = time.monotonic()

    @property
    def uri(self) -> str:
        """What it was opened with."""
        return self._address.uri

    @property
    def format(self) -> Format:
        """How its payloads are written."""
        return self._log.format

    def partitions(self) -> Sequence[str]:
        """Name the partitions: numbers from 0."""
        return self._log.partitions

    def fetch(
        self,
        partition: str,
        after: Position | None,
        most: int = 65_536,
        until: Position | None = None,
    ) -> Records | None:
        """Read records; see `Stream.fetch`."""
        return self._log.read(partition, _offset(after), most, _offset(until))

    def newest(self, partition: str) -> Position | None:
        """Give the last offset."""
        end = self._log.end(partition)
        return end - 1 if end > self._log.first(partition) else None

    def wait(self, after: Mapping[str, Position | None], seconds: float) -> None:
        """Look again and again, after a third of a millisecond at first, later less often."""
        wanted = [(name, -1 if one is None else int(one)) for name, one in after.items()]
        until = time.monotonic() + seconds
        pause = _SHORTEST
        while not any(self._log.end(partition) > one + 1 for partition, one in wanted):
            now = time.monotonic()
            if now >= until:
                return
            time.sleep(min(pause, until - now))
            pause = min(pause * 1.5, _SHORT if now - self._came < 1 else _LONG)
        self._came = time.monotonic()

    def lag(self, after: Mapping[str, Position | None]) -> int | None:
        """Count the records behind these positions."""
        return sum(
            self._log.end(name) - (self._log.first(name) if one is None else int(one) + 1)
            for name, one in after.items()
        )

    def commit(self, positions: Mapping[str, Position]) -> None:
        """Write the positions down for the group."""
        said = {name: int(position) for name, position in positions.items()}
        self._log.commit(self._address.group, said)

    def close(self) -> None:
        """Let go of all files."""
        self._log.close()


@final
class LogPublisher(Publisher):
    """Appends to a log, each record exactly once.

    A batch counts as written when it is in the writer's home partition, which is written last;
    what a crash left in others is passed over when it comes again. Every block says whose batch it
    holds, so the log itself knows what is there.

    Parameters
    ----------
    uri
        See the module. A log that is not there is made.
    writer
        Who writes.
    """

    def __init__(self, uri: str, writer: Writer) -> None:
        self._address = LogAddress.parse(uri)
        one = self._address
        digest = blake2b(writer.name.encode(), digest_size=8).digest()
        self._producer = int.from_bytes(digest, "little") or 1
        self._fence = 0
        if one.folder.exists():  # what is wrong with it is said at once
            _ = self._log
        self._shares: dict[str, list[Share]] = {}

    @cached_property
    def _log(self) -> Log:
        """The log, which is made where it is not there."""
        one = self._address
        return Log(one.folder, one.partitions, one.format, keep=one.keep)

    @property
    def _home(self) -> str:
        """The partition that is written last."""
        names = self._log.partitions
        return names[self._producer % len(names)]

    @property
    def uri(self) -> str:
        """What it was opened with."""
        return self._address.uri

    @property
    def key(self) -> str:
        """The column whose values choose the partition; empty for none."""
        return self._address.key

    @property
    def format(self) -> Format:
        """How the log's payloads are written."""
        return self._log.format

    @property
    def guarantee(self) -> str:
        """Say how often a record arrives."""
        return (
            "exactly once: each block in the log names its writer, batch and fence, "
            "and a batch that is there is not appended again"
        )

    @property
    def interval(self) -> float:
        """Flushing costs a third of a millisecond: no reason to wait."""
        return 0.0

    def resume(self, fence: int) -> int:
        """Set the fence in every partition, and give the last batch in the home partition."""
        self._shares, self._fence = {}, fence
        found = {
            name: self._log.appender(name).mark(self._producer, fence)
            for name in self._log.partitions
        }
        return found[self._home]

    def send(
        self, batch: int, payloads: pa.LargeBinaryArray, keys: pa.LargeStringArray | None = None
    ) -> None:
        """Hold payloads until they are flushed."""
        mark = Mark(self._producer, batch, self._fence)
        home = self._shares.setdefault(self._home, [])
        for partition, part in self._log.parted(payloads, keys, batch):
            if len(part):
                self._shares.setdefault(partition, []).append(Share(part, mark))
        if not home or home[-1].mark.batch != batch:
            home.append(Share(payloads.slice(0, 0), mark))

    def flush(self, positions: Mapping[str, Position]) -> None:
        """Append what was sent, to the home partition last."""
        shares, self._shares = self._shares, {}
        for partition in sorted(shares, key=lambda one: one == self._home):
            self._log.appender(partition).append(shares[partition])
        if shares:
            self._log.tidy()

    def close(self) -> None:
        """Let go of all files."""
        self._shares = {}
        if "_log" in self.__dict__:
            self._log.close()


def _offset(position: Position | None) -> int | None:
    """Require a position of a log."""
    if position is None or isinstance(position, int):
        return position
    raise SourceError(f"the position {position!r}", "an offset in a log, a number")
