"""What all databases share: reading a table or a query in pieces, again where a connection drops.

A database is one file beside this one: a `Database` that lists columns, reads rows as Arrow and
takes rows in one transaction. Everything that a user sees of it is here.
"""

from __future__ import annotations

import hashlib
import importlib
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, final

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.core.errors import LostConnectionError, SourceError
from thalweg.core.files import clear_of_disk
from thalweg.sources.base import Batch, Position, Sink, Source
from thalweg.sources.files import require, require_distinct
from thalweg.sources.sinks import decoded

PATIENCE: Final = (0.2, 1.0, 3.0, 10.0)
"""How many seconds to wait before each attempt to connect again; rows that come renew it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Rows that are being read.

    Parameters
    ----------
    total
        How many there are in the same state of the table, where the database can say.
    rows
        The rows, in pieces of any size.
    """

    total: int | None
    rows: Iterator[pa.RecordBatch]


class Database(ABC):
    """One table or query of one database. A kind of database is one file beside this one."""

    remote: bool
    """Whether it is reached by a connection that can be lost."""

    @abstractmethod
    def schema(self) -> pa.Schema:
        """List the columns, of the types that `read` gives."""

    @abstractmethod
    def count(self) -> int | None:
        """Count the rows of a table; None for what the database would have to work out first."""

    @abstractmethod
    def read(self, schema: pa.Schema) -> AbstractContextManager[Reading]:
        """Read rows in an order that stays the same for as long as they do.

        Parameters
        ----------
        schema
            The columns wanted: some of those of `schema`, in the order wanted.

        Raises
        ------
        LostConnectionError
            Where the connection drops, now or while the rows are read.
        SourceError
            Where the database says no.
        """

    @abstractmethod
    def state(self) -> str:
        """Give facts that change when the rows do, as far as they are cheap."""

    @abstractmethod
    def prepare(self) -> pa.Schema | None:
        """Look where rows are to go to, before the work: give the columns of a table to append to.

        Raises
        ------
        SourceError
            Where they cannot go there.
        """

    @abstractmethod
    def store(self, rows: pa.RecordBatchReader) -> None:
        """Store rows as the table, or behind its rows, in one transaction: all of them or none."""


@final
class SqlSource(Source):
    """A table, or the answer to a query.

    Parameters
    ----------
    uri
        What the user wrote, free of secrets.
    database
        Knows how to read there.
    wait
        Waits some seconds.
    """

    def __init__(
        self,
        uri: str,
        database: Database,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._uri = uri
        self._database = database
        self._wait = wait
        self._schema: pa.Schema | None = None

    @property
    def uri(self) -> str:
        """What the user wrote, free of secrets."""
        return self._uri

    @property
    def repeatable(self) -> bool:
        """Whether a second reading is sure to give the same rows: a server promises none."""
        return not self._database.remote

    def schema(self) -> pa.Schema:
        """List the columns."""
        if self._schema is None:
            found = self._database.schema()
            require_distinct(found.names, self._uri)
            self._schema = found
        return self._schema

    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        """Read the rows in order; see `Source.batches`.

        Where a server's connection drops, the rows are asked for again, and those that came
        before are compared with what came then.

        Raises
        ------
        SourceError
            Where rows cannot be read, or are other ones at the second attempt.
        """
        schema = self.schema()
        wanted = list(schema.names if columns is None else columns)
        require(wanted, schema.names, self._uri)
        done = (start or Position()).row
        projected = pa.schema([schema.field(name) for name in wanted])
        for rows in self._rows(projected, done):
            for first in range(0, rows.num_rows, size):
                piece = rows.slice(first, size)
                done += piece.num_rows
                yield Batch(piece, Position(0, done))

    def length(self) -> int | None:
        """Count the rows of a table; a query's are not known before it is done."""
        return self._database.count()

    def fingerprint(self) -> str:
        """Hash the URI, the columns and what the database says of the rows' state."""
        facts = (self._uri, str(self.schema()), self._database.state())
        return hashlib.sha256("\0".join(facts).encode()).hexdigest()

    def _rows(self, schema: pa.Schema, skip: int) -> Iterator[pa.RecordBatch]:
        """Read on from a row, through lost connections.

        Each attempt sees the table as it is then. Where the rows before are the same in both, all
        together are what the last attempt sees.
        """
        seen, total, failures, before, begun = _Seen(), None, 0, 0, False
        while True:
            try:
                with self._database.read(schema) as reading:
                    total, begun = reading.total, True
                    yield from self._fresh(reading.rows, seen, skip)
                break
            except LostConnectionError as error:
                if not begun:  # Never reached: that is the user's to mend.
                    raise
                failures = 1 + (failures if seen.rows == before else 0)
                before = seen.rows
                if failures > len(PATIENCE):
                    raise self._lost(error, seen.rows, total) from None
                self._wait(PATIENCE[failures - 1])
        if total not in (None, seen.rows):
            raise SourceError(
                f"{self._uri} gave {seen.rows:,} rows",
                f"the {total:,} that it counts",
                "Rows came or went while it was read: read it again.",
            )
        if seen.rows < skip:
            raise self._changed(seen.rows, f"it ends, but {skip:,} rows were read of it before")

    def _fresh(
        self, rows: Iterator[pa.RecordBatch], seen: _Seen, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """Give the rows that were not given before, once those that were have proved the same."""
        again = _Seen()
        given = seen.rows
        for batch in rows:
            known = min(batch.num_rows, given - again.rows)
            if known:
                again.add(batch.slice(0, known))
                if again.rows == given and again.digest() != seen.digest():
                    raise self._changed(given, "the rows before are other ones now")
            fresh = batch.slice(known)
            first = max(0, skip - seen.rows)
            seen.add(fresh, hashed=self._database.remote)
            if fresh.num_rows > first:
                yield fresh.slice(first)
        if again.rows < given:
            raise self._changed(given, f"it ends after {again.rows:,} rows now")

    def _changed(self, rows: int, how: str) -> SourceError:
        return SourceError(
            f"{self._uri} changed while it was read: after {rows:,} rows, {how}",
            "rows that stay as they are",
            "Read it again, or read from a copy that nobody writes to.",
        )

    def _lost(self, error: SourceError, rows: int, total: int | None) -> SourceError:
        of = "" if total is None else f" of {total:,}"
        return SourceError(
            f"{self._uri} was lost after {rows:,}{of} rows, and {len(PATIENCE)} more attempts "
            f"failed: {error.given}",
            "a server that answers",
            "Try again when it does.",
        )


@final
class _Seen:
    """The rows that came so far, known by a hash whatever they are cut into."""

    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.sha256()

    def add(self, rows: pa.RecordBatch, *, hashed: bool = True) -> None:
        """Add rows behind the others."""
        import polars as pl

        if hashed and rows.num_rows and rows.num_columns:
            hashes = pl.DataFrame(pl.from_arrow(rows)).hash_rows(seed=0)
            self._hash.update(hashes.to_numpy().tobytes())
        self.rows += rows.num_rows

    def digest(self) -> bytes:
        """Give the hash."""
        return self._hash.digest()


@final
class SqlSink(Sink):
    """A table that is there whole or not at all.

    Rows wait in a temporary file and are stored at the end, in one transaction: nothing is locked
    while they are made, and no connection can be lost meanwhile.

    Parameters
    ----------
    uri
        What the user wrote, free of secrets.
    database
        Knows how to write there.

    Raises
    ------
    SourceError
        Where the rows cannot go there.
    """

    def __init__(self, uri: str, database: Database) -> None:
        self._uri = uri
        self._database = database
        self._fixed = database.prepare()
        self._file: Any = tempfile.TemporaryFile(prefix="thalweg-")  # noqa: SIM115 - closed at the end of the work
        self._writer: pa.RecordBatchFileWriter | None = None
        self._schema: pa.Schema | None = None

    @property
    def uri(self) -> str:
        """What the user wrote, free of secrets."""
        return self._uri

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows; the first batch, which may have none, fixes the schema.

        Raises
        ------
        SourceError
            Where the disk is full, or the columns are not those of the rows before or of the table.
        """
        rows = decoded(rows)
        with clear_of_disk(f"the temporary file for {self._uri}"):
            if self._writer is None:
                require_distinct(rows.schema.names, f"what is written to {self._uri}")
                self._schema = rows.schema
                if self._fixed is not None:
                    self._check(self._fixed, rows.schema)
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                self._writer = pa.ipc.new_stream(self._file, rows.schema, options=options)
            if not rows.schema.equals(self._schema):
                raise SourceError(
                    f"rows with other columns or types came to {self._uri}",
                    "those of the first rows",
                    "Write them to another table.",
                )
            self._writer.write_batch(rows)

    def commit(self) -> None:
        """Store the rows.

        Raises
        ------
        SourceError
            Where the database refuses, or no batch came, so that not even the columns are known.
        """
        try:
            if self._writer is None:
                raise SourceError(
                    f"no rows came to {self._uri}, so that not even its columns are known",
                    "a row or more",
                    "Is the source empty, or was every row of it set aside? Nothing was written.",
                )
            with clear_of_disk(f"the temporary file for {self._uri}"):
                self._writer.close()
                self._file.flush()
            self._file.seek(0)
            with pa.ipc.open_stream(self._file) as rows:
                self._database.store(rows)
        finally:
            self._file.close()

    def abort(self) -> None:
        """Leave what was there, and nothing else."""
        self._file.close()

    def _check(self, table: pa.Schema, rows: pa.Schema) -> None:
        """Check that rows fit behind those of a table."""
        strange = [name for name in rows.names if name not in table.names]
        if strange:
            raise SourceError(
                f"{self._uri} has no column {strange[0]!r} to append to",
                f"a table with the columns {', '.join(rows.names)[:200]}",
                "Write to another table, or replace this one with if_exists=replace.",
            )


def driver(module: str, database: str) -> Any:
    """Import a database's driver.

    Raises
    ------
    SourceError
        Where it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise SourceError(
            f"{database} cannot be reached: {module.partition('.')[0]} is not installed",
            "its driver",
            "Run: pip install 'thalweg[sql]'",
        ) from None


def finite(column: pa.Array) -> pa.Array:
    """Take a date or time at the end of its numbers, which is "infinity", as missing.

    Examples
    --------
    >>> finite(pa.array([1, 2**31 - 1], pa.date32())).null_count
    1
    """
    kind = column.type
    if not (pa.types.is_date32(kind) or pa.types.is_timestamp(kind)):
        return column
    # Databases count from other years than Arrow: what they add to the last number is less.
    number, last = (
        (pa.int32(), 2**31 - 20_000) if kind.bit_width == 32 else (pa.int64(), 2**63 - 10**15)
    )
    values = column.view(number)
    ends = pc.min_max(values).as_py()
    if ends["min"] is None or (ends["min"] > -last and ends["max"] < last):
        return column
    inside = pc.and_(pc.greater(values, -last), pc.less(values, last))
    return pc.if_else(inside, column, pa.scalar(None, kind))
