"""Rows as JSON lines at the end of a file that grows, for whoever follows it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.core.files import atomic_file, clear_of_disk
from thalweg.sources.sinks import decoded
from thalweg.sources.streams.base import FencedError, Outlet, Position, Writer
from thalweg.sources.streams.payloads import payloads_of

ENDINGS: Final = (".ndjson", ".jsonl")


@final
class LinesOutlet(Outlet):
    """Adds rows to a file, a JSON object a line.

    Beside the file lies a small hidden one that says how long the file is for good, and up to which
    batch each writer has come. What is longer was being written when its process was killed: it is
    cut off before anything else is added, and its batch comes again. Several works may share a
    file. One that was moved away or emptied meanwhile is begun anew.

    Parameters
    ----------
    path
        The file; it is made, and its folder too. Lines that are there stay.
    writer
        Who writes.
    """

    def __init__(self, path: Path, writer: Writer) -> None:
        self._path = path
        self._writer = writer
        self._fence = 0
        self._lines: list[bytes] = []
        self._batch = 0

    @property
    def uri(self) -> str:
        """The path."""
        return str(self._path)

    @property
    def guarantee(self) -> str:
        """Say how often a row arrives."""
        return (
            "exactly once: a hidden file beside it says which batches are there and how long the "
            "file is; what a killed process wrote beyond is cut off"
        )

    @property
    def interval(self) -> float:
        """A fifth of a second: each flush waits for the disk."""
        return 0.2

    def resume(self, fence: int) -> int:
        """Cut off what a killed process left, and give the last batch; see `Outlet.resume`."""
        self.close()
        with clear_of_disk(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with clear_of_disk(self._path), self._alone():
            self._fence = fence
            facts = self._facts()
            _, batch = self._standing(facts)
            length = self._cut(facts)
            self._note(facts, length, batch)
        return batch

    def write(self, batch: int, rows: pa.RecordBatch) -> None:
        """Hold rows until they are flushed."""
        self._lines += [line + b"\n" for line in payloads_of(decoded(rows), "json").to_pylist()]
        self._batch = batch

    def flush(self, positions: Mapping[str, Position]) -> None:
        """Add the lines, then say that they are there."""
        if not self._batch:
            return
        lines, batch = b"".join(self._lines), self._batch
        self.close()
        with clear_of_disk(self._path), self._alone():
            facts = self._facts()
            self._standing(facts)
            length = self._cut(facts)
            if lines:
                with self._path.open("r+b" if self._path.exists() else "wb") as file:
                    file.seek(length)
                    file.write(lines)
                    file.flush()
                    os.fsync(file.fileno())
            self._note(facts, length + len(lines), batch)

    def close(self) -> None:
        """Throw away what was not flushed."""
        self._lines, self._batch = [], 0

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(f".{self._path.name}.{ending}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from writing meanwhile."""
        handle = os.open(self._beside("lock"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _facts(self) -> dict[str, Any]:
        """Read what the hidden file says; of a file that has none, that all of it is there."""
        beside = self._beside("written")
        try:
            said = json.loads(beside.read_bytes())
            writers = {
                str(name): [int(fence), int(batch)]
                for name, (fence, batch) in said["writers"].items()
            }
            return {"length": int(said["length"]), "writers": writers}
        except FileNotFoundError:
            return {"length": None, "writers": {}}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SourceError(
                f"{beside} is damaged",
                f"what was written there of {self._path}",
                "Remove both files, or write elsewhere.",
            ) from None

    def _standing(self, facts: Mapping[str, Any]) -> tuple[int, int]:
        """Give the writer's fence and batch; require that nobody has taken over."""
        known, batch = facts["writers"].get(self._writer.name, (0, 0))
        if known > self._fence:
            raise FencedError(
                f"{self._path} is written to by a process with the fence {known}",
                f"one not larger than {self._fence}",
                "Another process does this work now: let it, or stop it and start again.",
            )
        return known, batch

    def _cut(self, facts: Mapping[str, Any]) -> int:
        """Cut off what is not there for good, and give the length."""
        size = self._path.stat().st_size if self._path.exists() else 0
        length = facts["length"]
        if length is not None and size > length:
            os.truncate(self._path, length)
            size = int(length)
        elif length is None and size:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    raise SourceError(
                        f"{self._path} does not end with a line break",
                        "whole lines of JSON, or no file yet",
                        "Write to another file.",
                    )
        return size

    def _note(self, facts: Mapping[str, Any], length: int, batch: int) -> None:
        """Say how long the file is for good, and up to which batch this writer has come."""
        writers = {**facts["writers"], self._writer.name: [self._fence, batch]}
        with atomic_file(self._beside("written")) as building:
            said = {"length": length, "writers": writers}
            building.write_text(json.dumps(said) + "\n", encoding="utf-8")
