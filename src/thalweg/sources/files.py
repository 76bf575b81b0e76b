"""What all file formats share: several files as one source, and files that appear whole."""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast, final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import ColumnError, SourceError, near
from thalweg.core.files import Draft, clear_of_disk
from thalweg.sources.base import Batch, Position, Reject, Sink, Source
from thalweg.sources.paths import COMPRESSIONS, unreadable

Piece = tuple[pa.RecordBatch, int, Sequence[Reject]]
"""Rows, how many rows of the file they and the rejects account for, and the rejects."""


class Format(ABC):
    """How the files of one format are read. A variant is one file beside this one."""

    suffixes: tuple[str, ...]
    name: str
    packed: bool = False
    """Whether a file may be compressed as a whole, as texts may."""

    @abstractmethod
    def schema(self, path: Path) -> pa.Schema:
        """Read the columns of a file."""

    @abstractmethod
    def read(
        self, path: Path, schema: pa.Schema, columns: Sequence[str], size: int, skip: int
    ) -> Iterator[Piece]:
        """Read a file's rows.

        Parameters
        ----------
        path
            The file.
        schema
            The types that every file of the source shares.
        columns
            The columns wanted, in the order wanted.
        size
            The most rows in a batch.
        skip
            How many rows, rejected ones as well, were delivered before.

        Yields
        ------
        Piece
            Of no rows only where it brings rejects.
        """

    def length(self, path: Path) -> int | None:
        """Give the number of rows, where the file says so itself: a text does not."""
        return None


@final
class FileSource(Source):
    """One or more files of one format, read one after another in sorted order.

    Parameters
    ----------
    uri
        What the user wrote.
    paths
        The files.
    reader
        Their format.
    """

    def __init__(self, uri: str, paths: Sequence[Path], reader: Format) -> None:
        self._uri = uri
        self._paths = tuple(paths)
        self._format = reader
        self._schema: pa.Schema | None = None

    @property
    def uri(self) -> str:
        """What the user wrote."""
        return self._uri

    def schema(self) -> pa.Schema:
        """Give the columns that all files share, in the first file's order."""
        if self._schema is None:
            schemas = [(path, self._format.schema(path)) for path in self._paths]
            for path, schema in schemas:
                require_distinct(schema.names, str(path))
            self._schema = _common(schemas)
        return self._schema

    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        """Read the files in order; see `Source.batches`."""
        schema = self.schema()
        wanted = list(schema.names if columns is None else columns)
        require(wanted, schema.names, self._uri)
        projected = pa.schema([schema.field(name) for name in wanted])
        begin = start or Position()
        for part, path in enumerate(self._paths[begin.part :], begin.part):
            done = begin.row if part == begin.part else 0
            for rows, count, rejects in self._format.read(path, schema, wanted, size, done):
                done += count
                if count:
                    yield Batch(_cast(rows, projected, path), Position(part, done), rejects)

    def length(self) -> int | None:
        """Add up what the files say of themselves."""
        lengths = [self._format.length(path) for path in self._paths]
        return None if None in lengths else sum(cast("list[int]", lengths))

    def fingerprint(self) -> str:
        """Hash the files' names, sizes and times of change."""
        digest = hashlib.sha256()
        for path in self._paths:
            try:
                facts = path.stat()
            except OSError as error:
                raise unreadable(path, error) from None
            digest.update(f"{path.name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
        return digest.hexdigest()


class Writer(Protocol):
    """What a format's writer must do."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""

    def close(self) -> None:
        """End what was written; the file itself is closed by the sink."""


OpenWriter = Callable[[Path, pa.Schema, pa.NativeFile], Writer]


@final
class FileSink(Sink):
    """Writes one file, whole or not at all.

    Parameters
    ----------
    path
        The file to make or replace.
    open_writer
        Opens a format's writer: (the path, the rows' schema, an open file) -> writer. What it
        writes is packed on the way where the path's name ends in one of `COMPRESSIONS`.

    Raises
    ------
    SourceError
        Where it cannot be written there.
    """

    def __init__(self, path: Path, open_writer: OpenWriter) -> None:
        self._path = path
        self._open = open_writer
        self._draft = Draft(path)
        self._file: pa.NativeFile | None = None
        self._writer: Writer | None = None
        self._schema: pa.Schema | None = None

    @property
    def uri(self) -> str:
        """The path."""
        return str(self._path)

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows; the first batch, which may have none, fixes the schema.

        Raises
        ------
        SourceError
            Where the disk is full, the format has no form for a column, or the columns are not
            those of the rows before.
        """
        with clear_of_disk(self._path):
            if self._writer is None:
                codec = COMPRESSIONS.get(self._path.suffix.lower())
                self._file = pa.output_stream(str(self._draft.path), compression=codec)
                self._writer = self._open(self._path, rows.schema, self._file)
                self._schema = rows.schema
            if not rows.schema.equals(self._schema):
                raise SourceError(
                    f"rows with other columns or types came to {self._path}",
                    "those of the first rows",
                    "Write them to another file.",
                )
            self._writer.write_batch(rows)

    def commit(self) -> None:
        """Put the file in place.

        Raises
        ------
        SourceError
            Where the disk is full, or no batch came, so that not even the columns are known.
        """
        try:
            if self._writer is None or self._file is None:
                raise SourceError(
                    f"no rows came to {self._path}, so that not even its columns are known",
                    "a row or more",
                    "Is the source empty, or was every row of it set aside? No file was written.",
                )
            with clear_of_disk(self._path):
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


def deal(
    rows: pa.RecordBatch,
    first: int,
    places: Sequence[int],
    rejects: Sequence[Reject],
    size: int,
    skip: int,
) -> Iterator[Piece]:
    """Deal out a block of rows in batches, each with the rejects that stand before its last row.

    Parameters
    ----------
    rows
        The block's good rows.
    first
        How many rows of the file, good or not, stand before the block.
    places
        Ascending: where in the file each of the block's rejects stands, from 0.
    rejects
        The rejects.
    size
        The most rows in a batch.
    skip
        How many rows of the file, good or not, were delivered before.

    Yields
    ------
    Piece
        In the order of the file, so that the counts add up to the same places for any ``size``.
    """
    total = rows.num_rows + len(rejects)
    bad = np.asarray(places, dtype=np.int64)
    good = np.delete(np.arange(first, first + total), bad - first)
    done, told = max(first, skip), int(np.searchsorted(bad, skip))
    for start in range(int(np.searchsorted(good, skip)), rows.num_rows, size):
        piece = rows.slice(start, size)
        end = int(good[start + piece.num_rows - 1]) + 1
        upto = int(np.searchsorted(bad, end))
        yield piece, end - done, rejects[told:upto]
        done, told = end, upto
    if told < len(rejects):
        yield rows.slice(0, 0), first + total - done, rejects[told:]


def require_distinct(names: Sequence[str], uri: str) -> None:
    """Check that no two columns share a name, and that there are any.

    Raises
    ------
    SourceError
        Naming the first that is there twice.
    """
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise SourceError(
            f"{uri} has several columns named {twice[0]!r}", "names that differ", "Rename them."
        )
    if not names:
        raise SourceError(f"{uri} has no columns", "a table", "Is it the right one?")


def require(wanted: Sequence[str], available: Sequence[str], uri: str) -> None:
    """Check that columns are there.

    Raises
    ------
    ColumnError
        With near names.
    """
    for name in wanted:
        if name not in available:
            raise ColumnError(
                f"{uri} has no column {name!r}", "a column of it", near(name, available)
            )


def _common(schemas: Sequence[tuple[Path, pa.Schema]]) -> pa.Schema:
    """Find the types that hold every file's columns."""
    first_path, first = schemas[0]
    for path, schema in schemas[1:]:
        missing = [name for name in first.names if name not in schema.names]
        extra = [name for name in schema.names if name not in first.names]
        if missing or extra:
            said = [f"lacks {', '.join(missing)}"] if missing else []
            said += [f"also has {', '.join(extra)}"] if extra else []
            raise SourceError(
                f"{path} {' and '.join(said)}",
                f"the columns of {first_path}",
                "Read files with other columns apart.",
            )
    fields = []
    for name in first.names:
        types = [schema.field(name).type for _, schema in schemas]
        field = pa.field(name, types[0])
        for (path, _), kind in zip(schemas, types, strict=True):
            try:
                field = pa.unify_schemas(
                    [pa.schema([field]), pa.schema([pa.field(name, kind)])],
                    promote_options="permissive",
                ).field(0)
            except (pa.ArrowTypeError, pa.ArrowInvalid):
                raise SourceError(
                    f"column {name!r} is {kind} in {path}",
                    f"{field.type} as in {first_path}",
                    "Write the column with one type in all files.",
                ) from None
        fields.append(field)
    return pa.schema(fields)


def _cast(rows: pa.RecordBatch, schema: pa.Schema, path: Path) -> pa.RecordBatch:
    """Bring one file's types to those that all files share."""
    if rows.schema.equals(schema):
        return rows
    arrays = []
    for array, field in zip(rows.columns, schema, strict=True):
        try:
            arrays.append(array if array.type.equals(field.type) else array.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SourceError(
                f"column {field.name!r} of {path} cannot be read as {field.type} "
                f"({' '.join(str(error).split())[:120]})",
                "values of the type that all files share",
                "Write the column with one type in all files.",
            ) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
