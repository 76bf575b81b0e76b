"""SQLite files, by Python's own module: a column has the type it was declared with."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final
from urllib.parse import quote

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources.databases.address import Address
from thalweg.sources.databases.sql import Database, Reading
from thalweg.sources.databases.sqlfiles import file_state, require_file, require_folder
from thalweg.sources.databases.sqlite_types import (
    declaration,
    declared_type,
    held,
    moments,
    quoted,
    stored,
)

_ROWS: Final = 8_192
_PATIENCE: Final = 30.0


@final
class Sqlite(Database):
    """A table or a query of an SQLite file.

    Parameters
    ----------
    address
        Where it is.
    """

    remote = False

    def __init__(self, address: Address) -> None:
        self._address = address
        self._path = Path(address.database)

    def schema(self) -> pa.Schema:
        """List the columns."""
        with self._opened() as connection:
            return self._described(connection)

    def count(self) -> int | None:
        """Count a table's rows; a view's would have to be worked out first."""
        with self._opened() as connection:
            if self.kind(connection) != "table":
                return None
            return int(connection.execute(f"SELECT count(*) FROM {self._from()}").fetchone()[0])

    @contextmanager
    def read(self, schema: pa.Schema) -> Iterator[Reading]:
        """Read rows; a query is asked as it stands, so that its order stays."""
        with self._opened() as connection:
            query = self._address.query
            if not query:
                wanted = ", ".join(map(quoted, schema.names))
                # Without an index the order is the table's own, whatever columns are wanted.
                way = " NOT INDEXED" if self.kind(connection) == "table" else ""
                query = f"SELECT {wanted} FROM {self._from()}{way}"
            cursor = connection.execute(query)
            names = [column[0] for column in cursor.description]
            places = [names.index(name) for name in schema.names]
            yield Reading(None, self._batches(cursor, schema, places))

    def state(self) -> str:
        """Give the sizes and times of change of the file and its log."""
        return file_state(self._path, ("", "-wal", "-journal"))

    def prepare(self) -> pa.Schema | None:
        """See whether the table is there, and whether one may be made."""
        if not self._path.exists():
            require_folder(self._path, self._address.shown)
            return None
        with self._opened(write=True) as connection:
            connection.execute("BEGIN IMMEDIATE")  # Refused where the file cannot be written.
            kind = self.kind(connection)
            if not kind:
                return None
            self.require_replaceable(kind)
            return self._described(connection) if self._address.mode == "append" else None

    def store(self, rows: pa.RecordBatchReader) -> None:
        """Insert rows in one transaction, which makes or replaces the table as well."""
        fresh = not self._path.exists()
        try:
            with self._opened(write=True) as connection:
                connection.execute("BEGIN IMMEDIATE")
                kind = self.kind(connection)
                if kind:
                    self.require_replaceable(kind)
                if not (kind and self._address.mode == "append"):
                    connection.execute(f"DROP TABLE IF EXISTS {self._from()}")
                    connection.execute(made(self._from(), rows.schema))
                insert(connection, self._from(), rows)
                connection.execute("COMMIT")
        except BaseException:
            if fresh:
                self._path.unlink(missing_ok=True)
            raise

    def require_replaceable(self, kind: str) -> None:
        """Check that what is there may be replaced or added to."""
        if self._address.mode == "fail":
            raise self._address.exists()
        if kind != "table":
            raise SourceError(f"{self._address.shown} is a view", "a table", "Choose another name.")

    @contextmanager
    def _opened(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Open the file."""
        if not write:
            require_file(self._path, self._address.shown)
        with self.told():
            connection = self.connected(write=write)
        try:
            with self.told():
                yield connection
        finally:
            connection.close()

    def connected(self, *, write: bool) -> sqlite3.Connection:
        """Open the file, for whoever closes it."""
        place = f"file:{quote(str(self._path))}?mode={'rwc' if write else 'ro'}"
        # Rows may be read, and the reading ended, by a thread that did not begin it.
        return sqlite3.connect(
            place, uri=True, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say what SQLite says in one line."""
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning) as error:
            words = self._address.clean(error)
            if "locked" in words:
                raise SourceError(
                    f"{self._address.shown} is locked by another program",
                    "a file that nobody writes to for so long",
                    "Try again when it is done.",
                ) from None
            if self._address.query and isinstance(error, sqlite3.OperationalError):
                raise SourceError(
                    f"SQLite cannot answer the query ({words})",
                    "one SELECT that works",
                    "Try it in the sqlite3 program first.",
                ) from None
            raise SourceError(
                f"{self._address.shown} cannot be used ({words})",
                "an SQLite file that you may use",
                "Is it the right file?",
            ) from None

    def kind(self, connection: sqlite3.Connection) -> str:
        """Tell what the table is: table, view, or nothing."""
        *place, name = self._address.table or ("",)
        master = f"{quoted(place[-1])}.sqlite_master" if place else "sqlite_master"
        question = f"SELECT type FROM {master} WHERE type IN ('table', 'view') AND lower(name) = ?"
        found = connection.execute(question, [name.lower()]).fetchone()
        return str(found[0]) if found else ""

    def _described(self, connection: sqlite3.Connection) -> pa.Schema:
        """List the columns with the types that they are declared with, or else with what they hold.

        Columns of dates and of no known type are looked at as a whole: SQLite holds anything
        anywhere.
        """
        if self._address.table and not self.kind(connection):
            question = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            raise self._address.missing(sorted(name for (name,) in connection.execute(question)))
        declared = self.declared(connection)
        looked = [name for name, said in declared if declared_type(said) is None]
        found = held(connection, self._from(), looked)
        return pa.schema(
            [pa.field(name, declared_type(said) or found[name](said)) for name, said in declared]
        )

    def declared(self, connection: sqlite3.Connection) -> list[tuple[str, str]]:
        """List the columns' names and declared types; an expression has none."""
        if self._address.table:
            *place, name = self._address.table
            schema = f"{quoted(place[-1])}." if place else ""
            listed = connection.execute(f"PRAGMA {schema}table_xinfo({quoted(name)})")
            return [(row[1], row[2]) for row in listed if row[6] != 1]
        view = f"thalweg_{secrets.token_hex(6)}"
        names = _names(connection, self._address.query)
        # Two columns of one name would be told apart in a view; they are refused later.
        if len(set(names)) < len(names):
            return [(name, "TEXT") for name in names]
        connection.execute(f"CREATE TEMP VIEW {view} AS {self._address.query}")
        asked = connection.execute(f"PRAGMA temp.table_info({view})").fetchall()
        connection.execute(f"DROP VIEW {view}")
        return [(name, row[2]) for name, row in zip(names, asked, strict=True)]

    def _from(self) -> str:
        """Name the rows in SQL. A line of its own: the query may end in a comment."""
        if self._address.query:
            return f"({self._address.query}\n)"
        return ".".join(map(quoted, self._address.table))

    def _batches(
        self, cursor: sqlite3.Cursor, schema: pa.Schema, places: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        """Give rows as Arrow."""
        done = 0
        while True:
            with self.told():
                rows = cursor.fetchmany(_ROWS)
            if not rows:
                return
            cells = list(zip(*rows, strict=True))
            columns = [
                self._column(cells[place], field, done)
                for place, field in zip(places, schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            done += len(rows)

    def _column(self, cells: Sequence[object], field: pa.Field, done: int) -> pa.Array:
        """Make a column of cells that ought to be of its type."""
        kind = field.type
        try:
            if pa.types.is_boolean(kind):
                return pa.array(cells, pa.int8()).cast(kind)
            if pa.types.is_temporal(kind):
                return moments(cells, kind)
            return pa.array(cells, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise SourceError(
                f"column {field.name!r} of {self._address.shown} holds, in rows {done + 1:,} to "
                f"{done + len(cells):,}, what {kind} cannot "
                f"({' '.join(str(error).split())[:120]})",
                "values of the type that it is declared with",
                "Ask for it as another type in a --query: CAST(NAME AS TEXT) AS NAME.",
            ) from None


def made(table: str, schema: pa.Schema) -> str:
    """Write the statement that makes a table for rows.

    Examples
    --------
    >>> made('"t"', pa.schema([("a", pa.int8()), ("b", pa.string())]))
    'CREATE TABLE "t" ("a" INTEGER, "b" TEXT)'
    """
    columns = ", ".join(f"{quoted(field.name)} {declaration(field)}" for field in schema)
    return f"CREATE TABLE {table} ({columns})"


def insert(connection: sqlite3.Connection, table: str, rows: Iterable[pa.RecordBatch]) -> None:
    """Insert rows."""
    for batch in rows:
        names = ", ".join(map(quoted, batch.schema.names))
        marks = ", ".join("?" * batch.num_columns)
        for start in range(0, batch.num_rows, _ROWS):
            piece = batch.slice(start, _ROWS)
            cells = (stored(column).to_pylist() for column in piece.columns)
            into = f"INSERT INTO {table} ({names}) VALUES ({marks})"
            connection.executemany(into, zip(*cells, strict=True))


def _names(connection: sqlite3.Connection, query: str) -> list[str]:
    """Name a query's columns."""
    cursor = connection.execute(query)
    found = [str(column[0]) for column in cursor.description or ()]
    cursor.close()
    return found
