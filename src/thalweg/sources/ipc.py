"""Arrow IPC: the file and the stream format, also known as Feather."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from thalweg.sources.files import Format, Piece
from thalweg.sources.paths import unreadable

_MAGIC: Final = b"ARROW1"


@final
class Ipc(Format):
    """Reads Arrow IPC files and streams; which of the two it is the first bytes say."""

    suffixes = (".arrow", ".feather", ".ipc", ".arrows")
    name = "Arrow IPC"

    def schema(self, path: Path) -> pa.Schema:
        """Read the header."""
        try:
            with _open(path) as reader:
                return reader.schema.remove_metadata()
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
        """Read batches; those before ``skip`` are passed over."""
        try:
            with _open(path) as reader:
                for rows in _batches(reader):
                    kept = rows.slice(min(skip, rows.num_rows)).select(list(columns))
                    skip -= rows.num_rows - kept.num_rows
                    for start in range(0, kept.num_rows, size):
                        piece = kept.slice(start, size).replace_schema_metadata(None)
                        yield piece, piece.num_rows, ()
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from None

    def length(self, path: Path) -> int | None:
        """Add up a file's batches; a stream does not say."""
        try:
            with _open(path) as reader:
                if isinstance(reader, pa.RecordBatchFileReader):
                    return int(sum(rows.num_rows for rows in _batches(reader)))
                return None
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from None


def _open(path: Path) -> Any:
    """Open a file or stream, mapped into memory."""
    mapped = pa.memory_map(str(path))
    magic = mapped.read(len(_MAGIC))
    mapped.seek(0)
    return pa.ipc.open_file(mapped) if magic == _MAGIC else pa.ipc.open_stream(mapped)


def _batches(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.RecordBatchFileReader):
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from reader


def open_writer(path: Path, schema: pa.Schema, file: pa.NativeFile) -> Any:
    """Open a writer of the file format, or of the stream format for ``.arrows``."""
    if path.suffix.lower() == ".arrows":
        return pa.ipc.new_stream(file, schema)
    return pa.ipc.new_file(file, schema)
