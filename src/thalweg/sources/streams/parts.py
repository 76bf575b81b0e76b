"""Rows as Parquet files in a folder, which is added to file by file."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from thalweg.core.errors import SourceError
from thalweg.core.files import Draft, atomic_file, clear_of_disk
from thalweg.sources.streams.base import FencedError, Outlet, Position, Writer

_HELD: Final = 128 << 20
"""So many bytes of rows are held in memory; more are written to the hidden file meanwhile."""
_NAME: Final = re.compile(r"part-(?P<lane>.+)-(?P<first>\d{12,})-(?P<last>\d{12,})\.parquet")


@final
class PartsOutlet(Outlet):
    """Writes rows to a folder: what is flushed at once is a Parquet file.

    A file is called ``part-<lane>-<first batch>-<last batch>.parquet``. It is written under a
    hidden name, flushed to the disk and renamed, so its name says for good that these batches are
    there. To join small files, remove none without leaving the name of the last one: the names
    are the memory of what was written.

    Parameters
    ----------
    folder
        Where the files go; it is made.
    writer
        Who writes. Only its lane is in the names: a folder is for one work.
    """

    def __init__(self, folder: Path, writer: Writer) -> None:
        self._folder = folder
        self._lane = quote(writer.lane, safe="").replace("-", "%2D")
        self._owner = writer.name
        self._fence = 0
        self._first, self._last = 0, 0
        self._rows: list[pa.RecordBatch] = []
        self._held = 0
        self._draft: Draft | None = None
        self._file: pq.ParquetWriter | None = None

    @property
    def uri(self) -> str:
        """The folder."""
        return str(self._folder)

    @property
    def guarantee(self) -> str:
        """Say how often a row arrives."""
        return (
            "exactly once: each file is named by the batches that it holds and appears whole, "
            "and a batch that is there is not written again"
        )

    @property
    def interval(self) -> float:
        """Five seconds: small files are a burden to whoever reads them."""
        return 5.0

    def resume(self, fence: int) -> int:
        """Read from the names what is there; remove what a killed process left."""
        self._abort()
        with clear_of_disk(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        with clear_of_disk(self._folder), self._alone():
            self._fence = fence
            known = self._require_fence()
            if known < fence:
                with atomic_file(self._fence_path) as building:
                    said = {"fence": fence, "writer": self._owner}
                    building.write_text(json.dumps(said) + "\n", encoding="utf-8")
            for path in self._folder.glob(f".part-{self._lane}-*.partial"):
                path.unlink(missing_ok=True)
            return self._frontier()

    def write(self, batch: int, rows: pa.RecordBatch) -> None:
        """Hold rows; where they are many, write them to a hidden file."""
        self._first = self._first or batch
        self._last = batch
        if not rows.num_rows and self._rows:
            return
        if self._file is not None or self._held + rows.nbytes > _HELD:
            with clear_of_disk(self._folder):
                self._spill()
        self._rows.append(rows)
        self._held += rows.nbytes

    def flush(self, positions: Mapping[str, Position]) -> None:
        """Write a file and give it its name."""
        if not self._last:
            return
        try:
            with clear_of_disk(self._folder):
                self._spill()
                if self._file is not None:
                    self._file.close()
                name = f"part-{self._lane}-{self._first:012d}-{self._last:012d}.parquet"
                draft = Draft(self._folder / name)
                with self._alone():
                    self._require_fence()
                    if self._draft is not None:
                        self._draft.path.rename(draft.path)
                    draft.commit()
        except BaseException:
            self._abort()
            raise
        self._draft, self._file = None, None
        self._first, self._last = 0, 0

    def close(self) -> None:
        """Throw away what was not flushed."""
        self._abort()

    @property
    def _fence_path(self) -> Path:
        return self._folder / f".fence-{self._lane}.json"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from taking over meanwhile."""
        path = self._folder / f".fence-{self._lane}.lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _require_fence(self) -> int:
        """Require that nobody has taken over; give the largest fence that was here."""
        try:
            said = json.loads(self._fence_path.read_text(encoding="utf-8"))
            known, owner = int(said["fence"]), str(said["writer"])
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError):
            raise SourceError(
                f"{self._fence_path} is damaged", "a number of who writes", "Remove it."
            ) from None
        if owner != self._owner:
            raise SourceError(
                f"{self._folder} holds what {owner} has written",
                f"a folder of {self._owner} alone",
                "Write to another folder.",
            )
        if known > self._fence:
            raise FencedError(
                f"{self._folder} is written to by a process with the fence {known}",
                f"one not larger than {self._fence}",
                "Another process does this work now: let it, or stop it and start again.",
            )
        return known

    def _frontier(self) -> int:
        """Give the last batch of the names; each must begin behind the one before."""
        names = (_NAME.fullmatch(one.name) for one in self._folder.iterdir())
        spans = sorted(
            (int(name["first"]), int(name["last"]))
            for name in names
            if name is not None and name["lane"] == self._lane
        )
        end = 0
        for first, last in spans:
            if first <= end or last < first:
                raise SourceError(
                    f"{self._folder} holds batch {first} of lane {self._lane} twice",
                    "files whose names do not overlap",
                    "Remove the file that was copied there, or write to another folder.",
                )
            end = last
        return end

    def _spill(self) -> None:
        """Write what is held to the hidden file."""
        if not self._rows:
            return
        rows, self._rows, self._held = self._rows, [], 0
        table = pa.Table.from_batches(rows)
        if self._file is None:
            self._draft = Draft(self._folder / f"part-{self._lane}-now.parquet")
            self._file = pq.ParquetWriter(self._draft.path, table.schema, compression="zstd")
        self._file.write_table(table)

    def _abort(self) -> None:
        """Throw away what was not flushed."""
        if self._file is not None:
            self._file.close()
        if self._draft is not None:
            self._draft.abort()
        self._draft, self._file = None, None
        self._rows, self._held, self._first, self._last = [], 0, 0, 0


def part_files(folder: Path) -> list[Path]:
    """List the files that are there whole, in the order of their names."""
    return sorted(one for one in folder.iterdir() if _NAME.fullmatch(one.name))
