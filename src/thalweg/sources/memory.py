"""Tables in memory: pandas, Polars, Arrow, or plain lists and dictionaries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources.base import Batch, Position, Source
from thalweg.sources.files import require, require_distinct
from thalweg.sources.ndjson import texts

_HASHED: Final = 65_536


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

    @property
    def folder(self) -> Path | None:
        """The folder that the process works in."""
        return Path.cwd()

    def length(self) -> int | None:
        """Give the number of rows."""
        return int(self._table.num_rows)

    def fingerprint(self) -> str:
        """Hash the content, whatever it is cut into."""
        digest = hashlib.sha256(str(self._table.schema).encode())
        for column in self._table.columns:
            whole = pa.table({"": column}).combine_chunks()
            for start in range(0, whole.num_rows, _HASHED):
                for rows in whole.slice(start, _HASHED).to_batches():
                    digest.update(_content(rows))
        return digest.hexdigest()


def _content(rows: pa.RecordBatch) -> pa.Buffer:
    """Give the bytes of rows as Arrow sends them."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return sink.getvalue()


def _table(given: Any) -> pa.Table:
    """See anything like a table as Arrow."""
    try:
        table = _seen(given)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        said = " ".join(str(error).split())[:150]
        raise SourceError(
            f"a {type(given).__name__} that Arrow cannot read ({said})",
            "columns of one type and one length each",
            "Mend the column, or write the table to a file first.",
        ) from None
    require_distinct(table.schema.names, f"the {type(given).__name__}")
    plain = [field.with_type(_stored(field.type)) for field in table.schema]
    return table.cast(pa.schema(plain))


def _seen(given: Any) -> pa.Table:
    if hasattr(given, "reset_index"):
        # An index of pandas is a label of rows, no column, whether it has a name or not.
        given = given.reset_index(drop=True)
    if isinstance(given, pa.Table):
        return given
    if hasattr(given, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(given).read_all()
    if hasattr(given, "__arrow_c_array__"):
        return pa.Table.from_batches([pa.record_batch(given)])
    if isinstance(given, Mapping):
        return pa.table(dict(given))
    if isinstance(given, list | tuple) and given and all(isinstance(row, Mapping) for row in given):
        names = dict.fromkeys(name for row in given for name in row)
        return pa.table({name: _column([row.get(name) for row in given]) for name in names})
    raise SourceError(
        f"a {type(given).__name__}" if given or not isinstance(given, list) else "an empty list",
        "a path, a table of pandas, Polars or Arrow, a dictionary of columns or a list of rows",
        "Rows are dictionaries: [{'rooms': 3, 'price': 9.5}].",
    )


def _column(values: list[Any]) -> pa.Array:
    """Make a column of rows' values; ones of several kinds become text, as in NDJSON."""
    kinds = set(map(type, values)) - {type(None)}
    try:
        return texts(values) if bool in kinds and len(kinds) > 1 else pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return texts(values)


def _stored(kind: pa.DataType) -> pa.DataType:
    """Give the plain type of a view (as Polars keeps texts), which many readers do not know."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_field.with_type(_stored(kind.value_type))
        return pa.list_(inner) if pa.types.is_list(kind) else pa.large_list(inner)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(kind) else kind
