"""Arrow IPC: the file and the stream format, also known as Feather."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, final

import pyarrow as pa

from thalweg.sources.files import Format, Piece
from thalweg.sources.paths import unreadable
from thalweg.sources.places import Place

_MAGIC: Final = b"ARROW1"


@final
class Ipc(Format):
    """Reads Arrow IPC files and streams; which of the two it is the first bytes say."""

    suffixes = (".arrow", ".feather", ".ipc", ".arrows")
    name = "Arrow IPC"

    def schema(self, path: Place) -> pa.Schema:
        """Read the header."""
        try:
            with _open(path) as reader:
                return reader.schema.remove_metadata()
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from None

    def read(
        self,
        path: Place,
        schema: pa.Schema,
        columns: Sequence[str],
        size: int,
        skip: int,
    ) -> Iterator[Piece]:
        """Read batches; those before ``skip`` are passed over."""
        try:
            with _open(path, columns) as reader:
                for rows in _batches(reader):
                    kept = rows.slice(min(skip, rows.num_rows)).select(list(columns))
                    skip -= rows.num_rows - kept.num_rows
                    for start in range(0, kept.num_rows, size):
                        piece = kept.slice(start, size).replace_schema_metadata(None)
                        yield piece, piece.num_rows, ()
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from None

    def length(self, path: Place) -> int | None:
        """Add up a local file's batches; a stream does not say, and a remote file would be read."""
        try:
            with _open(path) as reader:
                if path.files is None and isinstance(reader, pa.RecordBatchFileReader):
                    return int(sum(rows.num_rows for rows in _batches(reader)))
                return None
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from None


def _open(path: Place, columns: Sequence[str] | None = None) -> Any:
    """Open a file or stream, mapped into memory where it is local; of a file, only some columns."""
    file = pa.memory_map(path.path) if path.files is None else path.native()
    magic = file.read(len(_MAGIC))
    file.seek(0)
    if magic != _MAGIC:
        return pa.ipc.open_stream(file if path.files is None else pa.PythonFile(path.open(), "r"))
    whole = pa.ipc.open_file(file)
    names = whole.schema.names
    if path.files is None or not columns or set(columns) == set(names):
        return whole  # What is mapped and not looked at is not read.
    wanted = sorted({names.index(name) for name in columns})
    file.seek(0)
    return pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=wanted))


def _batches(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.RecordBatchFileReader):
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from reader


def open_writer(path: Place, schema: pa.Schema, file: pa.NativeFile) -> Any:
    """Open a writer of the file format, or of the stream format for ``.arrows``."""
    if path.suffix.lower() == ".arrows":
        return pa.ipc.new_stream(file, schema)
    return pa.ipc.new_file(file, schema)
