"""A text file that grows: each line is a record, given once its line feed is there.

Lines are only ever added: a file that is cut or replaced is not the one that was read. A quoted
cell of CSV cannot go over several lines here, as a line is all that a record holds.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import SourceError, near
from thalweg.sources.paths import suffix_of
from thalweg.sources.streams.base import Format, LostRecordsError, Position, Records, Stream
from thalweg.sources.streams.folder import FollowedFolder

__all__ = ["FollowedFile", "FollowedFolder"]

_FORMATS: Final[dict[str, Format]] = {
    ".ndjson": "json",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
}
_ONLY: Final = "0"  # the name of the only partition
_WINDOW: Final = 4 << 20  # bytes read at once
_FETCHED: Final = 16 << 20  # the most bytes of one reading, unless one line is longer
_LINE: Final = 1 << 30  # a longer line is taken for damage
_MARK: Final = b"\xef\xbb\xbf"
_SHORTEST, _SHORT, _LONG = 0.0005, 0.005, 0.02  # seconds that `wait` sleeps at once


@final
class FollowedFile(Stream):
    """Follows a file that lines are added to. A position is the place where a line ends, in bytes.

    The times of records are when they were read.

    Parameters
    ----------
    path
        The file; it may come later. Its ending says what its lines are: ``.ndjson``, ``.jsonl`` or
        ``.json`` a JSON object each, ``.csv`` or ``.tsv`` (parted by tabs) cells, in the first
        line the names of the columns, which is no record.

    Raises
    ------
    SourceError
        Where it can be no such file.
    """

    def __init__(self, path: Path) -> None:
        suffix = suffix_of(path)
        if suffix not in _FORMATS or path.suffix.lower() != suffix:
            raise SourceError(
                f"{path} ends in {path.suffix or 'nothing'!r}",
                "a text file that grows: " + " ".join(_FORMATS),
                near(suffix, _FORMATS) if suffix else "",
            )
        self._path = path
        self._format: Format = _FORMATS[suffix]
        self._separator = "," if suffix == ".csv" else "\t"
        self._handle = -1
        self._begin: int | None = None
        self._columns: list[str] | None = None
        # What was read last: the place of its first byte, its bytes, and where its lines end.
        self._start = 0
        self._window: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._ends: NDArray[np.int64] = np.empty(0, np.int64)
        # Behind this place there was no whole line when the file had this size.
        self._vain = (-1, -1)
        self._came = time.monotonic()

    @property
    def uri(self) -> str:
        """The path."""
        return str(self._path)

    @property
    def format(self) -> Format:
        """What its lines are, from its ending."""
        return self._format

    @property
    def columns(self) -> Sequence[str] | None:
        """The columns that the first line names; None for JSON, or where it is not there yet."""
        self._first()
        return self._columns

    @property
    def separator(self) -> str:
        """What parts the cells of a line: a comma, or a tab."""
        return self._separator

    def partitions(self) -> Sequence[str]:
        """Name the only one."""
        return (_ONLY,)

    def fetch(
        self,
        partition: str,
        after: Position | None,
        most: int = 65_536,
        until: Position | None = None,
    ) -> Records | None:
        """Read lines; see `Stream.fetch`."""
        first = self._first()
        if first is None:
            self._require_nothing(after)
            return None
        start = max(first, _place(after))
        size = self._require_same(start, after)
        if until is not None:
            size = min(size, _place(until))
        if start >= size or (start, size) == self._vain:
            return None
        ends = self._lines(start, size)
        ends = ends[: min(most, int(np.searchsorted(ends, size, side="right")))]
        if not len(ends):
            self._vain = (start, size)
            return None
        times = np.full(len(ends), time.time_ns() // 1000, dtype=np.int64)
        return Records(partition, self._payloads(start, ends), pa.array(ends), times)

    def newest(self, partition: str) -> Position | None:
        """Give the place where the last whole line ends."""
        first = self._first()
        if first is None:
            return None
        behind = os.fstat(self._handle).st_size
        while behind > first:
            start = max(first, behind - _WINDOW)
            at = os.pread(self._handle, behind - start, start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            behind = start
        return None

    def wait(self, after: Mapping[str, Position | None], seconds: float) -> None:
        """Look at the file's size again and again."""
        until = time.monotonic() + seconds
        pause = _SHORTEST
        place = _place(after.get(_ONLY))
        while not self._has_changed(place):
            now = time.monotonic()
            if now >= until:
                return
            time.sleep(min(pause, until - now))
            pause = min(pause * 1.5, _SHORT if now - self._came < 1 else _LONG)
        self._came = time.monotonic()

    def lag(self, after: Mapping[str, Position | None]) -> int | None:
        """Count the lines behind a position; where they are many, from the first ones' length."""
        first, newest = self._first(), self.newest(_ONLY)
        start = max(first or 0, _place(after.get(_ONLY)))
        if newest is None or int(newest) <= start:
            return 0
        behind = int(newest) - start
        head = os.pread(self._handle, min(behind, _WINDOW), start)
        return max(1, head.count(b"\n") * behind // len(head))

    def commit(self, positions: Mapping[str, Position]) -> None:
        """Do nothing: the file is another's."""

    def close(self) -> None:
        """Let go of the file."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._begin, self._vain = -1, None, (-1, -1)
        self._window, self._ends = self._window[:0], self._ends[:0]

    def _first(self) -> int | None:
        """Give the place of the first record; None as long as it is not known."""
        if self._begin is not None:
            return self._begin
        if self._handle < 0:
            try:
                self._handle = os.open(self._path, os.O_RDONLY)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise SourceError(
                    f"{self._path} cannot be read ({error.strerror})", "a file that you may read"
                ) from None
        head = os.pread(self._handle, _WINDOW, 0)
        begin = len(_MARK) if head.startswith(_MARK) else 0
        if self._format == "json":
            if not _MARK.startswith(head):  # else it may become a mark yet
                self._begin = begin
            return begin if head == _MARK else self._begin
        end = head.find(b"\n")
        if end < 0:
            return None
        line = head[begin:end].decode("utf-8", "replace")
        self._columns = next(csv.reader([line], delimiter=self._separator), [])
        self._begin = end + 1
        return self._begin

    def _require_nothing(self, after: Position | None) -> None:
        """Require nothing to have been read of a file in which there is nothing."""
        if _place(after):
            raise self._lost(f"it was read up to byte {after}, and there is nothing")

    def _require_same(self, start: int, after: Position | None) -> int:
        """Require the file to be the one that was read so far; give its size."""
        there = os.fstat(self._handle)
        try:
            named = self._path.stat()
        except FileNotFoundError:
            named = there  # It was removed: what is open is read to its end.
        if not os.path.samestat(there, named):
            if start < there.st_size:
                return there.st_size
            self.close()
            if after is None:
                return 0
            raise self._lost("another file has taken its place")
        if there.st_size < start:
            raise self._lost(f"it was read up to byte {start}, and has {there.st_size}")
        if after is not None and start and os.pread(self._handle, 1, start - 1) != b"\n":
            raise self._lost(f"it was read up to byte {start}, where no line ends")
        return there.st_size

    def _lost(self, reason: str) -> LostRecordsError:
        """Say that the file is not the one that was read."""
        return LostRecordsError(
            f"{self._path} is not what was read before ({reason})",
            "a file that lines are only added to",
            "Write to a new file instead and follow its folder, or begin anew with new state.",
        )

    def _has_changed(self, place: int) -> bool:
        """Say whether there may be more lines than when it was looked at last."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return False
        if self._first() is None:
            return False
        place = max(place, self._begin or 0)
        return size != place and (place, size) != self._vain

    def _lines(self, start: int, size: int) -> NDArray[np.int64]:
        """Find where the lines behind a place end; what was read last is not read again."""
        place = int(np.searchsorted(self._ends, start, side="right"))
        if self._start <= start and place < len(self._ends):
            return self._ends[place:]
        needed = _WINDOW
        while True:
            data = np.frombuffer(os.pread(self._handle, min(needed, size - start), start), np.uint8)
            ends = np.flatnonzero(data == ord("\n"))
            if len(ends) or len(data) < needed:
                break
            if needed >= _LINE:
                raise SourceError(
                    f"{self._path} has no line feed within {needed} bytes from byte {start}",
                    "a text file of lines",
                    "It may be damaged: mend it, or follow another one.",
                )
            needed *= 4
        self._start, self._window, self._ends = start, data, ends + (start + 1)
        return self._ends

    def _payloads(self, start: int, ends: NDArray[np.int64]) -> pa.LargeBinaryArray:
        """Give the lines that end at these places, without line feeds and carriage returns."""
        data = self._window[start - self._start : int(ends[-1]) - self._start]
        feeds = ends - (start + 1)
        returns = feeds[1 if not feeds[0] else 0 :] - 1
        returns = returns[data[returns] == ord("\r")]
        gone = np.concatenate((feeds, returns))
        kept = np.delete(data, gone)
        # Each line ends as many bytes earlier as were taken away up to there.
        cut = np.arange(1, len(ends) + 1) + np.searchsorted(returns, feeds)
        offsets = np.concatenate((np.zeros(1, np.int64), ends - start - cut))
        return pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(kept)]
        )


def _place(position: Position | None) -> int:
    """Require a place in a file."""
    if position is None or isinstance(position, int):
        return position or 0
    raise SourceError(f"the position {position!r}", "a place in a file, a number of bytes")
