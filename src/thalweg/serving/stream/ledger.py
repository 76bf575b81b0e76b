"""The ledger: which records make which batch, written down before the work is done.

A process that is killed in the middle of a batch finds here what the batch was, and makes the same
one again: the same rows together, at the same time of the clock, so that what comes out is the same
in every bit.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import final

from thalweg.core.errors import SourceError
from thalweg.core.files import clear_of_disk
from thalweg.sources.streams.base import Position


@final
@dataclass(frozen=True, slots=True)
class Part:
    """The records of one partition that belong to a batch.

    Parameters
    ----------
    partition
        Which partition.
    after
        The position before the first of them; None for the first there is.
    until
        The position of the last.
    records
        How many there are.
    time
        When the stream took them, where all have one time: a file that is followed remembers none.
    """

    partition: str
    after: Position | None
    until: Position
    records: int
    time: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Some records that are worked on together.

    Parameters
    ----------
    number
        From 1, ascending.
    clock
        What the wall clock said, in microseconds since 1970: work asks no other clock.
    parts
        The records; none in a batch that only lets time go on.
    woken
        Whether the reader was away before it: silence until then says nothing of the stream.
    final
        Whether the stream ends with it, and every window closes.
    order
        The number of a person's order that is followed before it, and the version to go back to.
    """

    number: int
    clock: int
    parts: tuple[Part, ...]
    woken: bool = False
    final: bool = False
    order: tuple[int, int] | None = None


@final
class Ledger:
    """An append-only file of batches, for one writer.

    Parameters
    ----------
    folder
        Where its files lie: one begins at each checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: int | None = None
        self._path: Path | None = None

    def begin(self, after: int) -> None:
        """Go on in a file of its own for the batches behind one, unless it is there already."""
        self.close()
        path = self._folder / f"ledger-{after:012d}.ndjson"
        whole = sum(size for _, size in _lines(path))
        with clear_of_disk(path):
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            os.ftruncate(self._handle, whole)  # what was torn off at the end was never worked on
            os.lseek(self._handle, 0, os.SEEK_END)
            _flush_folder(self._folder)
        self._path = path

    def append(self, batch: Batch) -> None:
        """Write a batch down; when this returns it outlasts a crash of the machine.

        Raises
        ------
        FullDiskError
            Where the disk is full; then it is not there.
        """
        if self._handle is None or self._path is None:
            raise AssertionError
        text = json.dumps(asdict(batch), separators=(",", ":")).encode()
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        place = os.lseek(self._handle, 0, os.SEEK_CUR)
        with clear_of_disk(self._path):
            try:
                written = os.write(self._handle, line)
                if written < len(line):  # the rest says why not
                    os.write(self._handle, line[written:])
                os.fdatasync(self._handle)
            except OSError:
                os.ftruncate(self._handle, place)
                os.lseek(self._handle, place, os.SEEK_SET)
                raise

    def read(self, after: int) -> Iterator[Batch]:
        """Give the batches behind one, in order.

        Raises
        ------
        SourceError
            Where one is missing between two others.
        """
        wanted = after + 1
        for path in self.files():
            for text, _ in _lines(path):
                found = json.loads(text)
                if found["number"] < wanted:
                    continue
                if found["number"] > wanted:
                    raise SourceError(
                        f"{path} goes on with batch {found['number']} where {wanted} is missing",
                        "every batch since the last checkpoint",
                        "Start with another --state, and look at what was written last.",
                    )
                parts = tuple(Part(**one) for one in found.pop("parts"))
                order = found.pop("order", None)
                yield Batch(parts=parts, order=None if order is None else tuple(order), **found)
                wanted += 1

    def forget(self, before: int) -> None:
        """Remove the files whose batches all lie at or before one."""
        files = self.files()
        for path, behind in pairwise(files):
            if int(behind.stem.partition("-")[2]) <= before:
                path.unlink(missing_ok=True)

    def files(self) -> Sequence[Path]:
        """List the files in the order of their batches."""
        return sorted(self._folder.glob("ledger-*.ndjson"))

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """Give the whole lines of a file and how long each is, but for what is torn at its end.

    Raises
    ------
    SourceError
        Where whole lines lie behind one that is not: that is damage, and no end.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if not _is_whole(line):
            if any(_is_whole(behind) for behind in lines[number + 1 :]):
                raise SourceError(
                    f"{path} is damaged in line {number + 1}",
                    "whole lines up to the last one",
                    "Start with another --state, and look at what was written last.",
                )
            return
        yield line.rstrip(b"\n").partition(b" ")[2], len(line)


def _is_whole(line: bytes) -> bool:
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    return line.endswith(b"\n") and checksum == b"%08x" % zlib.crc32(text)


def _flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
