"""Newline-delimited JSON: one object a line.

The type of each column is decided over the whole file before any row is given, so that no row's
reading depends on its neighbours: of null < boolean, whole number < number < text the least that
holds every value. Values of several kinds, whole numbers beyond 64 bits, lists and objects become
text, as JSON. A text that looks like a date stays a text. A key that a row lacks is null; a line
that is no object is set aside; blank lines count as lines and are passed over.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from thalweg.core.errors import SourceError
from thalweg.sources.base import Reject
from thalweg.sources.files import Format, Piece, deal
from thalweg.sources.paths import DAMAGE, open_bytes, unreadable
from thalweg.sources.places import Place
from thalweg.sources.text import KEPT

BLOCK: Final = 1 << 20
_CONSTANT: Final = re.compile(rb"[:,\[]\s*-?(?:NaN|Inf)")
"""What Arrow reads as a number, though JSON has none such."""
_BLANK: Final = re.compile(rb"\n[ \t\r]*(?=\n)")


@final
class NdJson(Format):
    """Reads newline-delimited JSON."""

    suffixes = (".ndjson", ".jsonl", ".json")
    name = "NDJSON"
    packed = True

    def schema(self, path: Place) -> pa.Schema:
        """Read the whole file once, in constant memory, for the types of its columns."""
        types: dict[str, pa.DataType] = {}
        lines = 0
        head = b""
        for block, _ in _blocks(path):
            if not lines:
                head = block.lstrip().partition(b"\n")[0].strip()
                _require_lines(path, head)
            lines += _filled(block)
            for name, kind in _types(block, types).items():
                types[name] = _join(types.get(name, pa.null()), kind)
        if not lines:
            raise SourceError(
                f"{path} is empty",
                "one JSON object a line",
                "NDJSON has no place for the names of columns: write tables of no rows as CSV.",
            )
        if not types:
            raise _no_objects(path, head)
        return pa.schema(list(types.items()))

    def read(
        self, path: Place, schema: pa.Schema, columns: Sequence[str], size: int, skip: int
    ) -> Iterator[Piece]:
        """Read rows in order, setting aside lines that are no object."""
        wanted = pa.schema([schema.field(name) for name in columns])
        first = 0
        for block, line in _blocks(path):
            count = _filled(block)
            if first + count > skip:
                rows, places, rejects = _parse(path, block, line, wanted)
                yield from deal(rows, first, [first + at for at in places], rejects, size, skip)
            first += count


def _require_lines(path: Place, head: bytes) -> None:
    """Check by its first line that a file is not one JSON document over many lines.

    Raises
    ------
    SourceError
        Where it is, saying how to convert it.
    """
    if head == b"{" or re.match(rb"\[\s*(\{|$)", head):
        whole, query = ("object", ".") if head == b"{" else ("array", "'.[]'")
        raise SourceError(
            f"{path} is one JSON {whole}",
            "one JSON object a line",
            f"Convert it, for example: jq -c {query} {path.name} > rows.ndjson.",
        )


def _no_objects(path: Place, head: bytes) -> SourceError:
    """Say what a file without any object may be, from its first line."""
    text = head[:200].decode("utf-8", "replace")
    if len(re.split("[,;\t|]", text)) > 1 and text[0] not in "[{":
        mend = f"It looks like CSV: rename it to {path.stem}.csv."
    else:
        mend = "Is it the right file?"
    return SourceError(
        f"{path} holds no JSON object with keys; it begins with {text[:40]!r}",
        "one JSON object a line",
        mend,
    )


def _blocks(path: Place) -> Iterator[tuple[bytes, int]]:
    """Cut a file into blocks of whole lines; give each with the lines before it."""
    try:
        with open_bytes(path) as file:
            head = file.read(3)
            rest = [b"" if head == b"\xef\xbb\xbf" else head]
            lines = 0
            while piece := file.read(BLOCK):
                body, end, tail = piece.rpartition(b"\n")
                if not end:
                    rest.append(piece)
                    continue
                block = b"".join((*rest, body))
                yield block, lines
                lines += block.count(b"\n") + 1
                rest = [tail]
            if last := b"".join(rest):
                yield last, lines
    except DAMAGE as error:
        raise unreadable(path, error) from None


def _filled(block: bytes) -> int:
    """Count the lines that are not blank."""
    return block.count(b"\n") + 1 - len(_BLANK.findall(b"\n" + block + b"\n"))


def _is_text(block: bytes) -> bool:
    """Say whether a block is UTF-8, which Arrow's JSON parser takes for granted."""
    try:
        return block.isascii() or bool(block.decode())
    except UnicodeDecodeError:
        return False


def _read(block: bytes, schema: pa.Schema, others: str) -> pa.Table | None:
    """Let Arrow parse a block; nothing where it cannot, or does not see one row a line."""
    count = _filled(block)
    if not count or not _is_text(block) or _CONSTANT.search(block):
        return None
    try:
        table = pajson.read_json(
            io.BytesIO(block),
            read_options=pajson.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pajson.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior=others
            ),
        )
    except pa.ArrowInvalid:
        return None  # Several types in a column, or a line that is no object.
    return table if table.num_rows == count else None


def _types(block: bytes, known: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Find the types of a block's columns."""
    texts = {name: kind for name, kind in known.items() if pa.types.is_string(kind)}
    table = _read(block, pa.schema(list(texts.items())), "infer")
    if table is not None:
        # Arrow takes texts that look like dates for dates, and wide whole numbers for numbers.
        types = {
            field.name: pa.string() if _is_odd(field.type) else field.type for field in table.schema
        }
        wide = [
            name
            for name, kind in types.items()
            if pa.types.is_floating(kind)
            and (pc.max(pc.abs(table.column(name))).as_py() or 0.0) >= 2.0**63
        ]
        if not wide:
            return types
    rows = [row for row in map(_object, block.split(b"\n")) if isinstance(row, dict)]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _type_of([row.get(name) for row in rows]) for name in names}


def _is_odd(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or pa.types.is_temporal(kind))


def _type_of(values: list[Any]) -> pa.DataType:
    """Find the type that holds some values."""
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pa.null()
    if kinds == {bool}:
        return pa.bool_()
    whole = [value for value in values if type(value) is int]
    if not kinds <= {int, float} or (whole and not -(2**63) <= min(whole) <= max(whole) < 2**63):
        return pa.string()
    return pa.float64() if float in kinds else pa.int64()


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


def _parse(
    path: Place, block: bytes, line: int, wanted: pa.Schema
) -> tuple[pa.RecordBatch, list[int], list[Reject]]:
    """Read a block: its rows, and the places in it and the rest of what is set aside."""
    table = _read(block, wanted, "ignore")
    if table is not None:
        table = table.select(wanted.names).cast(wanted)
        return table.combine_chunks().to_batches()[0], [], []
    rows: list[dict[str, Any]] = []
    places: list[int] = []
    rejects: list[Reject] = []
    for number, text in enumerate(block.split(b"\n"), line + 1):
        if not text.strip():
            continue
        row = _object(text)
        if isinstance(row, dict):
            rows.append(row)
        else:
            places.append(len(rows) + len(rejects))
            content = text[: 4 * KEPT].decode("utf-8", "replace")[:KEPT]
            rejects.append(Reject(str(path), number, f"no JSON object: {row}", content))
    arrays = [_column([row.get(field.name) for row in rows], field.type) for field in wanted]
    return pa.RecordBatch.from_arrays(arrays, schema=wanted), places, rejects


def _object(line: bytes) -> dict[str, Any] | str:
    """Read one line: an object, or in words why it is none."""
    try:
        row = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return str(error)
    return row if isinstance(row, dict) else f"a {type(row).__name__}"


def _refuse(constant: str) -> float:
    """Refuse NaN and Infinity, which Python reads but JSON has not."""
    raise ValueError(f"{constant} is no JSON")


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Hold values as the type that was found for the whole file."""
    if pa.types.is_string(kind):
        return texts(values)
    if pa.types.is_floating(kind):
        return pa.array([None if value is None else float(value) for value in values], kind)
    return pa.array(values, kind)


def texts(values: Iterable[Any]) -> pa.Array:
    """Give values of several kinds as text: texts as they are, all else as JSON.

    Examples
    --------
    >>> texts(["a", 1, None, [True]]).to_pylist()
    ['a', '1', None, '[true]']
    """
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float | list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)  # As a date in memory, for which JSON has no form.


@final
class Writer:
    """Writes one JSON object a line. Numbers that are not finite become null: JSON has none."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows; bytes become base64."""
        if batch.num_rows:
            import polars as pl

            frame = pl.DataFrame(pa.Table.from_batches([batch]))
            text = frame.with_columns(pl.col(pl.Binary).bin.encode("base64")).write_ndjson()
            self._file.write(text.encode())

    def close(self) -> None:
        """Do nothing: no line comes after the last row."""


def open_writer(path: Place, schema: pa.Schema, file: pa.NativeFile) -> Writer:  # noqa: ARG001 - every writer's signature
    """Open a writer of newline-delimited JSON."""
    return Writer(file)
