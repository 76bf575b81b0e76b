"""A folder that files are added to, whatever their format, read in the order of their names."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources import FORMATS, open_source
from thalweg.sources.base import Batch, Reject, Source
from thalweg.sources.base import Position as Row
from thalweg.sources.paths import is_hidden, suffix_of
from thalweg.sources.streams.base import Format, LostRecordsError, Position, Records, Stream

_ONLY: Final = "0"  # the name of the only partition
_ROWS: Final = 65_536
_FETCHED: Final = 16 << 20
_SHORTEST, _LONG = 0.005, 0.1  # seconds that `wait` sleeps at once


class _Place(NamedTuple):
    """Where reading is: a file, rows of it, rejects of what comes then, and files up to it."""

    name: str
    row: int
    reject: int
    files: int

    @property
    def text(self) -> str:
        """The place as a position."""
        behind = f".{self.reject}" if self.reject else ""
        return f"{self.name}\t{self.row}{behind}\t{self.files}"

    @classmethod
    def of(cls, position: Position) -> _Place:
        """Read a position."""
        try:
            name, row, files = str(position).rsplit("\t", 2)
            whole, _, reject = row.partition(".")
            return cls(name, int(whole), int(reject or 0), int(files))
        except ValueError:
            raise SourceError(
                f"the position {position!r}", "a place in a folder: file, rows, files"
            ) from None


class _Item(NamedTuple):
    """A record: its bytes, where it ends, and when its file was written, in microseconds."""

    payload: bytes
    place: _Place
    time: int


@final
class FollowedFolder(Stream):
    r"""Follows a folder that files are added to: any that `thalweg.sources.open_source` reads.

    A file must be whole when it gets its name: it is written under a hidden name (``.part`` or
    ``_part``) or elsewhere, and renamed. Names must ascend, as times and numbers of equal length
    do: a file that comes with a name before one that was read is refused, as it would be lost. A
    record holds up to 65,536 rows of one file, as an Arrow IPC stream; a row that could not be
    read is a record of its own, as it was found. A position is the file's name, how many of its
    rows are behind it, and how many files up to it there are: ``"2024/05.csv\t131072\t5"``. The
    time of a record is when its file was written.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    SourceError
        Where there is no such folder.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise SourceError(f"{path} is no folder", "a folder that is there", "Make it first.")
        self._path = path
        self._known = [suffix for one in FORMATS for suffix in one.suffixes]
        self._seen: set[str] = set()  # files up to the one that is read
        self._items: Iterator[_Item] = iter(())
        self._at: _Place | None = None  # where the items go on
        self._most = 0  # rows in each
        self._over: _Place | None = None  # where a file ends

    @property
    def uri(self) -> str:
        """The path."""
        return str(self._path)

    @property
    def format(self) -> Format:
        """Arrow, whatever the files' format."""
        return "arrow"

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
        """Read rows of one file; see `Stream.fetch`. ``most`` bounds the rows as well."""
        place = None if after is None else _Place.of(after)
        last = None if until is None else _Place.of(until)
        rows = min(most, _ROWS)
        if place is not None and place == self._at and last is None:
            found = self._taken(place, rows, most, None)
            if found:
                return _records(partition, found)
        names = self._names()
        self._require_in_order(names, place)
        behind = [name for name in names if place is None or name > place.name]
        if place is not None and place != self._over:
            behind.insert(0, place.name)
        for name in behind:
            if last is not None and name > last.name:
                return None
            files = sum(one <= name for one in names)
            start = place if place and place.name == name else _Place(name, 0, 0, files)
            end = last if last and last.name == name else None
            found = self._taken(start, rows, most, end)
            if found:
                return _records(partition, found)
            if end is None:
                self._over = start
                self._seen.add(name)
        return None

    def newest(self, partition: str) -> Position | None:
        """Read the last file that has rows to its end, to know how many."""
        names = self._names()
        for name in reversed(names):
            last = None
            for batch in self._open(name).batches(size=_ROWS):
                last = batch.position
            if last is not None:
                files = sum(one <= name for one in names)
                return _Place(name, last.row, 0, files).text
        return None

    def wait(self, after: Mapping[str, Position | None], seconds: float) -> None:
        """Look at the names again and again."""
        until = time.monotonic() + seconds
        position = after.get(_ONLY)
        place = None if position is None else _Place.of(position)
        pause = _SHORTEST
        while True:
            begun = time.monotonic()
            if self._open_names(place):
                return
            now = time.monotonic()
            if now >= until:
                return
            # Of a large folder, looking through it takes a tenth of the time at most.
            time.sleep(min(max(pause, 9 * (now - begun)), until - now))
            pause = min(pause * 1.5, _LONG)

    def lag(self, after: Mapping[str, Position | None]) -> int | None:
        """Count the rows behind a position, where the files say how many they have."""
        position = after.get(_ONLY)
        place = None if position is None else _Place.of(position)
        total = 0
        for name in self._open_names(place):
            length = self._open(name).length()
            if length is None:
                return None
            total += length - (place.row if place is not None and place.name == name else 0)
        return total

    def commit(self, positions: Mapping[str, Position]) -> None:
        """Do nothing: the files are another's."""

    def close(self) -> None:
        """Let go of the file that is read."""
        self._items, self._at, self._over = iter(()), None, None

    def _names(self) -> list[str]:
        """List the files that are there, by their paths within the folder."""
        found = []
        for folder, folders, files in os.walk(self._path):
            folders[:] = [one for one in folders if not is_hidden([one])]
            for one in files:
                path = Path(folder, one)
                if suffix_of(path) in self._known and not is_hidden([one]):
                    found.append(path.relative_to(self._path).as_posix())
        return sorted(found)

    def _open_names(self, place: _Place | None) -> list[str]:
        """List the files that may have rows behind a place."""
        names = self._names()
        if place is None:
            return names
        first, over = place.name, place == self._over
        return [name for name in names if name > first or (name == first and not over)]

    def _require_in_order(self, names: Sequence[str], place: _Place | None) -> None:
        """Require no file to have come before the one that is read, and that one to be there."""
        if place is None:
            return
        before = [name for name in names if name <= place.name]
        late = [name for name in before if name not in self._seen] if self._seen else []
        if not late and len(before) > place.files:
            # Which one came while nobody looked? The one that was written last, most likely.
            late = sorted(before, key=lambda one: (self._path / one).stat().st_mtime)[-1:]
        late = [name for name in late if name != place.name]
        if late:
            raise SourceError(
                f"{self._path / late[0]} came after {place.name} was read",
                "files whose names come behind those that were there before",
                f"Give it a name behind {names[-1]}, and let new files have ascending names.",
            )
        if place.name not in names and place != self._over:
            raise LostRecordsError(
                f"{self._path / place.name} is gone, of which {place.row} rows were read",
                "a file that stays until it is read to its end",
                "Put it back, or begin anew with new state.",
            )
        self._seen.update(before)

    def _open(self, name: str) -> Source:
        return open_source(self._path / name)

    def _taken(self, start: _Place, rows: int, most: int, end: _Place | None) -> list[_Item]:
        """Take records of a file from a place on."""
        if self._at != start or self._most != rows or end is not None:
            self._items, self._most = self._read(start, rows, end), rows
        found: list[_Item] = []
        size = count = 0
        at = start
        for item in self._items:
            found.append(item)
            size += len(item.payload)
            count += max(item.place.row - at.row, 1)
            at = item.place
            if len(found) >= most or count >= most or size >= _FETCHED:
                break
        self._at = at if end is None and found else None
        return found

    def _read(self, start: _Place, rows: int, end: _Place | None) -> Iterator[_Item]:
        """Give the records of a file from a place on, up to another."""
        source = self._open(start.name)
        time = (self._path / start.name).stat().st_mtime_ns // 1000
        place, size, whole = start, rows, False
        while not whole and size and (end is None or place.row < end.row):
            whole = True
            left = size if end is None else end.row - place.row
            for batch in source.batches(size=min(size, left), start=Row(0, place.row)):
                over = 0 if end is None else batch.position.row - end.row
                if over > 0:
                    # It reaches behind the end: it had fewer rows when it was read before, or
                    # none at all.
                    count, whole = batch.rows.num_rows, False
                    size = max(count - over, 1) if count > 1 else 0
                    break
                yield from _items(batch, place, time)
                place = _behind(batch, place)
        if end is not None:
            wanted = end.reject if place.row == end.row else end.row - place.row
            yield from _rejects(source, place, wanted, time)


def _items(batch: Batch, place: _Place, time: int) -> Iterator[_Item]:
    """Give the records of a batch that begins at a place: what was set aside, then the rows."""
    behind = _behind(batch, place)
    for number, reject in enumerate(batch.rejects, 1):
        if number > place.reject:
            last = number == len(batch.rejects) and not batch.rows.num_rows
            yield _Item(_found(reject), behind if last else place._replace(reject=number), time)
    if batch.rows.num_rows:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.rows.schema) as writer:
            writer.write_batch(batch.rows)
        yield _Item(sink.getvalue().to_pybytes(), behind, time)


def _behind(batch: Batch, place: _Place) -> _Place:
    """Give the place behind a batch; rejects that were given before may lie behind it still."""
    ahead = max(place.reject - len(batch.rejects), 0)
    return place._replace(row=batch.position.row, reject=ahead)


def _rejects(source: Source, place: _Place, wanted: int, time: int) -> Iterator[_Item]:
    """Give what was set aside behind a place alone, up to so many."""
    number = 0
    for batch in source.batches(size=_ROWS, start=Row(0, place.row)) if wanted else ():
        for reject in batch.rejects:
            number += 1
            if number > place.reject:
                yield _Item(_found(reject), place._replace(reject=number), time)
            if number >= wanted:
                return


def _found(reject: Reject) -> bytes:
    """Give a row as it was found."""
    return reject.content.encode("utf-8", "surrogatepass")


def _records(partition: str, items: Sequence[_Item]) -> Records:
    """Put records together."""
    return Records(
        partition,
        pa.array([item.payload for item in items], pa.large_binary()),
        pa.array([item.place.text for item in items], pa.string()),
        np.array([item.time for item in items], dtype=np.int64),
    )
