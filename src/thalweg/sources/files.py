"""What all file formats share: finding the files of a URI, and several files as one source."""

from __future__ import annotations

import bz2
import glob
import gzip
import hashlib
import io
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, cast, final

import pyarrow as pa

from thalweg.core.errors import ColumnError, SourceError, near
from thalweg.core.files import atomic_file, clear_of_disk
from thalweg.sources.base import Batch, Position, Reject, Sink, Source

COMPRESSIONS: Final = (".gz", ".zst", ".bz2")


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
    ) -> Iterator[tuple[pa.RecordBatch, int, Sequence[Reject]]]:
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
        tuple
            Rows, how many rows of the file they and their rejects account for, and the rejects.
        """

    @abstractmethod
    def length(self, path: Path) -> int | None:
        """Give the number of rows, where the file says so itself."""


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
            self._schema = _common([(path, self._format.schema(path)) for path in self._paths])
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
                if rows.num_rows or rejects:
                    yield Batch(_cast(rows, projected, path), Position(part, done), rejects)

    def length(self) -> int | None:
        """Add up what the files say of themselves."""
        lengths = [self._format.length(path) for path in self._paths]
        return None if None in lengths else sum(cast(list[int], lengths))

    def fingerprint(self) -> str:
        """Hash the files' names, sizes and times of change."""
        digest = hashlib.sha256()
        for path in self._paths:
            facts = path.stat()
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
    """

    def __init__(
        self, path: Path, open_writer: Callable[[Path, pa.Schema, Path], Writer]
    ) -> None:
        self._path = path
        self._open = open_writer
        self._writer: Writer | None = None
        self._stack = contextlib.ExitStack()
        self._building = self._stack.enter_context(atomic_file(path))

    @property
    def uri(self) -> str:
        """The path."""
        return str(self._path)

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows; the first batch fixes the schema."""
        with clear_of_disk(self._path):
            if self._writer is None:
                self._writer = self._open(self._path, rows.schema, self._building)
            self._writer.write_batch(rows)

    def commit(self) -> None:
        """Put the file in place."""
        with clear_of_disk(self._path), self._stack:
            self._close()

    def abort(self) -> None:
        """Leave what was there."""
        with contextlib.suppress(_Aborted), self._stack:
            with contextlib.suppress(OSError):
                self._close()
            raise _Aborted

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


class _Aborted(Exception):  # noqa: N818 - never seen by anybody
    """Makes the atomic file forget what was built."""


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
    path = Path(uri)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(
            one for one in path.rglob("*") if one.is_file() and suffix_of(one) in suffixes
        )
        if not found:
            raise SourceError(
                f"the folder {uri} holds no file that can be read",
                "files ending in " + " ".join(suffixes),
            )
        return found
    if glob.has_magic(uri):
        matched = sorted(Path(name) for name in glob.glob(uri, recursive=True))
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
                return cast(io.BufferedIOBase, gzip.open(path, "rb"))
            case ".bz2":
                return cast(io.BufferedIOBase, bz2.open(path, "rb"))
            case ".zst":
                return cast(
                    io.BufferedIOBase,
                    io.BufferedReader(pa.CompressedInputStream(str(path), "zstd"), 1 << 20),
                )
            case _:
                return path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> SourceError:
    """Say that a file cannot be read, and why, in one line."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
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
                options = "permissive" if _numeric(kind) == _numeric(field.type) else "default"
                field = pa.unify_schemas(
                    [pa.schema([field]), pa.schema([pa.field(name, kind)])],
                    promote_options=options,
                ).field(0)
            except (pa.ArrowTypeError, pa.ArrowInvalid):
                raise SourceError(
                    f"column {name!r} is {kind} in {path}",
                    f"{field.type} as in {first_path}",
                    "Write the column with one type in all files.",
                ) from None
        fields.append(field)
    return pa.schema(fields)


def _numeric(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _cast(rows: pa.RecordBatch, schema: pa.Schema, path: Path) -> pa.RecordBatch:
    """Bring one file's types to those that all files share."""
    if rows.schema.equals(schema):
        return rows
    try:
        arrays = [
            array if array.type.equals(field.type) else array.cast(field.type)
            for array, field in zip(rows.columns, schema, strict=True)
        ]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise unreadable(path, error) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
