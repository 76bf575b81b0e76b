"""How the embedded log lies on the disk: blocks in segment files, and how they are read.

A partition is a folder. Its records are in segment files named by the offset of their first
record; a segment is a sequence of blocks. A block is a header of 64 bytes, int64 offsets [N + 1]
and the payloads behind one another, filled up to eight bytes, so that a block is an Arrow array as
it lies there. What is written at once ends with a block that says so: blocks without such an end
are the remains of a write that was killed.

The file ``tail`` is mapped into memory by everyone: up to which offset records are there for good.
Nobody reads behind it, so that nothing is read that a crash could take away again.
"""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, final
from zlib import crc32

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import SourceError
from thalweg.sources.streams.base import LostRecordsError

VERSION: Final = 1
HEADER: Final = struct.Struct("<4sIHHIqqqQQQ")
MAGIC: Final = b"TWLB"
ENDS: Final = 1  # a flag: all that was written at once is there
SUFFIX: Final = ".segment"
PIECE: Final = 4 << 20
"""The most bytes of payload in a block, unless one record is larger."""
ROWS: Final = 65_536
"""The most records in a block."""
FETCHED: Final = 16 << 20
"""About the most bytes that one reading gives."""
_FIRST: Final = 64 << 10  # bytes asked for at once; more where it turns out that there are more
_SIZE: Final = HEADER.size
_KEPT: Final = 32  # places that a reader remembers


class Header(NamedTuple):
    """What a block says of itself, in the order of `HEADER`."""

    magic: bytes
    crc: int
    version: int
    flags: int
    records: int
    payload: int
    base: int
    time: int
    producer: int
    batch: int
    fence: int

    @property
    def size(self) -> int:
        """How many bytes the whole block takes."""
        return block_size(self.records, self.payload)


@final
@dataclass(frozen=True, slots=True)
class Mark:
    """Who wrote a block: a producer's hash (0 for none), its batch's number and its fence."""

    producer: int = 0
    batch: int = 0
    fence: int = 0


NOBODY: Final = Mark()
"""Who appends without numbers."""


def block_size(records: int, payload: int) -> int:
    """Give how many bytes a block of so many records and bytes takes."""
    return _SIZE + 8 * (records + 1) + ((payload + 7) & ~7)


def packed(
    payloads: pa.LargeBinaryArray, base: int, time: int, mark: Mark, *, ends: bool
) -> list[Any]:
    """Write records as one block.

    Parameters
    ----------
    payloads
        The records [N].
    base
        The offset of the first one.
    time
        Now, in microseconds since 1970.
    mark
        Who writes.
    ends
        Whether it is the last block of what is written at once.

    Returns
    -------
    list
        Buffers that together are the block.
    """
    count = len(payloads)
    offsets, data = _bytes_of(payloads)
    size = len(data)
    padding = bytes(-size % 8)
    flags = ENDS if ends else 0
    said = (VERSION, flags, count, size, base, time, mark.producer, mark.batch, mark.fence)
    crc = crc32(HEADER.pack(MAGIC, 0, *said)[8:])
    crc = crc32(padding, crc32(data, crc32(offsets, crc)))
    return [HEADER.pack(MAGIC, crc, *said), offsets, data, padding]


def _bytes_of(payloads: pa.LargeBinaryArray) -> tuple[Any, Any]:
    """Give the offsets [N + 1] of payloads, from 0, and their bytes."""
    count = len(payloads)
    _, offsets, data = payloads.buffers()
    if offsets is None or not offsets.size:
        return bytes(8), b""
    found = np.frombuffer(offsets, dtype=np.int64, count=count + 1, offset=8 * payloads.offset)
    first, last = int(found[0]), int(found[-1])
    if first:
        found = found - first
    return found.data.cast("B"), memoryview(data)[first:last] if last > first else b""


def cuts(payloads: pa.LargeBinaryArray) -> list[int]:
    """Say where records [N] are cut into blocks: the first row of each, and N at the end."""
    count = len(payloads)
    if count <= 1:
        return [0, count]
    offsets = np.frombuffer(payloads.buffers()[1], np.int64, count + 1, 8 * payloads.offset)
    found = [0]
    while found[-1] < count:
        start = found[-1]
        end = int(np.searchsorted(offsets, offsets[start] + PIECE, side="right")) - 1
        found.append(min(max(end, start + 1), start + ROWS, count))
    return found


def segments_of(folder: Path) -> list[int]:
    """List the first offsets of a partition's segments."""
    names = os.listdir(folder)  # noqa: PTH208 - no paths are wanted, and it is asked often
    return sorted(int(name[: -len(SUFFIX)]) for name in names if name.endswith(SUFFIX))


def segment_path(folder: Path, base: int) -> Path:
    """Name the segment that begins with an offset."""
    return folder / f"{base:020d}{SUFFIX}"


def damaged(path: Path, at: int, reason: str) -> SourceError:
    """Say that a segment is damaged."""
    return SourceError(
        f"{path} is damaged at byte {at} ({reason})",
        "a log as it was written",
        "Restore the file from a copy; what lies before that place can still be read.",
    )


@final
class Tail:
    """Up to where a partition is there for good: a few integers that all processes share.

    Parameters
    ----------
    folder
        The partition's.
    write
        Whether they will be set.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        path = folder / "tail"
        self.handle = os.open(path, os.O_RDWR if write else os.O_RDONLY)
        if os.fstat(self.handle).st_size < mmap.PAGESIZE:
            os.ftruncate(self.handle, mmap.PAGESIZE)
        access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
        self._map = mmap.mmap(self.handle, mmap.PAGESIZE, access=access)
        self._view = memoryview(self._map)
        self._cells = self._view.cast("q")

    @property
    def end(self) -> int:
        """The offset behind the last record that may be read."""
        return int(self._cells[0])

    @property
    def synced(self) -> int:
        """The offset behind the last record that was flushed to the disk."""
        return int(self._cells[1])

    @property
    def fresh(self) -> bool:
        """Whether nothing was ever set."""
        return not any(self._cells[:5])

    def is_at(self, segment: int, place: int) -> bool:
        """Say whether the last write ended in that segment at that place."""
        end, synced, size, base, check = self._cells[:5]
        return check == _check(end, synced, size, base) and (base, size) == (segment, place)

    def set(self, segment: int, place: int, end: int, *, synced: bool) -> None:
        """Say where the last write ended, and that up to there all may be read."""
        flushed = end if synced else min(self.synced, end)
        self._cells[3], self._cells[2], self._cells[1] = segment, place, flushed
        self._cells[0] = end
        self._cells[4] = _check(end, flushed, place, segment)

    def close(self) -> None:
        """Let go of the file, and of a lock on it."""
        self._cells.release()
        self._view.release()
        self._map.close()
        os.close(self.handle)


def _check(end: int, synced: int, size: int, base: int) -> int:
    return end ^ synced << 1 ^ size << 2 ^ base << 3 ^ 0x54574C


@final
class SegmentReader:
    """Reads the records of one partition.

    Parameters
    ----------
    folder
        The partition's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments: list[int] = []
        self._handle, self._base = -1, -1
        self._window, self._start, self._checked = b"", 0, 0
        self._asked = _FIRST
        # What lay behind the end when the window was read may have been cut off since.
        self._end, self._sure = 0, 0
        # The offset that is wanted -> the segment and the place of the block that holds it.
        self._places: dict[int, tuple[int, int]] = {}

    def first(self) -> int:
        """Give the first offset that is there."""
        self._segments = segments_of(self.folder)
        return self._segments[0] if self._segments else 0

    def read(
        self, first: int, end: int, most: int
    ) -> tuple[pa.LargeBinaryArray, NDArray[np.int64], NDArray[np.int64]]:
        """Read records.

        Parameters
        ----------
        first
            The offset of the first one.
        end
            The offset behind the last one; it is there.
        most
            The most records.

        Returns
        -------
        tuple
            Payloads, offsets and times [N].
        """
        self._end = end
        segment, place = self._find(first)
        blocks = _Blocks()
        wanted, last, stop = first, place, min(end, first + most)
        while wanted < stop and blocks.size < FETCHED:
            if wanted >= self._sure:
                self._window = b""
            if self._reach(segment, place):
                last, place, wanted = self._gather(blocks, place, wanted, min(stop, self._sure))
            else:
                segment, place = self._next(segment), 0
        payloads, offsets, times = blocks.joined()
        skipped = max(first - int(offsets[0]), 0)
        count = min(most, int(np.searchsorted(offsets, end)) - skipped)
        after = int(offsets[skipped + count - 1]) + 1
        if len(self._places) >= _KEPT:
            del self._places[next(iter(self._places))]
        self._places[after] = segment, place if after >= wanted else last
        kept = slice(skipped, skipped + count)
        return payloads.slice(skipped, count), offsets[kept], times[kept]

    def close(self) -> None:
        """Let go of the segment that is open."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._base, self._window = -1, -1, b""

    def _find(self, first: int) -> tuple[int, int]:
        """Find the block that holds an offset."""
        known = self._places.get(first)
        if known is not None:
            return known
        if not self._segments or first < self._segments[0] or first >= self._segments[-1]:
            self._segments = segments_of(self.folder)
        at = bisect_right(self._segments, first) - 1
        if at < 0:
            raise LostRecordsError(
                f"{self.folder} begins with record {self.first()}, and record {first} was to come",
                "records that nobody has removed",
                "Begin anew from what is there, and keep records longer (keep=7d in the URI).",
            )
        segment, place = self._segments[at], 0
        self._window = b""
        while True:
            header = self._header(segment, place)
            if header is None or header.base + header.records > first:
                return segment, place
            place += header.size

    def _next(self, segment: int) -> int:
        """Give the segment behind one; there must be one."""
        if not self._segments or segment >= self._segments[-1]:
            self._segments = segments_of(self.folder)
        at = bisect_right(self._segments, segment)
        if at == len(self._segments):
            path = segment_path(self.folder, segment)
            raise damaged(path, self._start + len(self._window), "it ends too early")
        return self._segments[at]

    def _header(self, segment: int, place: int) -> Header | None:
        """Read a header; None at the segment's end."""
        at = place - self._start
        if segment != self._base or at < 0 or at + _SIZE > len(self._window):
            if not self._load(segment, place, _SIZE):
                return None
            at = 0
        header = Header._make(HEADER.unpack_from(self._window, at))
        if header.magic != MAGIC or header.version != VERSION:
            raise damaged(segment_path(self.folder, segment), place, "no block begins there")
        return header

    def _load(self, segment: int, place: int, needed: int) -> bool:
        """Read a piece of a segment; False where fewer bytes than needed are there."""
        if segment != self._base:
            self.close()
            path = segment_path(self.folder, segment)
            try:
                self._handle = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                raise LostRecordsError(
                    f"{path} is no longer there",
                    "a log that keeps what has not been read",
                    "Begin anew from what is there, and keep records longer (keep=7d in the URI).",
                ) from None
            self._base = segment
        self._window = os.pread(self._handle, max(self._asked, needed), place)
        self._start = self._checked = place
        self._sure = self._end
        full = len(self._window) >= self._asked
        self._asked = min(self._asked * 4, PIECE) if full else _FIRST
        return len(self._window) >= needed

    def _reach(self, segment: int, place: int) -> bool:
        """Have a whole block in the window; False at the segment's end."""
        header = self._header(segment, place)
        if header is None:
            return False
        if place + header.size > self._start + len(self._window):
            left = os.fstat(self._handle).st_size - place
            if not 0 < header.size <= left or not self._load(segment, place, header.size):
                raise damaged(segment_path(self.folder, segment), place, "a block is cut off")
        return True

    def _gather(self, blocks: _Blocks, place: int, wanted: int, stop: int) -> tuple[int, int, int]:
        """Take the blocks that lie whole in the window, the first of them in any case.

        Returns
        -------
        tuple
            The place of the last one, the place behind it and the offset behind it.
        """
        # There may be a block for each record: this loop is written out for speed.
        view, room, unpack = memoryview(self._window), len(self._window), HEADER.unpack_from
        say, take_starts = blocks.said.extend, blocks.starts.append
        take_data, size = blocks.data.append, 0
        at = last = place - self._start
        checked = self._checked - self._start
        while wanted < stop and at + _SIZE <= room:
            magic, crc, version, _, records, payload, base, time, *_ = unpack(view, at)
            starts = at + _SIZE
            data = starts + 8 * (records + 1)
            behind = data + ((payload + 7) & ~7)
            if behind > room:
                break
            if at >= checked:
                if magic != MAGIC or version != VERSION or crc32(view[at + 8 : behind]) != crc:
                    path = segment_path(self.folder, self._base)
                    raise damaged(path, at + self._start, "its checksum is wrong")
                checked = behind
            if records:
                say((records, base, time, payload))
                take_starts(view[starts : data - 8])
                take_data(view[data : data + payload])
                size += payload
                wanted = base + records
            last, at = at, behind
        blocks.size += size
        self._checked = checked + self._start
        return last + self._start, at + self._start, wanted


@final
class _Blocks:
    """Blocks that are to be joined.

    Attributes
    ----------
    said
        For each block: how many records, the first one's offset, the time, and how many bytes.
    starts
        For each block, int64 [N]: where its records start in its bytes.
    data
        For each block: its bytes.
    size
        How many bytes together.
    """

    def __init__(self) -> None:
        self.said: list[int] = []
        self.starts: list[memoryview] = []
        self.data: list[memoryview] = []
        self.size = 0

    def joined(self) -> tuple[pa.LargeBinaryArray, NDArray[np.int64], NDArray[np.int64]]:
        """Give the payloads, offsets and times [N] of all blocks."""
        counts, bases, times, sizes = np.array(self.said, dtype=np.int64).reshape(-1, 4).T
        total = int(counts.sum())
        offsets = np.empty(total + 1, dtype=np.int64)
        offsets[-1] = self.size
        offsets[:-1] = np.frombuffer(_whole(self.starts), dtype=np.int64)
        if len(counts) > 1:
            offsets[:-1] += np.repeat(np.cumsum(sizes) - sizes, counts)
        payloads = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(),
            total,
            [None, pa.py_buffer(offsets), pa.py_buffer(_whole(self.data))],
        )
        shifts = np.repeat(bases - (np.cumsum(counts) - counts), counts)
        return payloads, shifts + np.arange(total), np.repeat(times, counts)


def _whole(pieces: Sequence[memoryview]) -> Any:
    """Put pieces together; one alone is not copied."""
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
