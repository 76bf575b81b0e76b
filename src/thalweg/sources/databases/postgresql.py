"""PostgreSQL, read and written by ADBC: binary COPY into Arrow and back."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final, final
from urllib.parse import quote, urlencode

import pyarrow as pa

from thalweg.core.errors import LostConnectionError, SourceError, near
from thalweg.sources.databases.address import Address
from thalweg.sources.databases.postgresql_types import asked, cast, given, quoted
from thalweg.sources.databases.sql import Database, Reading, driver

BYTES: Final = 8 << 20
"""How much the driver reads before it gives a batch."""

_BATCH: Final = "adbc.postgresql.batch_size_hint_bytes"
_SNAPSHOT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_ORDERED: Final = (
    "SET synchronize_seqscans = off",
    "SET max_parallel_workers_per_gather = 0",
    "SET enable_indexscan = off",
    "SET enable_bitmapscan = off",
)
"""A table is read from its first page to its last, every time and whatever columns are wanted."""

_DEFAULTS: Final = {
    "connect_timeout": "10",
    "fallback_application_name": "thalweg",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
_LOST: Final = re.compile(
    r"server closed the connection|connection.*(lost|reset|timed out|refused)|terminating|"
    r"could not (receive|send) data|SSL SYSCALL|no connection to the server|"
    r"PQgetCopyData\(\) failed: FATAL|the database system is",
    re.I | re.S,
)


@final
class PostgreSql(Database):
    """A table or a query of a PostgreSQL server.

    Parameters
    ----------
    address
        Where it is.
    """

    remote = True

    def __init__(self, address: Address) -> None:
        self._address = address

    def schema(self) -> pa.Schema:
        """List the columns."""
        with self._opened() as cursor:
            return pa.schema([given(field) for field in self.described(cursor)])

    def count(self) -> int | None:
        """Count a table's rows; a view's would have to be worked out first."""
        with self._opened() as cursor:
            return self._counted(cursor)

    @contextmanager
    def read(self, schema: pa.Schema) -> Iterator[Reading]:
        """Read rows by COPY, in one transaction that sees one state of the database."""
        with self._opened() as cursor:
            total = self._counted(cursor)
            for way in _ORDERED if total is not None else _ORDERED[:2]:
                cursor.execute(way)
            described = self.described(cursor)
            fields = [described.field(name) for name in schema.names]
            if [given(field) for field in fields] != list(schema):
                raise SourceError(
                    f"{self._address.shown} has columns of other types now",
                    "columns that stay as they are",
                    "Open it again.",
                )
            wanted = ", ".join(map(asked, fields))
            cursor.adbc_statement.set_options(**{_BATCH: str(BYTES)})
            cursor.execute(f"SELECT {wanted} FROM {self._from()}")
            yield Reading(total, self._batches(cursor.fetch_record_batch(), schema))

    def state(self) -> str:
        """Count a table's rows."""
        return str(self.count())

    def prepare(self) -> pa.Schema | None:
        """See whether the table is there, and whether one may be made."""
        with self._opened(write=True) as cursor:
            if self.kind(cursor):
                if self._address.mode == "fail":
                    raise self._address.exists()
                if self._address.mode == "append":
                    return pa.schema([given(field) for field in self.described(cursor)])
            hidden = (*self._address.table[:-1], _hidden())
            cursor.execute(f"CREATE TABLE {quoted(hidden)} ()")  # Rolled back: a question only.
            return None

    def store(self, rows: pa.RecordBatchReader) -> None:
        """Store rows by COPY; a new table takes an old one's place at the very end."""
        *place, name = self._address.table
        with self._opened(write=True) as cursor:
            there, mode = self.kind(cursor), self._address.mode
            if there and mode == "fail":
                raise self._address.exists()
            # Into another table first: an old one can be read until the new one is whole, and the
            # database itself casts what is appended.
            appended = bool(there) and mode == "append"
            hidden = _hidden()
            ingest(cursor, rows, place, hidden, temporary=appended)
            if appended:
                self.append(cursor, hidden, rows.schema.names)
            else:
                if there:
                    cursor.execute(f"DROP TABLE {quoted(self._address.table)}")
                moved = quoted([*place, hidden])
                cursor.execute(f"ALTER TABLE {moved} RENAME TO {quoted([name])}")
            cursor.connection.commit()

    @property
    def table(self) -> tuple[str, ...]:
        """The table's name, with its schema where the address has one."""
        return self._address.table

    def types(self, cursor: Any, table: Sequence[str]) -> dict[str, str]:
        """Name the types of a table's columns, with their sizes."""
        found = answers(
            cursor,
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute WHERE "
            f"attrelid = {literal(quoted(table))}::regclass AND attnum > 0 AND NOT attisdropped",
        )
        return dict(found)

    def append(self, cursor: Any, hidden: str, names: Sequence[str]) -> None:
        """Move rows from a temporary table to the one that is there, as its types."""
        listed = ", ".join(quoted([name]) for name in names)
        types = self.types(cursor, self._address.table)
        cast = ", ".join(f"{quoted([name])}::{types[name]}" for name in names)
        cursor.execute(
            f"INSERT INTO {quoted(self._address.table)} ({listed}) "
            f"SELECT {cast} FROM {quoted(['pg_temp', hidden])}"
        )

    @contextmanager
    def _opened(self, *, write: bool = False) -> Iterator[Any]:
        """Connect: by default to one state of the database, which cannot be changed from here."""
        dbapi = driver("adbc_driver_postgresql.dbapi", "PostgreSQL")
        with self.told(dbapi.Error):
            connection = dbapi.connect(conninfo(self._address))
        try:
            with self.told(dbapi.Error), connection.cursor() as cursor:
                cursor.execute("SET TIME ZONE 'UTC'" if write else _SNAPSHOT)
                yield cursor
        finally:
            # What was not committed is not to be.
            with suppress(Exception):
                connection.close()

    @contextmanager
    def told(self, refusal: type[Exception]) -> Iterator[None]:
        """Say what the driver says in one line."""
        try:
            yield
        except (refusal, OSError, pa.ArrowException) as error:
            raise self._refused(str(error), getattr(error, "sqlstate", None) or "") from None

    def _refused(self, said: str, state: str) -> SourceError:
        """Name what PostgreSQL refuses, and what to do about it."""
        server, words = self._address.server, self._address.clean(_core(said))
        # A server that says what is wrong with a row is not lost.
        if state.startswith(("08", "57P")) or ("ERROR:" not in said and _LOST.search(said)):
            return LostConnectionError(
                f"PostgreSQL at {server} does not answer ({words})",
                "a server that does",
                "Is it running there, and does it accept connections from here?",
            )
        if re.search(r"authentication failed|no password supplied", said):
            return SourceError(
                f"PostgreSQL at {server} refuses the user {self._address.user or 'of this login'!r}"
                f" ({words})",
                "the right password",
                "Give it in PGPASSWORD, in ~/.pgpass or with a service in pg_service.conf.",
            )
        if "could not translate host name" in said:
            return SourceError(f"there is no host {server!r}", "a host's name", "Check the URI.")
        if re.search(r'FATAL: +database ".*" does not exist', said):
            return SourceError(
                f"PostgreSQL at {server} has no database {self._address.database!r}",
                "one of its databases",
                near(self._address.database, self._databases()),
            )
        if self._address.query and (state.startswith(("42", "22", "25", "21")) or "ERROR:" in said):
            return SourceError(
                f"PostgreSQL cannot answer the query ({words})",
                "one SELECT that works",
                "Try it in psql first.",
            )
        return SourceError(
            f"PostgreSQL at {server} refuses {self._address.shown} ({words})",
            "what it allows",
            "Ask whoever runs it, or mend the URI.",
        )

    def _databases(self) -> list[str]:
        """List the server's databases, where it has the usual one to ask in."""
        usual = PostgreSql(replace(self._address, database="postgres"))
        if self._address.database == "postgres":
            return []
        with suppress(SourceError), usual._opened() as cursor:
            names = answers(cursor, "SELECT datname::text FROM pg_database WHERE datallowconn")
            return [name for (name,) in names if not name.startswith("template")]
        return []

    def kind(self, cursor: Any) -> str:
        """Tell what the table is: r, p, m, f (tables), v (a view), or nothing."""
        *place, name = self._address.table
        where = f"nspname = {literal(place[-1])}" if place else "pg_table_is_visible(c.oid)"
        found = answers(
            cursor,
            "SELECT relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            f"WHERE relname = {literal(name)} AND {where} AND relkind IN ('r','p','m','f','v')",
        )
        return found[0][0] if found else ""

    def described(self, cursor: Any) -> pa.Schema:
        """List the columns as the driver sees them."""
        if self._address.table and not self.kind(cursor):
            raise self._address.missing(self._tables(cursor))
        cursor.execute(f"SELECT * FROM {self._from()} LIMIT 0")
        return cursor.fetch_arrow_table().schema

    def _tables(self, cursor: Any) -> list[str]:
        """List the tables and views, those of other schemas with the schema before."""
        found = answers(
            cursor,
            "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN relname::text "
            "ELSE nspname || '.' || relname END FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE relkind IN ('r','p','m','f','v') AND nspname NOT LIKE 'pg\\_%' "
            "AND nspname <> 'information_schema' AND has_schema_privilege(n.oid, 'USAGE') "
            "ORDER BY 1 LIMIT 10000",
        )
        return [name for (name,) in found]

    def _counted(self, cursor: Any) -> int | None:
        """Count a table's rows, in the state that is read; None for views and queries."""
        if self._address.query:
            return None
        kind = self.kind(cursor)
        if not kind:
            raise self._address.missing(self._tables(cursor))
        if kind == "v":
            return None
        return int(answers(cursor, f"SELECT count(*) FROM {self._from()}")[0][0])

    def _from(self) -> str:
        """Name the rows in SQL. A line of its own: the query may end in a comment."""
        if self._address.query:
            return f"({self._address.query}\n) AS asked"
        return quoted(self._address.table)

    def _batches(self, reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Give what the driver reads, as plain types."""
        while True:
            with self.told(driver("adbc_driver_postgresql.dbapi", "PostgreSQL").Error):
                batch = next(reader, None)
            if batch is None:
                return
            yield self._shaped(batch, schema)

    def _shaped(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """Bring columns to their types."""
        columns = []
        for field, column in zip(schema, batch.columns, strict=True):
            try:
                columns.append(cast(column, field.type))
            except pa.ArrowInvalid as error:
                raise SourceError(
                    f"column {field.name!r} of {self._address.shown} holds what {field.type} "
                    f"cannot ({' '.join(str(error).split())[:120]})",
                    "values of its type",
                    "Ask for it as another type in a --query: NAME::text or NAME::float8.",
                ) from None
        return pa.RecordBatch.from_arrays(columns, schema=schema)


def answers(cursor: Any, query: str) -> list[tuple[Any, ...]]:
    """Ask a small question."""
    cursor.execute(query)
    found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def _hidden() -> str:
    """Make up a name for a table that is not whole yet."""
    return f"thalweg_{secrets.token_hex(6)}"


def literal(text: str) -> str:
    """Write a text."""
    return "'" + text.replace("'", "''") + "'"


def _core(said: str) -> str:
    """Take the server's own words out of the driver's."""
    match = re.search(r"(?:ERROR|FATAL): +(.*?)(?:\n|\. SQLSTATE|$)", said)
    return match[1] if match else re.sub(r"^.*?\[libpq\] (Failed to connect: )?", "", said)


def conninfo(address: Address) -> str:
    """Write the URI as libpq reads it; what it leaves open, libpq takes from the environment."""
    defaults = {
        name: value
        for name, value in _DEFAULTS.items()
        if not (name == "connect_timeout" and "PGCONNECT_TIMEOUT" in os.environ)
    }
    options = urlencode(defaults | dict(address.options), quote_via=quote)
    user = quote(address.user, safe="")
    password = f":{quote(address.password, safe='')}" if address.password else ""
    account = f"{user}{password}@" if user or password else ""
    host = quote(address.host, safe=",:")
    host = f"[{host}]" if ":" in host and "," not in host else host
    port = f":{address.port}" if address.port else ""
    return f"postgresql://{account}{host}{port}/{quote(address.database, safe='')}?{options}"


def ingest(
    cursor: Any, rows: pa.RecordBatchReader, place: Sequence[str], name: str, *, temporary: bool
) -> None:
    """Make a table and copy rows into it."""
    # The name of a schema and a temporary table exclude each other.
    where = {"temporary": True} if temporary else {"db_schema_name": place[-1] if place else None}
    cursor.adbc_ingest(name, rows.schema.empty_table(), mode="create", **where)
    for field in rows.schema:
        if pa.types.is_decimal128(field.type):
            size = f"numeric({field.type.precision}, {field.type.scale})"
            table = quoted(["pg_temp", name] if temporary else [*place, name])
            cursor.execute(f"ALTER TABLE {table} ALTER {quoted([field.name])} TYPE {size}")
    cursor.adbc_ingest(name, rows, mode="append", **where)
