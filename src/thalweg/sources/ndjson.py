"""Newline-delimited JSON: one object a line.

The type of each column is decided over the whole file before any row is given, so that no row's
reading depends on its neighbours: of null < boolean < whole number < number < text the least that
holds every value; values of several kinds, lists and objects become text. A line that is no
object is set aside.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from thalweg.core.errors import SourceError
from thalweg.sources.base import Reject
from thalweg.sources.files import Format, open_bytes, unreadable

BLOCK: Final = 8 << 20
KEPT: Final = 10_000


@final
class NdJson(Format):
    """Reads newline-delimited JSON."""

    suffixes = (".ndjson", ".jsonl", ".json")
    name = "NDJSON"

    def schema(self, path: Path) -> pa.Schema:
        """Read the whole file once, in constant memory, for the types of its columns."""
        types: dict[str, pa.DataType] = {}
        lines = 0
        for block, count in _blocks(path):
            lines += count
            for field in _parse(path, block, 0)[0].schema:
                types[field.name] = _join(types.get(field.name, pa.null()), field.type)
        if not lines:
            raise SourceError(f"{path} is empty", "one JSON object a line", "Is it the right file?")
        if not types:
            raise unreadable(path, ValueError("no line is a JSON object"))
        return pa.schema(list(types.items()))

    def read(
        self, path: Path, schema: pa.Schema, columns: Sequence[str], size: int, skip: int
    ) -> Iterator[tuple[pa.RecordBatch, int, Sequence[Reject]]]:
        """Read rows in order, setting aside lines that are no object."""
        wanted = pa.schema([schema.field(name) for name in columns])
        line = 0
        for block, count in _blocks(path):
            first, line = line, line + count
            if line <= skip:
                continue
            table, rejects, places = _parse(path, block, first)
            told = max(0, skip - first)
            fresh = [reject for reject in rejects if reject.line > first + told]
            rows = _typed(table, wanted).slice(sum(place < told for place in places))
            if not rows.num_rows and fresh:
                yield _empty(wanted), len(fresh), fresh
            for start in range(0, rows.num_rows, size):
                piece = rows.slice(start, size).combine_chunks().to_batches()[0]
                yield piece, piece.num_rows + len(fresh), fresh
                fresh = []

    def length(self, path: Path) -> int | None:  # noqa: ARG002 - only reading tells
        """Tell nothing: only reading counts the lines of a text."""
        return None


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _blocks(path: Path) -> Iterator[tuple[bytes, int]]:
    """Cut a file into blocks of whole lines; give each with its number of lines that hold text."""
    try:
        with open_bytes(path) as file:
            rest = b""
            while True:
                piece = file.read(BLOCK)
                block, _, tail = (rest + piece).rpartition(b"\n") if piece else (rest, b"", b"")
                rest = tail
                lines = [line for line in block.split(b"\n") if line.strip()]
                if lines:
                    yield b"\n".join(lines), len(lines)
                if not piece:
                    return
    except (OSError, EOFError) as error:
        raise unreadable(path, error) from None


def _parse(path: Path, block: bytes, first: int) -> tuple[pa.Table, list[Reject], Sequence[int]]:
    """Read a block; give its rows, the lines set aside and each row's place in the block."""
    try:
        options = pajson.ReadOptions(use_threads=False, block_size=len(block) + 1)
        table = pajson.read_json(io.BytesIO(block), read_options=options)
        odd = [
            field.name
            for field in table.schema
            if pa.types.is_nested(field.type) or pa.types.is_timestamp(field.type)
        ]
        if not odd and table.num_rows == block.count(b"\n") + 1:
            return table, [], range(table.num_rows)
    except pa.ArrowInvalid:
        pass  # Several types in a column, or a line that is no object: look at each line.
    return _parse_lines(path, block, first)


def _parse_lines(
    path: Path, block: bytes, first: int
) -> tuple[pa.Table, list[Reject], Sequence[int]]:
    """Read a block that Arrow refused, line by line."""
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    places: list[int] = []
    for place, line in enumerate(block.split(b"\n")):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"a {type(row).__name__}, not an object")  # noqa: EM102, TRY004
            rows.append(row)
            places.append(place)
        except ValueError as error:
            text = line[:KEPT].decode("utf-8", "replace")
            rejects.append(Reject(str(path), first + place + 1, f"no JSON object: {error}", text))
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    table = pa.table(columns) if columns else pa.table({"": pa.nulls(len(rows))}).select([])
    return table, rejects, places


def _column(values: list[Any]) -> pa.Array:
    """Find the type that holds some values, and hold them."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} or kinds <= {float, int}:
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, OverflowError):
            pass  # A whole number beyond 64 bits is kept as text.
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    """Give a value's JSON, but texts as they are."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, sort_keys=False)


def _join(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Give the least type that holds both."""
    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    numbers = pa.types.is_integer, pa.types.is_floating
    if all(any(test(kind) for test in numbers) for kind in (one, other)):
        return pa.float64()
    return pa.string()


def _typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring a block's columns to the file's types; a column that it lacks is null."""
    found: Mapping[str, Any] = {name: table.column(name) for name in table.schema.names}
    columns = [
        _cast(found[field.name], field.type)
        if field.name in found
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if not (pa.types.is_string(kind) and pa.types.is_floating(column.type)):
        return column.cast(kind)
    # The same number must give the same text in a block of whole numbers and in one of others.
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
    texts = column.cast(pa.string())
    ended = pc.replace_substring_regex(texts, pattern=r"\.0$", replacement="")
    return pc.if_else(whole, ended, texts)


@final
class Writer:
    """Writes one JSON object a line."""

    def __init__(self, building: Path) -> None:
        self._file = building.open("w", encoding="utf-8")

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        lines = (json.dumps(row, ensure_ascii=False, default=str) for row in batch.to_pylist())
        self._file.writelines(f"{line}\n" for line in lines)

    def close(self) -> None:
        """End the file."""
        self._file.close()


def open_writer(path: Path, schema: pa.Schema, building: Path) -> Writer:  # noqa: ARG001
    """Open a writer of newline-delimited JSON."""
    return Writer(building)


