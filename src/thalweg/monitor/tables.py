"""Two tables, each read once, compared column by column: what ``thalweg drift`` answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, final

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.core.progress import Progress
from thalweg.data.passes import batch_rows
from thalweg.sources import Source
from thalweg.stats import TableSummary
from thalweg.stats.drift.compare import ColumnDrift, compare
from thalweg.stats.drift.reference import Reference
from thalweg.stats.feed import feed, thread_pool


@final
@dataclass(frozen=True, slots=True)
class Drift:
    """What a comparison of two tables showed.

    Parameters
    ----------
    before, after
        What each was opened with.
    reference
        The distributions before.
    summary
        The statistics after.
    columns
        How far each column has moved: those that have drifted first, the farthest first.
    """

    before: str
    after: str
    reference: Reference
    summary: TableSummary
    columns: tuple[ColumnDrift, ...]

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns that have changed."""
        return tuple(one for one in self.columns if one.drifted)

    def to_json(self) -> dict[str, Any]:
        """Give plain data: rows before and after, and each column's measures."""
        return {
            "before": self.before,
            "after": self.after,
            "rows_before": self.reference.rows,
            "rows_after": self.summary.rows,
            "drifted": len(self.drifted),
            "columns": [one.model_dump(mode="json") for one in self.columns],
        }


def compare_tables(
    before: Source | Reference,
    after: Source,
    progress: Progress,
    name: str = "",
    columns: Iterable[str] | None = None,
    optional: Iterable[str] = (),
) -> Drift:
    """Read tables once each, in constant memory, and compare them.

    Parameters
    ----------
    before
        A table, or what is known of one.
    after
        A table.
    progress
        Told of the rows that were read.
    name
        What a reference is called; a table is called by its URI.
    columns
        Which columns; those of both by default.
    optional
        Columns that need not be there after, such as the target of a model.

    Raises
    ------
    SourceError
        Where a table has no rows.
    """
    if isinstance(before, Reference):
        reference = before
    else:
        name = before.uri
        reference = Reference.of(_read(before, progress))
    summary = _read(after, progress)
    gone = {one for one in optional if one not in summary.columns}
    wanted = {**reference.columns, **summary.columns} if columns is None else columns
    names = [one for one in wanted if one not in gone]
    found = compare(reference, summary, columns=names)
    order = sorted(found, key=lambda one: (not one.drifted, -one.moved))
    return Drift(name, after.uri, reference, summary, tuple(order))


def _read(source: Source, progress: Progress) -> TableSummary:
    """Sum a table up."""
    summary = TableSummary()
    progress.start("read", source.length(), "rows")
    size = batch_rows(source)

    def rows() -> Iterator[tuple[pa.RecordBatch, None]]:
        for batch in source.batches(size=size):
            if batch.rows.num_rows:
                yield batch.rows, None

    with thread_pool() as pool:
        for taken in feed(summary, rows(), pool):
            progress.advance(taken)
    progress.stop()
    if not summary.rows:
        raise SourceError(
            f"{source.uri} has no rows", "a header and rows below it", "Is it the right file?"
        )
    return summary
