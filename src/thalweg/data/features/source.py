"""A table with its windowed features beside its own columns: for training, judging, prediction."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, final

import pyarrow as pa

from thalweg.core.errors import ColumnError
from thalweg.core.progress import Progress
from thalweg.data.cache import Cache, key_of
from thalweg.data.features.declare import Features
from thalweg.data.features.table import HELD, compute_table, read_pieces
from thalweg.data.passes import changed
from thalweg.data.snapshot import repeatable
from thalweg.sources import Batch, Position, Source
from thalweg.sources.files import require
from thalweg.stats import TableSummary
from thalweg.stats.arrays import sort_of

_SIZES: Final = (65_536, 1)


@contextmanager
def featured(source: Source, features: Features | None, progress: Progress) -> Iterator[Source]:
    """Give a source with its windowed features, for the time of the work.

    Parameters
    ----------
    source
        The rows. A source that may give other rows the next time is copied first.
    features
        What to compute; None for nothing: the source is given back.
    progress
        Told of every pass.

    Raises
    ------
    ColumnError
        Where the source lacks a column that a feature is made of, or no row has a time.
    OptionError
        Where it has a column with a feature's name.
    """
    if features is None:
        yield source
        return
    features.require(source.schema().names)
    with (
        tempfile.TemporaryDirectory(prefix="thalweg-") as folder,
        repeatable(source, Cache(Path(folder)), progress) as rows,
    ):
        made = FeaturedSource(rows, features, progress)
        try:
            yield made
        finally:
            made.close()


def fitted(source: Source, features: Features, progress: Progress) -> Features:
    """Settle what of features depends on the table: types, and how its dates are written.

    Raises
    ------
    ColumnError, OptionError
        See `Features.of`.
    """
    features = features.of(source.schema())
    if sort_of(source.schema().field(features.time).type) != "text":
        return features
    summary = TableSummary()
    progress.start("times", source.length(), "rows")
    for batch in source.batches([features.time]):
        summary.update(batch.rows)
        progress.advance(batch.rows.num_rows)
    progress.stop()
    if features.time not in summary.columns:
        return features
    formats = tuple(summary.columns[features.time].time_formats)
    return replace(features, formats=formats) if formats else features


@final
class FeaturedSource(Source):
    """The same rows in the same order, with the columns of windowed features behind their own.

    The features are computed at once, into a file that goes with the source.

    Parameters
    ----------
    rows
        The source; it gives the same rows each time.
    features
        What to compute; see `fitted`.
    progress
        Told of the passes.
    held
        The most rows to sort in memory at once, where they are not in order of time.

    Raises
    ------
    ColumnError
        Where the source lacks a column that a feature is made of, or no row has a time.
    OptionError
        Where it has a column with a feature's name.
    """

    def __init__(
        self, rows: Source, features: Features, progress: Progress, held: int = HELD
    ) -> None:
        features.require(rows.schema().names)
        self._rows = rows
        self._features = features
        self._delivered = {Position(): 0}
        folder = Path(tempfile.mkdtemp(prefix="thalweg-"))
        self._gone = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        path, self._count, timed = compute_table(rows, features, folder, progress, held)
        self._file = path
        if self._count and not timed:
            raise ColumnError(
                f"column {features.time!r} of {rows.uri} holds no times",
                "dates, timestamps or seconds since 1970",
                "Name another with --time.",
            )

    def close(self) -> None:
        """Remove the file of the features; the source cannot be read any more."""
        self._gone()

    @property
    def rows(self) -> Source:
        """The source without the features."""
        return self._rows

    @property
    def uri(self) -> str:
        """What the rows were opened with."""
        return self._rows.uri

    @property
    def folder(self) -> Path | None:
        """The folder of the rows' files."""
        return self._rows.folder

    @property
    def repeatable(self) -> bool:
        """Whether the rows are; see `Source.repeatable`."""
        return self._rows.repeatable

    def schema(self) -> pa.Schema:
        """Give the columns, the features last."""
        return pa.schema([*self._rows.schema(), *self._features.schema])

    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        """Read rows; see `Source.batches`."""
        wanted = self.schema().names if columns is None else list(columns)
        require(wanted, self.schema().names, self.uri)
        made = self._features.names
        own = [name for name in wanted if name not in made]
        done = self._rows_before(start or Position())
        found = _Cursor(self._file, done)
        # Without a column of their own the rows could not be counted.
        for batch in self._rows.batches(own or [self._features.time], size, start):
            count = batch.rows.num_rows
            if done + count > self._count:
                raise changed(self, self._count)
            arrays = dict(zip(batch.rows.schema.names, batch.rows.columns, strict=True))
            extra = found.take(count, self._features.schema)
            arrays |= dict(zip(extra.schema.names, extra.columns, strict=True))
            fields = {one.name: one for one in [*batch.rows.schema, *extra.schema]}
            rows = pa.RecordBatch.from_arrays(
                [arrays[name] for name in wanted],
                schema=pa.schema([fields[name] for name in wanted]),
            )
            done += count
            self._delivered[batch.position] = done
            yield Batch(rows, batch.position, batch.rejects)
        if done != self._count:
            raise changed(self, self._count)

    def _rows_before(self, start: Position) -> int:
        """Count the rows before a position: without those that were set aside."""
        for size in _SIZES:
            if start in self._delivered:
                break
            done = 0
            for batch in self._rows.batches([self._features.time], size):
                done += batch.rows.num_rows
                self._delivered[batch.position] = done
        return self._delivered[start]

    def length(self) -> int | None:
        """How many rows there are."""
        return self._count

    def fingerprint(self) -> str:
        """Give the rows' fingerprint and that of the features."""
        return f"{self._rows.fingerprint()} with {key_of('features', self._features.to_json())}"


@final
class _Cursor:
    """Takes rows from a file, some at a time, from one of them on."""

    def __init__(self, path: Path, skipped: int) -> None:
        self._batches = read_pieces(path)
        self._rows: pa.RecordBatch | None = None
        self._skipped = skipped

    def take(self, count: int, schema: pa.Schema) -> pa.RecordBatch:
        """Give the next rows."""
        taken: list[pa.RecordBatch] = []
        while count:
            if self._rows is None or not self._rows.num_rows:
                self._rows = next(self._batches)
            if self._skipped:
                step = min(self._skipped, self._rows.num_rows)
                self._skipped -= step
                self._rows = self._rows.slice(step)
                continue
            some = self._rows.slice(0, count)
            self._rows = self._rows.slice(some.num_rows)
            count -= some.num_rows
            taken.append(some)
        if len(taken) == 1:
            return taken[0]
        return pa.concat_batches(taken) if taken else pa.RecordBatch.from_pylist([], schema=schema)
