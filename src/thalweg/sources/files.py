"""What all file formats share: several files as one source."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, cast, final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import ColumnError, SourceError, near
from thalweg.sources.base import Batch, Position, Reject, Source
from thalweg.sources.partitions import CODED, Partitions
from thalweg.sources.paths import unreadable
from thalweg.sources.places import Place
from thalweg.sources.text import mended

Piece = tuple[pa.RecordBatch, int, Sequence[Reject]]
"""Rows, how many rows of the file they and the rejects account for, and the rejects."""


WIDE: Final = 32 << 20
"""From how many bytes on batches are not joined."""


class Format(ABC):
    """How the files of one format are read. A variant is one file beside this one."""

    suffixes: tuple[str, ...]
    name: str
    packed: bool = False
    """Whether a file may be compressed as a whole, as texts may."""

    @abstractmethod
    def schema(self, path: Place) -> pa.Schema:
        """Read the columns of a file."""

    @abstractmethod
    def read(
        self, path: Place, schema: pa.Schema, columns: Sequence[str], size: int, skip: int
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

    def length(self, path: Place) -> int | None:
        """Give the number of rows, where the file says so itself: a text does not."""
        return None

    def part(self, path: Place, row: int) -> str:
        """Name the part of a file, such as a row group, that holds a row, counted from 0."""
        return ""


@final
class FileSource(Source):
    """One or more files of one format, read one after another in sorted order.

    Folders such as ``year=2024`` in their paths are columns behind the files' own. Where a file
    has a column of that name too, the folder's wins, as in Hive, Spark and DuckDB.

    Parameters
    ----------
    uri
        What the user wrote, free of secrets.
    places
        The files.
    reader
        Their format.
    """

    def __init__(self, uri: str, places: Sequence[Place], reader: Format) -> None:
        self._uri = uri
        self._places = tuple(places)
        self._format = reader
        self._partitions = Partitions.of(self._places)
        self._own: pa.Schema | None = None

    @property
    def uri(self) -> str:
        """What the user wrote, free of secrets."""
        return self._uri

    @property
    def folder(self) -> Path | None:
        """The folder that all of the files lie in; None where they are remote."""
        if any(place.files is not None for place in self._places):
            return None
        return Path(os.path.commonpath([Path(place.path).parent for place in self._places]))

    def schema(self) -> pa.Schema:
        """Give the columns that all files share, in the first file's order, then the folders'.

        Texts of which there are few may be dictionaries: in every batch, or in none.
        """
        return pa.schema([*self._files_schema(), *self._partitions.schema])

    def _files_schema(self) -> pa.Schema:
        """Give the columns that are read from the files."""
        if self._own is None:
            keys = set(self._partitions.schema.names)
            schemas = []
            for place in self._places:
                schema = self._format.schema(place)
                require_distinct(schema.names, str(place))
                schemas.append((place, pa.schema([one for one in schema if one.name not in keys])))
            self._own = _common(schemas)
        return self._own

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
        yield from joined(self._read(projected, size, start or Position()), size)

    def _read(self, projected: pa.Schema, size: int, begin: Position) -> Iterator[Batch]:
        """Give batches as the files have them, never of two files."""
        own = self._files_schema()
        names = [name for name in projected.names if name in own.names]
        kept = pa.schema([own.field(name) for name in names])
        for part, place in enumerate(self._places[begin.part :], begin.part):
            done = begin.row if part == begin.part else 0
            pieces: Iterator[tuple[pa.RecordBatch | None, int, Sequence[Reject]]]
            length = None if names else self._format.length(place)
            if length is not None:  # Of the folders' columns alone a file need only be counted.
                pieces = (
                    (None, min(size, length - first), ()) for first in range(done, length, size)
                )
            else:
                pieces = self._format.read(place, own, names or own.names[:1], size, done)
            for rows, count, rejects in pieces:
                done += count
                if count:
                    good = count if rows is None else rows.num_rows
                    filled = None
                    if rows is not None and names:
                        filled = mended(self._cast(rows, kept, place, done - count))
                    whole = self._completed(filled, place, projected, good)
                    yield Batch(whole, Position(part, done), rejects)

    def _cast(
        self, rows: pa.RecordBatch, schema: pa.Schema, place: Place, before: int
    ) -> pa.RecordBatch:
        """Bring one file's types to those that all files share."""
        if rows.schema.equals(schema):
            return rows
        arrays = []
        for array, field in zip(rows.columns, schema, strict=True):
            try:
                arrays.append(array if array.type.equals(field.type) else array.cast(field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                row = before + _first_bad(array, field.type)
                part = self._format.part(place, row)
                raise SourceError(
                    f"column {field.name!r} of {place}, {part}{', ' if part else ''}row {row + 1}, "
                    f"cannot be read as {field.type} ({' '.join(str(error).split())[:120]})",
                    "values of the type that all files share",
                    "Write the column with one type in all files.",
                ) from None
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _completed(
        self, rows: pa.RecordBatch | None, place: Place, projected: pa.Schema, count: int
    ) -> pa.RecordBatch:
        """Put the folders' columns beside some rows of a file."""
        if not self._partitions.schema.names and rows is not None:
            return rows
        own = rows.schema.names if rows is not None else []
        arrays = [
            rows.column(name)
            if rows is not None and name in own
            else self._partitions.column(place, name, count)
            for name in projected.names
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=projected)

    def length(self) -> int | None:
        """Add up what the files say of themselves."""
        lengths = [self._format.length(place) for place in self._places]
        return None if None in lengths else sum(cast("list[int]", lengths))

    def fingerprint(self) -> str:
        """Hash the files' names, sizes and times of change."""
        digest = hashlib.sha256()
        for place in self._places:
            try:
                size, changed = place.facts()
            except OSError as error:
                raise unreadable(place, error) from None
            keys = "".join(f"\0{name}={value}" for name, value in place.keys)
            digest.update(f"{place.name}\0{size}\0{changed}{keys}\n".encode())
        return digest.hexdigest()


def joined(batches: Iterator[Batch], size: int) -> Iterator[Batch]:
    """Join small batches to ones of about ``size`` rows, never more.

    Parameters
    ----------
    batches
        Of one schema, in order.
    size
        The most rows in a batch.

    Yields
    ------
    Batch
        The same rows and rejects, with the position after the last of them.
    """
    held: list[Batch] = []
    rows = wide = 0
    for batch in batches:
        count = batch.rows.num_rows + len(batch.rejects)
        if held and rows + count > size:
            yield _one(held)
            held, rows, wide = [], 0, 0
        held.append(batch)
        rows += count
        wide += batch.rows.nbytes
        if rows >= size or wide > WIDE or not batch.rows.num_rows:
            yield _one(held)
            held, rows, wide = [], 0, 0
    if held:
        yield _one(held)


def _one(batches: Sequence[Batch]) -> Batch:
    """Make one batch of some."""
    if len(batches) == 1:
        return batches[0]
    rows = pa.concat_batches([batch.rows for batch in batches])
    rejects = [reject for batch in batches for reject in batch.rejects]
    return Batch(rows, batches[-1].position, rejects)


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


def _common(schemas: Sequence[tuple[Place, pa.Schema]]) -> pa.Schema:
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
    return pa.schema(
        [
            _field(name, [(path, schema.field(name).type) for path, schema in schemas])
            for name in first.names
        ]
    )


def _field(name: str, kinds: Sequence[tuple[Place, pa.DataType]]) -> pa.Field:
    """Find the type that holds a column of every file."""
    texts = [kind for _, kind in kinds if _is_text(kind)]
    coded = [kind for kind in texts if kind.equals(CODED)]
    if coded and len(texts) + sum(pa.types.is_null(kind) for _, kind in kinds) == len(kinds):
        if 2 * len(coded) >= len(texts):
            return pa.field(name, CODED)
        kinds = [(path, pa.string() if kind.equals(CODED) else kind) for path, kind in kinds]
    first_path, first = kinds[0]
    field = pa.field(name, first)
    for path, kind in kinds[1:]:
        if kind.equals(field.type):
            continue
        try:
            field = pa.unify_schemas(
                [pa.schema([field]), pa.schema([pa.field(name, kind)])],
                promote_options="permissive",
            ).field(0)
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            raise SourceError(
                f"column {name!r} is {_said(kind)} in {path}",
                f"{_said(field.type)} as in {first_path}",
                "Write the column with one type in all files.",
            ) from None
    return field


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind.equals(CODED))


def _said(kind: pa.DataType) -> str:
    """Name a type for people: a text is a string, however it is held."""
    return "string" if kind.equals(CODED) else str(kind)


def _first_bad(array: pa.Array, kind: pa.DataType) -> int:
    """Find the first value that cannot be cast, by halves."""
    first, last = 0, len(array)
    while last - first > 1:
        middle = (first + last) // 2
        try:
            array.slice(first, middle - first).cast(kind)
            first = middle
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            last = middle
    return first
