"""Files that are written whole or not at all, wherever they lie."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, final

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.core.files import Draft, clear_of_disk
from thalweg.sources.base import Sink
from thalweg.sources.databases.address import database_of, name_of
from thalweg.sources.paths import COMPRESSIONS, is_remote, parted, shown, uri_of
from thalweg.sources.places import Place

if TYPE_CHECKING:
    from thalweg.sources.remote import Upload


class Writer(Protocol):
    """What a format's writer must do."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""

    def close(self) -> None:
        """End what was written; the file itself is closed by the sink."""


OpenWriter = Callable[[Place, pa.Schema, pa.NativeFile], Writer]


def draft(target: str | os.PathLike[str]) -> Draft | Upload:
    """Begin a file under another name; both kinds have a `path`, and are committed or aborted.

    Raises
    ------
    SourceError
        Where it cannot be written there.
    """
    uri = uri_of(target)
    if not is_remote(uri):
        return Draft(uri)
    from thalweg.sources.remote import Upload

    return Upload(uri)


def beside(target: str | os.PathLike[str], ending: str) -> str:
    """Give the name of another file: the first one's and an ending. That of a table lies here.

    Examples
    --------
    >>> beside("s3://bucket/rows.parquet?region=here", ".rejects.ndjson")
    's3://bucket/rows.parquet.rejects.ndjson?region=here'
    """
    uri = uri_of(target)
    if database_of(uri):
        return f"{name_of(uri)}{ending}"
    if not is_remote(uri):
        return f"{uri}{ending}"
    scheme, sign, rest = uri.partition("://")
    place, _ = parted(rest)
    return f"{scheme}{sign}{place}{ending}{rest[len(place) :]}"


def remove(target: str | os.PathLike[str]) -> None:
    """Remove a file, local or remote, if it is there."""
    uri = uri_of(target)
    if not is_remote(uri):
        Path(uri).unlink(missing_ok=True)
        return
    from thalweg.sources.remote import remove as remove_remote

    remove_remote(uri)


@final
class FileSink(Sink):
    """Writes one file, whole or not at all.

    Parameters
    ----------
    target
        The path or URI of the file to make or replace.
    open_writer
        Opens a format's writer: (the file, the rows' schema, an open file) -> writer. What it
        writes is packed on the way where the file's name ends in one of `COMPRESSIONS`.

    Raises
    ------
    SourceError
        Where it cannot be written there.
    """

    def __init__(self, target: str, open_writer: OpenWriter) -> None:
        self._place = Place.local(shown(target))
        self._open = open_writer
        self._draft = draft(target)
        self._file: pa.NativeFile | None = None
        self._writer: Writer | None = None
        self._schema: pa.Schema | None = None

    @property
    def uri(self) -> str:
        """The path or URI, free of secrets."""
        return str(self._place)

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows; the first batch, which may have none, fixes the schema.

        Raises
        ------
        SourceError
            Where the disk is full, the format has no form for a column, or the columns are not
            those of the rows before.
        """
        rows = decoded(rows)
        with clear_of_disk(self.uri):
            if self._writer is None:
                codec = COMPRESSIONS.get(self._place.suffix.lower())
                self._file = pa.output_stream(str(self._draft.path), compression=codec)
                self._writer = self._open(self._place, rows.schema, self._file)
                self._schema = rows.schema
            if not rows.schema.equals(self._schema):
                raise SourceError(
                    f"rows with other columns or types came to {self.uri}",
                    "those of the first rows",
                    "Write them to another file.",
                )
            self._writer.write_batch(rows)

    def commit(self) -> None:
        """Put the file in place.

        Raises
        ------
        SourceError
            Where the disk is full, the place refuses, or no batch came, so that not even the
            columns are known.
        """
        try:
            if self._writer is None or self._file is None:
                raise SourceError(
                    f"no rows came to {self.uri}, so that not even its columns are known",
                    "a row or more",
                    "Is the source empty, or was every row of it set aside? No file was written.",
                )
            with clear_of_disk(self.uri):
                self._writer.close()
                self._file.close()
            self._draft.commit()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Leave what was there, and nothing else."""
        for opened in (self._writer, self._file):
            # Some writers refuse to end what they could not begin; it is thrown away anyhow.
            if opened is not None:
                with contextlib.suppress(OSError, ValueError, pa.ArrowException):
                    opened.close()
        self._draft.abort()


def decoded(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Give dictionaries as what they hold: how a column is held in memory is no part of a file.

    Examples
    --------
    >>> rows = pa.record_batch({"a": pa.array(["x", "x"]).dictionary_encode()})
    >>> decoded(rows).schema.field("a").type
    DataType(string)
    """
    kinds = [pa.types.is_dictionary(kind) for kind in rows.schema.types]
    if not any(kinds):
        return rows
    arrays = [
        array.dictionary_decode() if coded else array
        for array, coded in zip(rows.columns, kinds, strict=True)
    ]
    fields = [field.with_type(array.type) for field, array in zip(rows.schema, arrays, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, rows.schema.metadata))
