"""Parquet: typed columns in row groups; what is not wanted is not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import pyarrow as pa
import pyarrow.parquet as pq

from thalweg.sources.files import Format, Piece
from thalweg.sources.paths import unreadable


@final
class Parquet(Format):
    """Reads Parquet."""

    suffixes = (".parquet", ".pq")
    name = "Parquet"

    def schema(self, path: Path) -> pa.Schema:
        """Read the footer."""
        try:
            return pq.read_schema(path).remove_metadata()
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from None

    def read(
        self,
        path: Path,
        schema: pa.Schema,
        columns: Sequence[str],
        size: int,
        skip: int,
    ) -> Iterator[Piece]:
        """Read row groups; those before ``skip`` are passed over."""
        try:
            # Pages are read as they are needed: reading ahead would hold whole groups.
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
                groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
                first = 0
                while first < len(groups) and skip >= groups[first]:
                    skip -= groups[first]
                    first += 1
                rest = list(range(first, len(groups)))
                for rows in file.iter_batches(size, row_groups=rest, columns=list(columns)):
                    kept = rows.slice(min(skip, rows.num_rows)).select(list(columns))
                    skip -= rows.num_rows - kept.num_rows
                    if kept.num_rows:
                        yield kept.replace_schema_metadata(None), kept.num_rows, ()
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from None

    def length(self, path: Path) -> int | None:
        """Read the footer."""
        try:
            return int(pq.read_metadata(path).num_rows)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from None


def open_writer(path: Path, schema: pa.Schema, file: pa.NativeFile) -> pq.ParquetWriter:  # noqa: ARG001
    """Open a writer of Parquet, compressed with zstandard."""
    return pq.ParquetWriter(file, schema, compression="zstd")
