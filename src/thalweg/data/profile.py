"""What is in a table, for people: the statistics of every column and what each is taken for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.core.progress import Progress
from thalweg.data.infer import fit_schema
from thalweg.data.passes import batch_rows
from thalweg.data.schema import Schema, require
from thalweg.sources import Source
from thalweg.stats import TableSummary
from thalweg.stats.feed import feed, thread_pool


@final
@dataclass(frozen=True, slots=True)
class Profile:
    """What one pass over a table showed.

    Parameters
    ----------
    name
        What the source was opened with.
    summary
        The statistics of every column.
    schema
        What each column is taken for, and why.
    warnings
        What a reader must know, in words.
    """

    name: str
    summary: TableSummary
    schema: Schema
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give plain data: rows, and each column's kind, reason and statistics."""
        used = [*self.schema.columns, *([self.schema.target] if self.schema.target else [])]
        kinds = {column.name: (column.kind, column.because) for column in used}
        kinds |= {one.name: ("ignored", one.because) for one in self.schema.ignored}
        return {
            "source": self.name,
            "rows": self.summary.rows,
            "columns": [
                {
                    "name": name,
                    "kind": kinds[name][0],
                    "because": kinds[name][1],
                    **column.describe(),
                }
                for name, column in self.summary.columns.items()
            ],
            "warnings": list(self.warnings),
        }


def profile(
    source: Source, target: str | None, columns: Mapping[str, str], progress: Progress
) -> Profile:
    """Read a table once, in constant memory.

    Raises
    ------
    SourceError
        Where there are no rows.
    ColumnError, OptionError, TargetError
        See `fit_schema`.
    """
    require([*columns, *([target] if target else [])], source.schema().names)
    summary = TableSummary()
    rejected = 0
    size = batch_rows(source)
    progress.start("profile", source.length(), "rows")

    def rows() -> Iterator[tuple[pa.RecordBatch, None]]:
        nonlocal rejected
        for batch in source.batches(size=size):
            rejected += len(batch.rejects)
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
    schema = fit_schema(summary, target, columns, folder=source.folder)
    return Profile(source.uri, summary, schema, tuple(_warnings(summary, rejected)))


def _warnings(summary: TableSummary, rejected: int) -> list[str]:
    found = []
    if rejected:
        found.append(f"{rejected:,} rows could not be read and were set aside")
    copies = summary.duplicates()
    if copies > 0.01 * summary.rows:
        found.append(f"about {copies:,.0f} of {summary.rows:,} rows are copies of others")
    return found
