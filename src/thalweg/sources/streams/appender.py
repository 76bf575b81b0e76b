"""How the embedded log grows: one write at a time to a partition, whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, final
from zlib import crc32

import pyarrow as pa

from thalweg.core.files import atomic_file, clear_of_disk
from thalweg.sources.streams.base import FencedError
from thalweg.sources.streams.segments import (
    ENDS,
    HEADER,
    MAGIC,
    NOBODY,
    PIECE,
    VERSION,
    Header,
    Mark,
    Tail,
    cuts,
    damaged,
    packed,
    segment_path,
    segments_of,
)

SEGMENT: Final = 64 << 20
"""About how many bytes a segment has at most."""
_PRODUCERS: Final = "producers.json"


@final
@dataclass(frozen=True, slots=True)
class Share:
    """Some records to append, and who writes them."""

    payloads: pa.LargeBinaryArray
    mark: Mark = NOBODY


@final
class Appender:
    """Appends to one partition; several processes may at once.

    It knows the last batch and the largest fence of each producer: from the file
    ``producers.json`` for the segments before the one that it names, and from the blocks since.

    Parameters
    ----------
    folder
        The partition's.
    segment
        About how many bytes a segment may have.
    """

    def __init__(self, folder: Path, segment: int = SEGMENT) -> None:
        self.folder = folder
        self._limit = segment
        self._tail = Tail(folder, write=True)
        self._producers: dict[int, tuple[int, int]] = {}
        self._handle = -1
        # Where the last whole write ends: the segment, the place in it, the next record's offset.
        self._base, self._place, self._end = -1, 0, 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from appending, and know what they have appended."""
        fcntl.flock(self._tail.handle, fcntl.LOCK_EX)
        try:
            self._catch_up()
            yield
        finally:
            fcntl.flock(self._tail.handle, fcntl.LOCK_UN)

    def recover(self) -> None:
        """Cut off what a killed process left, and find what a power cut made the tail forget."""
        bases = segments_of(self.folder)
        size = segment_path(self.folder, bases[-1]).stat().st_size if bases else 0
        if bases and not self._tail.is_at(bases[-1], size):
            with self.locked():
                return

    def known(self, producer: int) -> tuple[int, int]:
        """Give a producer's last batch and largest fence here; call it while it is locked."""
        return self._producers.get(producer, (0, 0))

    def append(self, shares: Sequence[Share], *, durable: bool = True) -> int:
        """Append records: all of them, or none; batches that are there are passed over.

        Returns
        -------
        int
            The offset behind the last record.

        Raises
        ------
        FencedError
            Where the producer has a larger fence here.
        SourceError
            Where the disk is full, or the log is damaged.
        """
        with self.locked():
            self._write([share for share in shares if self._is_new(share.mark)], durable=durable)
            return self._end

    def mark(self, producer: int, fence: int) -> int:
        """Set a producer's fence, and give the number of its last batch."""
        with self.locked():
            batch, known = self.known(producer)
            self._is_new(Mark(producer, batch + 1, fence))
            if fence > known:
                empty = pa.array([], pa.large_binary())
                self._write([Share(empty, Mark(producer, batch, fence))], durable=True)
            return batch

    def _is_new(self, mark: Mark) -> bool:
        """Say whether a batch is not there yet."""
        batch, fence = self.known(mark.producer)
        if mark.fence < fence:
            raise FencedError(
                f"{self.folder} was taken over by a process with the fence {fence}",
                f"one not larger than {mark.fence}",
                "Another process does this work now: let it, or stop it and start again.",
            )
        return not mark.producer or mark.batch > batch

    def _write(self, shares: Sequence[Share], *, durable: bool) -> None:
        """Write blocks behind the last one."""
        blocks: list[tuple[pa.LargeBinaryArray, Mark]] = []
        for share in shares:
            rows = cuts(share.payloads)
            for start, end in pairwise(rows):
                blocks.append((share.payloads.slice(start, end - start), share.mark))
        if not blocks:
            return
        size = sum(share.payloads.nbytes for share in shares)
        if self._place and self._place + size > self._limit:
            self._roll(self._end)
        place, end = self._place, self._end
        try:
            with clear_of_disk(self.folder):
                place, end = self._put(blocks)
                if durable:
                    os.fdatasync(self._handle)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._handle, self._place)
            raise
        self._place, self._end = place, end
        self._tail.set(self._base, place, end, synced=durable)
        for share in shares:
            self._note(share.mark.producer, share.mark.batch, share.mark.fence)

    def _put(self, blocks: Sequence[tuple[pa.LargeBinaryArray, Mark]]) -> tuple[int, int]:
        """Write blocks in pieces; give the place and the offset behind them."""
        now = time.time_ns() // 1000
        place, end = self._place, self._end
        buffers: list[Any] = []
        held = 0
        for number, (payloads, mark) in enumerate(blocks, 1):
            last = number == len(blocks)
            buffers += packed(payloads, end, now, mark, ends=last)
            end += len(payloads)
            held += payloads.nbytes
            if last or held >= PIECE:
                view = memoryview(b"".join(buffers))
                while view:
                    written = os.pwrite(self._handle, view, place)
                    place += written
                    view = view[written:]
                buffers, held = [], 0
        return place, end

    def _note(self, producer: int, batch: int, fence: int) -> None:
        """Remember what a producer has written."""
        if producer:
            known = self._producers.get(producer, (0, 0))
            self._producers[producer] = max(known[0], batch), max(known[1], fence)

    def _roll(self, base: int) -> None:
        """Begin another segment."""
        with clear_of_disk(self.folder):
            if self._handle >= 0:
                os.fdatasync(self._handle)
            if self._base >= 0:
                self._save(base)
            self._open(base, os.O_CREAT)
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _open(self, base: int, flags: int = 0) -> None:
        """Go to the beginning of a segment."""
        handle = os.open(segment_path(self.folder, base), os.O_RDWR | flags, 0o666)
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._base, self._place = handle, base, 0

    def _save(self, base: int) -> None:
        """Write down what producers have written before a segment."""
        known = {f"{name:016x}": list(said) for name, said in self._producers.items()}
        with atomic_file(self.folder / _PRODUCERS) as building:
            text = json.dumps({"version": VERSION, "before": base, "producers": known})
            building.write_text(text + "\n", encoding="utf-8")

    def _begin(self) -> None:
        """Find out where to begin to look at what is there."""
        bases = segments_of(self.folder)
        if not bases:
            self._roll(0)
            return
        before = 0
        path = self.folder / _PRODUCERS
        if path.exists():
            try:
                said = json.loads(path.read_text(encoding="utf-8"))
                before = int(said["before"])
                for name, (batch, fence) in said["producers"].items():
                    self._note(int(name, 16), int(batch), int(fence))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise damaged(path, 0, "it is not what was written") from None
        elif bases[0]:
            raise damaged(path, 0, "it is not there, though segments were removed")
        self._open(max((base for base in bases if base <= before), default=bases[0]))
        self._end = self._base

    def _catch_up(self) -> None:
        """Look at what others have appended, and cut off what is not whole."""
        if self._base < 0:
            self._begin()
        elif self._tail.is_at(self._base, self._place):
            if os.fstat(self._handle).st_size == self._place:
                return
        else:
            self._require_still()
        while True:
            whole = self._walk()
            behind = [base for base in segments_of(self.folder) if base > self._base]
            if not behind:
                break
            if not whole:
                raise damaged(
                    segment_path(self.folder, self._base), self._place, "no whole block is there"
                )
            self._open(behind[0])
            self._end = behind[0]
        if not whole:
            self._require_torn()
            os.ftruncate(self._handle, self._place)
        if not self._tail.is_at(self._base, self._place):
            self._settle()

    def _settle(self) -> None:
        """Let everyone know where the log ends."""
        if self._end < self._tail.end:
            # Records that were appended without flushing were seen, and are gone: their offsets
            # shall not be another record's.
            self._end = self._tail.end
            self._roll(self._end)
        os.fdatasync(self._handle)
        self._tail.set(self._base, self._place, self._end, synced=True)

    def _require_still(self) -> None:
        """Require the segment that was written last to be there still."""
        try:
            there = segment_path(self.folder, self._base).stat()
        except FileNotFoundError:
            there = None
        if there is None or not os.path.samestat(there, os.fstat(self._handle)):
            # Others have gone on, and removed it: nothing of it is needed but what it said.
            self._base = -1
            self._begin()

    def _require_torn(self) -> None:
        """Require what is no block to be the remains of a write that nobody relies on."""
        path = segment_path(self.folder, self._base)
        if self._end < self._tail.synced:
            raise damaged(path, self._place, "records that were there are not there whole")
        if self._tail.fresh:
            rest = os.pread(self._handle, 2 * self._limit, self._place + 1)
            if _ends_behind(rest):
                raise damaged(path, self._place, "no whole block is there, but behind it")

    def _walk(self) -> bool:
        """Go on to the last whole write of the segment; False where anything else is behind it."""
        size = os.fstat(self._handle).st_size
        place, end = self._place, self._end
        window, start = b"", place
        pending: list[Header] = []
        while place < size:
            at = place - start
            header = _header_at(window, at)
            if header is None and len(window) - at < HEADER.size <= size - place:
                window, start = os.pread(self._handle, PIECE, place), place
                continue
            if header is None or place + header.size > size:
                break
            if at + header.size > len(window):
                window, start = os.pread(self._handle, max(PIECE, header.size), place), place
                continue
            if not _whole_at(window, at, header) or header.base < end:
                break
            place += header.size
            end = header.base + header.records
            pending.append(header)
            if header.flags & ENDS:
                for one in pending:
                    self._note(one.producer, one.batch, one.fence)
                pending.clear()
                self._place, self._end = place, end
        return self._place == size

    def trim(self, before: int, older: float) -> int:
        """Remove whole segments, never the last one.

        Parameters
        ----------
        before
            Records from this offset on stay.
        older
            Segments that were written to after this time (seconds since 1970) stay.

        Returns
        -------
        int
            How many segments were removed.
        """
        bases = segments_of(self.folder)
        gone = []
        for base, behind in pairwise(bases):
            path = segment_path(self.folder, base)
            if behind > before or path.stat().st_mtime > older:
                break
            gone.append(path)
        if not gone:
            return 0
        with self.locked():
            self._save(self._base)
            for path in gone:
                path.unlink(missing_ok=True)
        return len(gone)

    def close(self) -> None:
        """Let go of the files."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        self._tail.close()


def _header_at(window: bytes, at: int) -> Header | None:
    """Read a header; None where none is there."""
    if at + HEADER.size > len(window):
        return None
    header = Header._make(HEADER.unpack_from(window, at))
    sound = header.magic == MAGIC and header.version == VERSION and header.payload >= 0
    return header if sound else None


def _whole_at(window: bytes, at: int, header: Header) -> bool:
    """Say whether the block of a header is whole."""
    view = memoryview(window)[at + 8 : at + header.size]
    return len(view) == header.size - 8 and crc32(view) == header.crc


def _ends_behind(rest: bytes) -> bool:
    """Say whether anywhere there a whole write ends."""
    at = rest.find(MAGIC)
    while at >= 0:
        header = _header_at(rest, at)
        if header is not None and header.flags & ENDS and _whole_at(rest, at, header):
            return True
        at = rest.find(MAGIC, at + 1)
    return False
