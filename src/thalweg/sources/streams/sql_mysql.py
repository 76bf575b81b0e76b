"""MySQL and MariaDB as outlets: inserts of many rows in the transaction that counts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final, final

import pyarrow as pa

from thalweg.core.errors import LostConnectionError, SourceError
from thalweg.sources.databases.address import Address
from thalweg.sources.databases.mysql import STRICT, MySql, connected
from thalweg.sources.databases.mysql_rows import made
from thalweg.sources.databases.mysql_types import quoted
from thalweg.sources.databases.sql import driver
from thalweg.sources.streams.sql import Dialect, Ledger

TIMEOUT: Final = 120.0
"""After how many seconds without an answer a connection is lost."""

_SESSION: Final = (
    STRICT,
    # A writer that is gone must not hold the row that its successor waits for.
    "SET SESSION wait_timeout = 60",
    "SET SESSION innodb_lock_wait_timeout = 30",
)
_LATER: Final = {
    1021: "its disk is full",
    1040: "it has too many connections",
    1114: "it has no room",
    1205: "another program holds what is to be written",
    1213: "two programs wait for each other",
}
_KEY: Final = "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"


@final
class MySqlLedger(Ledger):
    """A connection to MySQL or MariaDB.

    Parameters
    ----------
    address
        The table.
    """

    dialect = Dialect(
        _KEY,
        "LONGTEXT",
        "DATETIME(6)",
        tail=" ENGINE=InnoDB CHARACTER SET utf8mb4",
        now="CURRENT_TIMESTAMP(6)",
        unless="ON DUPLICATE KEY UPDATE batch = batch",
    )

    def __init__(self, address: Address) -> None:
        self._address = replace(address, mode="append")
        self._names = self._address.table
        self._connection: Any = None
        self._cursor: Any = None

    @contextmanager
    def told(self) -> Iterator[None]:
        """See `Ledger.told`."""
        error_of = driver("pymysql", "MySQL").Error
        with MySql(self._address).told(error_of):
            try:
                yield
            except error_of as error:
                number = error.args[0] if error.args else 0
                if number in _LATER:
                    raise LostConnectionError(
                        f"{self._address.shown} cannot be written now: {_LATER[number]}",
                        "a server that has room and time",
                        "It is tried again.",
                    ) from None
                raise

    def connect(self) -> tuple[str, ...]:
        """Connect, and find the database that the table is in."""
        self.close()
        pymysql = driver("pymysql", "MySQL")
        self._connection = connected(pymysql, self._address, TIMEOUT)
        self._cursor = self._connection.cursor()
        for one in _SESSION:
            self.run(one)
        *place, name = self._address.table
        database = place[-1] if place else self.ask("SELECT DATABASE()")[0][0]
        if not database:
            raise SourceError(
                f"{self._address.shown} names no database", "one", "Say mysql://HOST/DATABASE."
            )
        self._names = (database, name)
        return self._names

    def begin(self) -> None:
        """Begin a transaction."""
        self._connection.begin()

    def commit(self) -> None:
        """End a transaction for good."""
        self._connection.commit()

    def run(self, statement: str) -> None:
        """Say something."""
        self._cursor.execute(statement)

    def ask(self, question: str) -> Sequence[tuple[Any, ...]]:
        """Ask something small."""
        self._cursor.execute(question)
        found: Sequence[tuple[Any, ...]] = self._cursor.fetchall()
        return found

    def there(self, names: Sequence[str]) -> bool:
        """Tell whether there is such a table; see `Ledger.there`."""
        table = self._table(names)
        kind = table.kind(self._cursor)
        if kind:
            table.require_replaceable(self._cursor, kind)
        return bool(kind)

    def alone(self) -> None:
        """Do nothing: a table is made in one step here, or found made."""

    def columns(self) -> list[str]:
        """Name the table's columns."""
        return [field.name for field in self._table(self._names).described(self._cursor)]

    def make(self, schema: pa.Schema) -> None:
        """Make the table for rows, which ends the transaction."""
        statement = made(quoted(self._names), schema)
        self.run(statement.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1))

    def ready(self, schema: pa.Schema) -> None:
        """Do nothing: the server casts what is inserted."""

    def insert(self, rows: Sequence[pa.RecordBatch]) -> None:
        """Insert rows."""
        self._table(self._names).insert(self._cursor, quoted(self._names), rows)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
        self._connection = self._cursor = None

    def quoted(self, names: Sequence[str]) -> str:
        """Write a name with those before it."""
        return quoted(names)

    def literal(self, text: str) -> str:
        """Write a text."""
        return str(self._connection.escape(text))

    def _table(self, names: Sequence[str]) -> MySql:
        return MySql(replace(self._address, table=tuple(names)))
