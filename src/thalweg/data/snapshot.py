"""A source that may give other rows the next time, as a database does, copied to disk once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa

from thalweg.core.progress import Progress
from thalweg.data.cache import Cache
from thalweg.data.passes import batch_rows
from thalweg.sources import Batch, Position, Source, open_sink, open_source
from thalweg.stats.hashing import hash_rows

FILE = "rows.arrow"


@contextmanager
def repeatable(source: Source, cache: Cache, progress: Progress) -> Iterator[Source]:
    """Give a source that gives the same rows each time: itself, or a copy for the time of the work.

    Training passes over its rows several times. What others write to the table meanwhile must not
    come in between, and no database should be asked twice for what it has said once.

    Parameters
    ----------
    source
        The rows.
    cache
        Where the copy lies while it is needed.
    progress
        Told of the copying.
    """
    if source.repeatable:
        yield source
        return
    with cache.scratch("copy") as folder:
        digest = hashlib.sha256()
        progress.start("read", source.length(), "rows")
        with open_sink(folder / FILE) as sink:
            sink.write(pa.RecordBatch.from_pylist([], schema=source.schema()))
            for batch in source.batches(size=batch_rows(source, most=65_536)):
                digest.update(np.ascontiguousarray(hash_rows(batch.rows)).tobytes())
                sink.write(batch.rows)
                progress.advance(batch.rows.num_rows)
        progress.stop()
        copy = open_source(folder / FILE)
        yield _Snapshot(source.uri, copy, digest.hexdigest(), source.folder)


@final
class _Snapshot(Source):
    """The copy, under the name of what it is a copy of; its fingerprint is that of its content."""

    def __init__(self, uri: str, rows: Source, content: str, folder: Path | None) -> None:
        self._uri = uri
        self._folder = folder
        self._rows = rows
        self._content = content

    @property
    def uri(self) -> str:
        return self._uri

    @property
    def folder(self) -> Path | None:
        return self._folder

    def schema(self) -> pa.Schema:
        return self._rows.schema()

    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        return self._rows.batches(columns, size, start)

    def length(self) -> int | None:
        return self._rows.length()

    def fingerprint(self) -> str:
        return self._content
