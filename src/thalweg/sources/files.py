"""What all file formats share: finding the files of a URI, and several files as one source."""

from __future__ import annotations

import bz2
import contextlib
import glob
import gzip
import hashlib
import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, cast, final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import ColumnError, SourceError, near
from thalweg.core.files import Draft, clear_of_disk
from thalweg.sources.base import Batch, Position, Reject, Sink, Source

COMPRESSIONS: Final = (".gz", ".zst", ".bz2")
DAMAGE: Final = (OSError, EOFError, zlib.error)
"""What Python's decompressors raise where a file is cut off or damaged."""

Piece = tuple[pa.RecordBatch, int, Sequence[Reject]]
"""Rows, how many rows of the file they and the rejects account for, and the rejects."""


class Format(ABC):
    """How the files of one format are read. A variant is one file beside this one."""

    suffixes: tuple[str, ...]
    name: str

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
        """End the file."""


@final
class FileSink(Sink):
    """Writes one file, whole or not at all.

    Parameters
    ----------
    path
        The file to make or replace.
    open_writer
        Opens a format's writer: (the path, the rows' schema, where to write) -> writer.

    Raises
    ------
    SourceError
        Where it cannot be written there.
    """

    def __init__(self, path: Path, open_writer: Callable[[Path, pa.Schema, Path], Writer]) -> None:
        self._path = path
        self._open = open_writer
        self._draft = Draft(path)
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
                self._writer = self._open(self._path, rows.schema, self._draft.path)
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
            if self._writer is None:
                raise SourceError(
                    f"no rows came to {self._path}", "a batch, which may have no rows"
                )
            with clear_of_disk(self._path):
                self._writer.close()
            self._draft.commit()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Leave what was there, and nothing else."""
        if self._writer is not None:
            # Some writers refuse to end what they could not begin; it is thrown away anyhow.
            with contextlib.suppress(OSError, ValueError, pa.ArrowException):
                self._writer.close()
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


def find(uri: str, suffixes: Sequence[str]) -> list[Path]:
    """Find the files that a path, a folder or a pattern with ``*`` names.

    Raises
    ------
    SourceError
        Where there are none, with near names.
    """
    try:
        return _find(uri, suffixes)
    except OSError as error:
        raise unreadable(Path(uri), error) from None


def _find(uri: str, suffixes: Sequence[str]) -> list[Path]:
    path = Path(uri)
    if path.is_file():
        return [path]
    if path.is_dir():
        # What begins with . or _ is hidden or, from Spark, a mark or a part not yet whole.
        found = sorted(
            one
            for one in path.rglob("*")
            if suffix_of(one) in suffixes
            and one.is_file()
            and not any(name.startswith((".", "_")) for name in one.relative_to(path).parts)
        )
        if not found:
            raise SourceError(
                f"the folder {uri} holds no file that can be read",
                "files ending in " + " ".join(suffixes),
            )
        return found
    if glob.has_magic(uri):
        matched = sorted(Path(name) for name in glob.iglob(uri, recursive=True))  # noqa: PTH207 - Path.glob knows no absolute pattern
        files = [one for one in matched if one.is_file()]
        if not files:
            raise SourceError(f"no file matches {uri}", "at least one", "Check the pattern.")
        return files
    parent = path.parent
    names = [one.name for one in parent.iterdir()] if parent.is_dir() else []
    mend = near(path.name, names) if parent.is_dir() else f"The folder {parent} does not exist."
    raise SourceError(f"{uri} does not exist", "a file, a folder or a pattern", mend)


def suffix_of(path: Path) -> str:
    """Give a file's suffix in small letters, without that of a compression.

    Examples
    --------
    >>> suffix_of(Path("a.CSV.gz"))
    '.csv'
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def open_bytes(path: Path) -> io.BufferedIOBase:
    """Open a file, unpacking gzip, zstandard and bzip2 on the way.

    Raises
    ------
    SourceError
        Where it cannot be read.
    """
    try:
        match path.suffix.lower():
            case ".gz":
                return cast("io.BufferedIOBase", gzip.open(path, "rb"))
            case ".bz2":
                return cast("io.BufferedIOBase", bz2.open(path, "rb"))
            case ".zst":
                return cast(
                    "io.BufferedIOBase",
                    io.BufferedReader(pa.CompressedInputStream(str(path), "zstd"), 1 << 20),
                )
            case _:
                return path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> SourceError:
    """Say that a file cannot be read, and why, in one line."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, PermissionError):
        return SourceError(
            f"{path} cannot be read ({reason})", "a file that you may read", "Ask its owner."
        )
    return SourceError(
        f"{path} cannot be read ({' '.join(reason.split())[:200]})",
        "a whole file of the format that its name ends in",
        "It may be cut off, damaged or of another format: fetch or export it again.",
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
