"""Standard input, which cannot be read again, and is therefore kept in a log first."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from select import select
from threading import Event, Thread
from typing import Final, final
from urllib.parse import quote

from thalweg.core.errors import ThalwegError
from thalweg.sources.streams.base import Format, Position, Records, Stream
from thalweg.sources.streams.log import Log, LogStream
from thalweg.sources.streams.payloads import lines_of

_PIECE: Final = 1 << 20  # bytes read at once
_PATIENCE: Final = 0.1  # seconds between looks at whether to stop
UNREAD: Final = 256 << 20
"""So many bytes may wait in the log until standard input is not read on."""
_SEGMENT: Final = 16 << 20


@final
class StandardInput(Stream):
    """Reads the lines of standard input, a JSON object each, through a log in a folder.

    A thread appends the lines; what was committed is removed from the log, and where the log holds
    more than 256 MiB the thread waits, and so does whoever writes to the pipe. After a crash the
    lines in the log are there; what was still in the pipe is gone.

    Parameters
    ----------
    folder
        Where to keep the log.
    handle
        What to read; standard input by default.
    unread
        How many bytes the log may hold.
    """

    def __init__(self, folder: Path, handle: int | None = None, unread: int = UNREAD) -> None:
        self._folder = folder
        self._handle = sys.stdin.fileno() if handle is None else handle
        self._unread = unread
        self._stop, self._ended = Event(), Event()
        self._error: BaseException | None = None
        self._thread: Thread | None = None

    @cached_property
    def _stream(self) -> LogStream:
        """The log, which from now on is appended to: nothing is read before it is asked for."""
        Log(self._folder, 1, "json").close()
        stream = LogStream(f"log://{quote(str(self._folder))}?keep=0")
        self._thread = Thread(target=self._run, name="thalweg-stdin", daemon=True)
        self._thread.start()
        return stream

    @property
    def uri(self) -> str:
        """A dash."""
        return "-"

    @property
    def format(self) -> Format:
        """JSON lines."""
        return "json"

    def partitions(self) -> Sequence[str]:
        """Name the only one."""
        return ("0",)

    def fetch(
        self,
        partition: str,
        after: Position | None,
        most: int = 65_536,
        until: Position | None = None,
    ) -> Records | None:
        """Read from the log; see `Stream.fetch`."""
        found = self._stream.fetch(partition, after, most, until)
        if found is None and self._error is not None:
            raise self._error
        return found

    def newest(self, partition: str) -> Position | None:
        """Give the last position in the log."""
        return self._stream.newest(partition)

    def wait(self, after: Mapping[str, Position | None], seconds: float) -> None:
        """Wait for lines, not beyond the end of standard input."""
        while seconds > 0 and not self._ended.is_set():
            self._stream.wait(after, min(seconds, _PATIENCE))
            seconds = 0 if self._stream.lag(after) else seconds - _PATIENCE

    def lag(self, after: Mapping[str, Position | None]) -> int | None:
        """Count the lines in the log behind a position."""
        return self._stream.lag(after)

    def commit(self, positions: Mapping[str, Position]) -> None:
        """Let lines go that are done with."""
        self._stream.commit(positions)

    def ended(self) -> bool:
        """Say whether standard input has ended and all its lines are in the log."""
        return self._ended.is_set()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._stream.close()

    def _run(self) -> None:
        """Append lines until there are no more."""
        try:
            with Log(self._folder, segment=_SEGMENT) as log:
                self._copy(log)
        except (OSError, ThalwegError) as error:
            self._error = error
        finally:
            if not self._stop.is_set():
                self._ended.set()

    def _copy(self, log: Log) -> None:
        rest: list[bytes] = []
        while not self._stop.is_set():
            if self._is_full() or not select([self._handle], [], [], _PATIENCE)[0]:
                continue
            piece = os.read(self._handle, _PIECE)
            whole, feed, begun = piece.rpartition(b"\n")
            if feed:
                log.append(lines_of(b"".join([*rest, whole, feed])))
                rest = []
            rest.append(begun)
            if not piece:
                if last := b"".join(rest):  # without a line feed at its end
                    log.append([last])
                return

    def _is_full(self) -> bool:
        """Say whether too much is in the log; a moment later it may be less."""
        held = sum(
            path.stat().st_size for path in (self._folder / "0").glob("*.segment") if path.exists()
        )
        return held > self._unread and not self._stop.wait(_PATIENCE)
