"""Arrow IPC stream: a table in, the answers' columns out."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.serving.http.cells import stored, with_items
from thalweg.serving.http.formats.base import MOST_ROWS, Format, require_few
from thalweg.serving.http.question import Answer, Question
from thalweg.serving.http.reading import Reader
from thalweg.serving.http.refusal import BodyError
from thalweg.stats.arrays import is_bytes, is_list

MOST_BYTES: Final = 1 << 28
"""So much memory a table may take once it is unpacked."""

WANTED: Final = "an Arrow IPC stream: a schema and record batches"

EMPTY: Final = 64
"""So many bytes a null in a list counts, though it takes none of a request: each is a cell."""

_ODD: Final = (
    pa.ArrowException,
    LookupError,
    MemoryError,
    OSError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)
"""What a stream that lies may end in."""

_HEADER, _COMPRESSION, _BUFFERS, _DATA = 8, 10, 8, 6
"""Where Arrow's `Message`, `RecordBatch` and `DictionaryBatch` keep these fields, in their tables
of places."""


@final
class ArrowStream(Format):
    """An Arrow IPC stream; the file form and Arrow Flight are others."""

    name = "Arrow"
    media_types: ClassVar[tuple[str, ...]] = ("application/vnd.apache.arrow.stream",)

    def question(self, body: bytes, reader: Reader, most_rows: int = MOST_ROWS) -> Question:
        """Read a table: only the columns that the model reads, and each checked in full."""
        try:
            table = _table(body, frozenset(reader.model.columns), most_rows)
        except _ODD as error:
            why = (str(error) or type(error).__name__).splitlines()[0][:120]
            raise BodyError(f"a body that is no Arrow stream ({why})", WANTED) from None
        return reader.table(table)

    def answer(self, answer: Answer) -> bytes:
        """Write the columns of `predict`; ``error`` and ``warnings`` where there are some.

        Explained rows have ``contributions`` (a record of one number for each column), ``baseline``
        and ``explains``. The schema's metadata say ``model`` and ``version``.
        """
        question = answer.question
        batch = answer.columns
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        if (found := answer.contributions) is not None:
            parts = [pa.array(part) for part in found.values.T]
            columns["contributions"] = pa.StructArray.from_arrays(parts, names=found.columns)
            columns["baseline"] = pa.array(found.baseline)
            columns["explains"] = pa.array(found.of, pa.string())
        columns = answer.spread(columns)
        if answer.errors:
            columns["error"] = pa.array(map(answer.errors.get, range(question.rows)), pa.string())
        if question.warnings:
            told = map(question.warnings.get, range(question.rows))
            columns["warnings"] = pa.array(told, pa.list_(pa.string()))
        batch = pa.RecordBatch.from_arrays([*columns.values()], names=[*columns])
        batch = batch.replace_schema_metadata({"model": answer.model, "version": answer.version})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        return bytes(sink.getvalue())


def _table(body: bytes, wanted: frozenset[str], most_rows: int) -> pa.Table:
    """Read a stream; of the columns that nobody wants only the names are kept."""
    _require_small(body)
    options = pa.ipc.IpcReadOptions(use_threads=False)
    batches, rows = [], 0
    with pa.ipc.open_stream(pa.py_buffer(body), options=options) as stream:
        names = stream.schema.names
        for batch in stream:
            rows += batch.num_rows
            require_few(rows, most_rows)
            batches.append(batch)
        table = pa.Table.from_batches(batches, stream.schema)
    known = [place for place, name in enumerate(names) if name in wanted]
    kept = table.select(known)
    kept.validate(full=True)
    columns = dict(zip(known, _unpacked(kept.columns), strict=True))
    gone = pa.nulls(rows)
    return pa.Table.from_arrays([columns.get(at, gone) for at in range(len(names))], names)


def _require_small(body: bytes) -> None:
    """Refuse a stream that unpacks to more than memory should hold, before it is unpacked.

    Compressed buffers begin with how long they are unpacked, and Arrow takes so much memory.
    """
    left = MOST_BYTES
    source = pa.BufferReader(body)
    for message in iter(pa.ipc.MessageReader.open_stream(source)):
        if message.type != "schema" and message.body is not None:
            left -= _unpacked_bytes(bytes(message.metadata), message.body)
        if left < 0:
            raise BodyError(
                f"a stream of more than {MOST_BYTES >> 20} MiB once it is unpacked",
                "less",
                "Send several requests.",
                413,
            )
    if rest := len(body) - source.tell():
        raise BodyError(
            f"{rest:,} bytes after the end of the Arrow stream",
            "one stream and nothing else",
            "Write all record batches to one stream, or send several requests.",
        )


def _unpacked_bytes(metadata: bytes, body: pa.Buffer) -> int:
    """Say how much memory the compressed buffers of a message want; 0 where none is compressed.

    The message is a flatbuffer, which Arrow has checked: a table begins with the way back to the
    list of its fields' places.
    """

    def field(table: int, which: int) -> int:
        """Give where a field of a table stands; 0 for one that is not there."""
        (back,) = struct.unpack_from("<i", metadata, table)
        fields = table - back
        (size,) = struct.unpack_from("<H", metadata, fields)
        if which >= size:
            return 0
        (at,) = struct.unpack_from("<H", metadata, fields + which)
        return table + at if at else 0

    def inner(place: int) -> int:
        """Follow a reference."""
        return place + int(struct.unpack_from("<I", metadata, place)[0])

    header = inner(field(inner(0), _HEADER))
    if metadata[field(inner(0), _HEADER - 2)] == 2:  # a dictionary, whose values are a batch
        header = inner(field(header, _DATA))
    if not field(header, _COMPRESSION):
        return 0
    vector = inner(field(header, _BUFFERS))
    (count,) = struct.unpack_from("<I", metadata, vector)
    places = np.frombuffer(metadata, "<i8", 2 * count, vector + 4).reshape(-1, 2)
    total = 0
    for offset, length in places.tolist():
        if length >= 8:
            (size,) = struct.unpack("<q", bytes(body[offset : offset + 8]))
            total += max(size, 0)
    return total


def _unpacked(columns: Sequence[pa.ChunkedArray]) -> list[pa.ChunkedArray]:
    """Give columns in a form that holds each value by itself.

    Views and dictionaries may show one long value many times, and lists hold bits that become
    numbers: what that would take is summed up before it is taken.
    """
    found, left = [], MOST_BYTES
    for column in map(stored, columns):
        kind = column.type
        plain = _plain(kind)
        size = sum(map(_bytes, column.chunks))
        if size > (MOST_BYTES if plain == kind else left):
            what = "a column" if size > MOST_BYTES else "columns"
            raise BodyError(
                f"{what} of more than {MOST_BYTES >> 20} MiB", "less", "Send several requests.", 413
            )
        if plain != kind:
            left -= size
        found.append(column if plain == kind else column.cast(plain))
    return found


def _plain(kind: pa.DataType) -> pa.DataType:
    """Give the type without views and dictionaries, but leave those that nobody reads."""
    if pa.types.is_dictionary(kind):
        values = kind.value_type
        odd = pa.types.is_nested(values) or pa.types.is_dictionary(values)
        return kind if odd or pa.types.is_binary_view(values) else _plain(values)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    return with_items(kind, _plain(kind.value_type)) if is_list(kind) else kind


def _bytes(array: pa.Array, per: int = 8) -> int:
    """Say how many bytes an array takes where its type lets it show more than it holds.

    Parameters
    ----------
    array
        Of any type but an extension.
    per
        So many bytes a null of an array of nulls counts.
    """
    types = pa.types
    kind = array.type
    if types.is_null(kind):
        return per * len(array)
    size = 8 * len(array)
    if size > MOST_BYTES:  # also what counting takes is memory
        return size
    if types.is_dictionary(kind):
        lengths = _lengths(array.dictionary)
        shown = lengths[array.indices.drop_null().to_numpy()] if len(lengths) else lengths
        return max(size, int(shown.sum(dtype=np.int64)))
    if types.is_string_view(kind):
        return max(size, int(_lengths(array).sum(dtype=np.int64)))
    # Nulls in lists take no byte of a request, but each becomes a cell.
    return max(size, _bytes(array.values, EMPTY)) if is_list(kind) else size


def _lengths(array: pa.Array) -> NDArray[np.integer[Any]]:
    """Say how many bytes each value takes."""
    kind = array.type
    if pa.types.is_string_view(kind):
        views = np.frombuffer(array.buffers()[1], np.int32)[::4]
        shown = views[array.offset : array.offset + len(array)]
        # Arrow checks no view of a null, yet adds up their lengths, and ends where they are wrong.
        if len(shown) and shown.min() < 0:
            raise BodyError("a body that is no Arrow stream (a text of negative length)", WANTED)
        return shown
    held = pa.types.is_string(kind) or pa.types.is_large_string(kind) or is_bytes(kind)
    if held and not pa.types.is_binary_view(kind):
        lengths: NDArray[np.integer[Any]] = pc.binary_length(array).fill_null(0).to_numpy()
        return lengths
    return np.full(len(array), kind.byte_width if pa.types.is_decimal(kind) else 8)
