"""PostgreSQL as an outlet: rows by COPY in the transaction that says how far they go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final, final

import pyarrow as pa

from thalweg.core.errors import LostConnectionError, SourceError
from thalweg.sources.databases.address import Address
from thalweg.sources.databases.postgresql import (
    PostgreSql,
    answers,
    conninfo,
    ingest,
    literal,
)
from thalweg.sources.databases.postgresql_types import quoted
from thalweg.sources.databases.sql import driver
from thalweg.sources.streams.sql import Dialect, Ledger

PATIENT: Final = {
    "tcp_user_timeout": "30000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
}
"""A server that is gone without a word is known to be after half a minute."""

_SESSION: Final = (
    "SET TIME ZONE 'UTC'",
    "SET standard_conforming_strings = on",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
    # A writer that is gone must not hold the row that its successor waits for.
    "SET lock_timeout = '30s'",
    "SET idle_in_transaction_session_timeout = '60s'",
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
)
_LATER: Final = ("40", "53", "55P03")
"""States that pass: two that wait for each other, a full disk, a lock that is held for long."""

_STAGE: Final = "thalweg_rows"


@final
class PostgreSqlLedger(Ledger):
    """A connection to PostgreSQL.

    Parameters
    ----------
    address
        The table.
    """

    dialect = Dialect("text", "text", "timestamptz", now="clock_timestamp()")

    def __init__(self, address: Address) -> None:
        self._address = replace(address, options=PATIENT | dict(address.options), mode="append")
        self._database = PostgreSql(self._address)
        self._connection: Any = None
        self._cursor: Any = None
        self._staged: bool | None = None

    @contextmanager
    def told(self) -> Iterator[None]:
        """See `Ledger.told`."""
        error_of = driver("adbc_driver_postgresql.dbapi", "PostgreSQL").Error
        with self._database.told(error_of):
            try:
                yield
            except error_of as error:
                if (error.sqlstate or "").startswith(_LATER):
                    raise LostConnectionError(
                        f"{self._address.shown} cannot be written now "
                        f"({self._address.clean(error)})",
                        "a server that has room and time",
                        "It is tried again.",
                    ) from None
                raise

    def connect(self) -> tuple[str, ...]:
        """Connect, and find the schema that the table is in, or would be made in."""
        self.close()
        dbapi = driver("adbc_driver_postgresql.dbapi", "PostgreSQL")
        self._connection = dbapi.connect(conninfo(self._address))
        self._cursor = self._connection.cursor()
        for one in _SESSION:
            self.run(one)
        # Where commits are not waited for, one that was answered may be lost with the server.
        self.ask(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
        self.commit()
        *place, name = self._address.table
        if not place:
            place = [self._schema(name)]
        names = (place[-1], name)
        self._database = PostgreSql(replace(self._address, table=names))
        return names

    def begin(self) -> None:
        """Do nothing: the driver begins transactions itself."""

    def commit(self) -> None:
        """End a transaction for good."""
        self._connection.commit()

    def run(self, statement: str) -> None:
        """Say something."""
        self._cursor.execute(statement)

    def ask(self, question: str) -> Sequence[tuple[Any, ...]]:
        """Ask something small."""
        return answers(self._cursor, question)

    def there(self, names: Sequence[str]) -> bool:
        """Tell whether there is such a table; see `Ledger.there`."""
        kind = PostgreSql(replace(self._address, table=tuple(names))).kind(self._cursor)
        if kind and kind not in "rp":
            raise SourceError(
                f"{self._address.shown} is no table of its own", "a table", "Choose another name."
            )
        return bool(kind)

    def alone(self) -> None:
        """See `Ledger.alone`."""
        self.ask("SELECT count(*) FROM (SELECT pg_advisory_xact_lock(hashtext('thalweg'))) AS one")

    def columns(self) -> list[str]:
        """Name the table's columns."""
        names: list[str] = self._database.described(self._cursor).names
        return names

    def make(self, schema: pa.Schema) -> None:
        """Make the table for rows."""
        place, name = self._database.table
        ingest(self._cursor, _none(schema), [place], name, temporary=False)

    def ready(self, schema: pa.Schema) -> None:
        """See whether the table's types are those that COPY sends.

        Where they are not, rows go through a temporary table, and the database casts them.
        """
        if self._staged is not None:
            return
        ingest(self._cursor, _none(schema), [], _STAGE, temporary=True)
        sent = self._database.types(self._cursor, ["pg_temp", _STAGE])
        table = self._database.types(self._cursor, self._database.table)
        self._staged = any(sent[name] != table[name] for name in schema.names)
        if not self._staged:
            self.run(f"DROP TABLE {quoted(['pg_temp', _STAGE])}")

    def insert(self, rows: Sequence[pa.RecordBatch]) -> None:
        """Copy rows into the table."""
        reader = pa.RecordBatchReader.from_batches(rows[0].schema, rows)
        if self._staged:
            self._cursor.adbc_ingest(_STAGE, reader, mode="append", temporary=True)
            self._database.append(self._cursor, _STAGE, rows[0].schema.names)
            self.run(f"TRUNCATE {quoted(['pg_temp', _STAGE])}")
            return
        place, name = self._database.table
        self._cursor.adbc_ingest(name, reader, mode="append", db_schema_name=place)

    def close(self) -> None:
        """Let go of the connection."""
        for one in (self._cursor, self._connection):
            if one is not None:
                with suppress(Exception):
                    one.close()
        self._connection = self._cursor = None
        self._staged = None

    def quoted(self, names: Sequence[str]) -> str:
        """Write a name with those before it."""
        return quoted(names)

    def literal(self, text: str) -> str:
        """Write a text."""
        return literal(text)

    def _schema(self, name: str) -> str:
        """Find the schema of a table that is named without one."""
        found = self.ask(
            "SELECT coalesce((SELECT nspname::text FROM pg_class c JOIN pg_namespace n "
            f"ON n.oid = relnamespace WHERE relname = {literal(name)} "
            "AND relkind IN ('r','p','m','f','v') AND pg_table_is_visible(c.oid) LIMIT 1), "
            "current_schema()::text)"
        )
        self.commit()
        if found[0][0] is None:
            raise SourceError(
                f"{self._address.shown} names no schema, and this user has none of its own",
                "a schema that exists",
                "Say ?table=SCHEMA.NAME.",
            )
        return str(found[0][0])


def _none(schema: pa.Schema) -> pa.RecordBatchReader:
    """Give no rows of a schema."""
    return pa.RecordBatchReader.from_batches(schema, [])
