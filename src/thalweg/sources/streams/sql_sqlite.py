"""SQLite files as outlets: rows in the transaction that says how far they go."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from thalweg.core.errors import LostConnectionError
from thalweg.sources.databases.address import Address
from thalweg.sources.databases.sqlfiles import require_folder
from thalweg.sources.databases.sqlite import Sqlite, insert, made
from thalweg.sources.databases.sqlite_types import quoted
from thalweg.sources.streams.sql import Dialect, Ledger

_LATER: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)


@final
class SqliteLedger(Ledger):
    """A connection to an SQLite file.

    Parameters
    ----------
    address
        The table.
    """

    dialect = Dialect("TEXT", "TEXT", "TIMESTAMP", lock="")

    def __init__(self, address: Address) -> None:
        self._address = replace(address, mode="append")
        self._database = Sqlite(self._address)
        self._path = Path(address.database)
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def told(self) -> Iterator[None]:
        """See `Ledger.told`."""
        with self._database.told():
            try:
                yield
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF in _LATER:
                    raise LostConnectionError(
                        f"{self._address.shown} cannot be written now ({error})",
                        "a disk with room, and a file that nobody else writes to for so long",
                        "It is tried again.",
                    ) from None
                raise

    def connect(self) -> tuple[str, ...]:
        """Open the file, which is made where there is none."""
        self.close()
        require_folder(self._path, self._address.shown)
        self._connection = self._database.connected(write=True)
        *place, name = self._address.table
        # Names are the same whatever their case.
        return (place[-1] if place else "main", name.lower())

    def begin(self) -> None:
        """Begin a transaction: the only one that writes."""
        self.run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End a transaction for good."""
        self.run("COMMIT")

    def run(self, statement: str) -> None:
        """Say something."""
        self._open.execute(statement)

    def ask(self, question: str) -> Sequence[tuple[Any, ...]]:
        """Ask something small."""
        return self._open.execute(question).fetchall()

    def there(self, names: Sequence[str]) -> bool:
        """Tell whether there is such a table; see `Ledger.there`."""
        table = Sqlite(replace(self._address, table=tuple(names)))
        kind = table.kind(self._open)
        if kind:
            table.require_replaceable(kind)
        return bool(kind)

    def alone(self) -> None:
        """Do nothing: only one transaction writes at a time."""

    def columns(self) -> list[str]:
        """Name the table's columns."""
        return [name for name, _ in self._database.declared(self._open)]

    def make(self, schema: pa.Schema) -> None:
        """Make the table for rows."""
        self.run(made(self._from(), schema))

    def ready(self, schema: pa.Schema) -> None:
        """Do nothing: a column takes values of any type."""

    def insert(self, rows: Sequence[pa.RecordBatch]) -> None:
        """Insert rows."""
        insert(self._open, self._from(), rows)

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def quoted(self, names: Sequence[str]) -> str:
        """Write a name with those before it."""
        return ".".join(map(quoted, names))

    def literal(self, text: str) -> str:
        """Write a text."""
        return "'" + text.replace("'", "''") + "'"

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._connection is not None  # noqa: S101 - `connect` comes first
        return self._connection

    def _from(self) -> str:
        return self.quoted(self._address.table)
