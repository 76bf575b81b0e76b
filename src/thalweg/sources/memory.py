"""Tables in memory: pandas, Polars, Arrow, or plain lists and dictionaries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources.base import Batch, Position, Source
from thalweg.sources.files import require


@final
class MemorySource(Source):
    """A table in memory, read without copying where Arrow can.

    Parameters
    ----------
    given
        Anything with the Arrow PyCapsule interface (pandas, Polars, Arrow, DuckDB ...), a
        dictionary of columns or a list of dictionaries.

    Raises
    ------
    SourceError
        Where it is no table.
    """

    def __init__(self, given: Any) -> None:
        self._table = _table(given)

    @property
    def uri(self) -> str:
        """A word for people."""
        return "the table in memory"

    def schema(self) -> pa.Schema:
        """Give the columns."""
        return self._table.schema

    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        """Slice the table; see `Source.batches`."""
        wanted = list(self._table.schema.names if columns is None else columns)
        require(wanted, self._table.schema.names, self.uri)
        done = (start or Position()).row
        for rows in self._table.select(wanted).slice(done).to_batches(max_chunksize=size):
            if rows.num_rows:
                done += rows.num_rows
                yield Batch(rows, Position(0, done))

    def length(self) -> int | None:
        """Give the number of rows."""
        return int(self._table.num_rows)

    def fingerprint(self) -> str:
        """Hash the content, whatever it is cut into."""
        digest = hashlib.sha256(str(self._table.schema).encode())
        for rows in self._table.combine_chunks().to_batches():
            with pa.BufferOutputStream() as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
                writer.write_batch(rows)
                writer.close()
                digest.update(sink.getvalue())
        return digest.hexdigest()


def _table(given: Any) -> pa.Table:
    """See anything like a table as Arrow."""
    try:
        if isinstance(given, pa.Table):
            table = given
        elif hasattr(given, "__arrow_c_stream__"):
            table = pa.RecordBatchReader.from_stream(given).read_all()
        elif hasattr(given, "__arrow_c_array__"):
            table = pa.Table.from_batches([pa.record_batch(given)])
        elif isinstance(given, Mapping):
            table = pa.table(dict(given))
        elif isinstance(given, Sequence) and all(isinstance(row, Mapping) for row in given):
            table = pa.Table.from_pylist([dict(row) for row in given])
        else:
            raise SourceError(
                f"a {type(given).__name__}",
                "a path, or a table of pandas, Polars or Arrow, or a dictionary of columns",
            )
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SourceError(
            f"a {type(given).__name__} that Arrow cannot read ({' '.join(str(error).split())[:150]})",
            "columns of one type and one length each",
            "Mend the column, or write the table to a file first.",
        ) from None
    index = [name for name in table.schema.names if name.startswith("__index_level_")]
    return table.drop_columns(index).replace_schema_metadata(None)
