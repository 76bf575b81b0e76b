"""Tables of databases as outlets: rows, positions and a fence are stored in one transaction."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, final

import pyarrow as pa

from thalweg.core.errors import LostConnectionError, SourceError, near
from thalweg.sources.databases.address import Address, parse
from thalweg.sources.files import require_distinct
from thalweg.sources.sinks import decoded
from thalweg.sources.streams.base import FencedError, Outlet, Position, Writer

PROGRESS: Final = "thalweg_progress"
"""The table that says how far each writer has come, beside the table that it writes to."""

INTERVAL: Final = 0.2


@final
@dataclass(frozen=True, slots=True)
class Dialect:
    """How a database says what all of them can do.

    Parameters
    ----------
    key, text, moment
        Types: of a text in a key, of a long text, of a point in time.
    tail
        What ends the statement that makes a table.
    now
        The time.
    lock
        What a question ends with so that nobody else changes the row meanwhile.
    unless
        What an insert ends with so that a row that is there stays as it is.
    """

    key: str
    text: str
    moment: str
    tail: str = ""
    now: str = "CURRENT_TIMESTAMP"
    lock: str = " FOR UPDATE"
    unless: str = "ON CONFLICT DO NOTHING"


class Ledger(ABC):
    """One connection to one database. A kind of database is one file beside this one.

    All but `told` and `close` raise what the driver raises; `told` makes it plain.
    """

    dialect: Dialect

    @abstractmethod
    def told(self) -> AbstractContextManager[None]:
        """Say what the driver says in one line: `LostConnectionError` where another try may do."""

    @abstractmethod
    def connect(self) -> tuple[str, ...]:
        """Connect anew, and give the table's full name; a connection before is let go of."""

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction, where nobody does so by itself."""

    @abstractmethod
    def commit(self) -> None:
        """End a transaction for good."""

    @abstractmethod
    def run(self, statement: str) -> None:
        """Say something."""

    @abstractmethod
    def ask(self, question: str) -> Sequence[tuple[Any, ...]]:
        """Ask something small."""

    @abstractmethod
    def there(self, names: Sequence[str]) -> bool:
        """Tell whether there is a table of this full name.

        Raises
        ------
        SourceError
            Where it is no table that rows can be stored in, all of them or none.
        """

    @abstractmethod
    def alone(self) -> None:
        """Let nobody else who asks for this make a table until the transaction's end."""

    @abstractmethod
    def columns(self) -> list[str]:
        """Name the table's columns."""

    @abstractmethod
    def make(self, schema: pa.Schema) -> None:
        """Make the table for rows; this may end the transaction."""

    @abstractmethod
    def ready(self, schema: pa.Schema) -> None:
        """Do what need be done once for a connection before rows are inserted."""

    @abstractmethod
    def insert(self, rows: Sequence[pa.RecordBatch]) -> None:
        """Insert rows of one schema behind the others."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection and of what was not committed, whatever state it is in."""

    @abstractmethod
    def quoted(self, names: Sequence[str]) -> str:
        """Write a name with those before it."""

    @abstractmethod
    def literal(self, text: str) -> str:
        """Write a text."""


def _postgresql(address: Address) -> Ledger:
    from thalweg.sources.streams.sql_postgresql import PostgreSqlLedger

    return PostgreSqlLedger(address)


def _mysql(address: Address) -> Ledger:
    from thalweg.sources.streams.sql_mysql import MySqlLedger

    return MySqlLedger(address)


def _sqlite(address: Address) -> Ledger:
    from thalweg.sources.streams.sql_sqlite import SqliteLedger

    return SqliteLedger(address)


_LEDGERS: Final[dict[str, Callable[[Address], Ledger]]] = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "sqlite": _sqlite,
}


@final
class SqlOutlet(Outlet):
    """A table that grows, each row of it stored exactly once.

    Parameters
    ----------
    uri
        The database and its table, as ``postgresql://host/shop?table=scores``.
    writer
        Who writes.

    Raises
    ------
    SourceError
        Where the URI names no table, or a database that cannot do it.
    """

    def __init__(self, uri: str, writer: Writer) -> None:
        self._address = parse(uri)
        shown = self._address.shown
        if self._address.query or self._address.mode == "replace":
            raise SourceError(
                f"{shown} {'asks a query' if self._address.query else 'replaces a table'}",
                "a table that a stream's rows are added to",
                "Say ?table=NAME, and leave if_exists out.",
            )
        if self._address.scheme not in _LEDGERS:
            raise SourceError(
                f"{shown} cannot take a stream's rows",
                f"one of {', '.join(_LEDGERS)}",
                "Write to one of them, or to a folder of Parquet files.",
            )
        if "\0" in "".join((writer.pipeline, writer.lane, *self._address.table)):
            raise SourceError("a name with a zero byte in it", "a name that databases can hold")
        self._writer = writer
        self._ledger = _LEDGERS[self._address.scheme](self._address)
        self._table: tuple[str, ...] = ()
        self._fence = 0
        self._refused: SourceError | None = self._unready()
        self._last = 0
        self._batch = 0
        self._checked = False
        self._schema: pa.Schema | None = None
        self._rows: list[pa.RecordBatch] = []

    @property
    def uri(self) -> str:
        """What it was opened with, free of secrets."""
        return self._address.shown

    @property
    def guarantee(self) -> str:
        """Say in one sentence how often a row arrives, and what makes sure of it."""
        return (
            "each row exactly once: rows, positions and a fence are stored in one transaction of "
            f"the database (its table {PROGRESS}), which a process that was replaced cannot commit"
        )

    @property
    def interval(self) -> float:
        """How many seconds rows had better wait: a transaction costs the same for many."""
        return INTERVAL

    def resume(self, fence: int) -> int:
        """Take the fence, and give the last batch that is stored; see `Outlet.resume`."""
        self._forget()
        ledger = self._ledger
        try:
            with ledger.told():
                self._connect()
                stored, found = self._progress()
                if found > fence:
                    raise self._fenced(found, fence)
                ledger.run(f"UPDATE {self._named()} SET fence = {fence:d} WHERE {self._mine()}")
                ledger.commit()
        except BaseException:
            self._forget()
            raise
        self._fence, self._last, self._refused = fence, stored, None
        return stored

    def write(self, batch: int, rows: pa.RecordBatch) -> None:
        """Keep the rows until they are flushed.

        Raises
        ------
        SourceError
            Where their columns are not those of the rows before.
        """
        self._batch = batch
        if not rows.num_rows:
            return
        rows = decoded(rows)
        if self._schema is None:
            require_distinct(rows.schema.names, f"what is written to {self.uri}")
            self._schema = rows.schema
        if not rows.schema.equals(self._schema):
            raise SourceError(
                f"rows with other columns or types came to {self.uri}",
                "those of the first rows",
                "Write them to another table.",
            )
        self._rows.append(rows)

    def flush(self, positions: Mapping[str, Position]) -> None:
        """Store what was written, and how far it goes; see `Outlet.flush`."""
        if self._refused is not None:
            raise self._refused
        try:
            with self._ledger.told():
                self._begin()
                if self._rows:
                    self._ready()
                    self._ledger.insert(self._rows)
                self._ledger.run(
                    f"UPDATE {self._named()} SET batch = {max(self._batch, self._last):d}, "
                    f"positions = {self._ledger.literal(json.dumps(dict(positions)))}, "
                    f"at = {self._ledger.dialect.now} WHERE {self._mine()}"
                )
                self._ledger.commit()
        except BaseException as error:
            self._forget()
            # Whoever was taken over from stays so.
            self._refused = error if isinstance(error, FencedError) else self._unready()
            raise
        self._last = max(self._batch, self._last)
        self._rows = []

    def close(self) -> None:
        """Let go of the connection, and of what was not flushed."""
        self._forget()

    def _forget(self) -> None:
        """Let go of all that is not in the database."""
        self._ledger.close()
        self._refused = self._unready()
        self._batch, self._rows = 0, []

    def _unready(self) -> SourceError:
        return LostConnectionError(
            f"{self.uri} was written to without a connection", "to resume before"
        )

    def _connect(self) -> None:
        """Connect, and see that there is a row that says how far this writer has come."""
        ledger = self._ledger
        self._table, self._checked = ledger.connect(), False
        ledger.begin()
        place = (*self._table[:-1], PROGRESS)
        if not ledger.there(place):
            ledger.alone()
            kind = ledger.dialect
            ledger.run(
                f"CREATE TABLE IF NOT EXISTS {self._named()} (pipeline {kind.key} NOT NULL, "
                f"lane {kind.key} NOT NULL, target {kind.key} NOT NULL, batch BIGINT NOT NULL, "
                f"fence BIGINT NOT NULL, positions {kind.text} NOT NULL, "
                f"at {kind.moment} NOT NULL, PRIMARY KEY (pipeline, lane, target)){kind.tail}"
            )
        ledger.there(self._table)
        names = (self._writer.pipeline, self._writer.lane, self._target())
        listed = ", ".join(map(ledger.literal, names))
        ledger.run(
            f"INSERT INTO {self._named()} (pipeline, lane, target, batch, fence, positions, at) "
            f"VALUES ({listed}, 0, 0, '{{}}', {ledger.dialect.now}) {ledger.dialect.unless}"
        )
        ledger.commit()

    def _progress(self) -> tuple[int, int]:
        """Give the last batch and the fence, which stay so until the transaction's end."""
        self._ledger.begin()
        found = self._ledger.ask(
            f"SELECT batch, fence FROM {self._named()} WHERE {self._mine()}"
            f"{self._ledger.dialect.lock}"
        )
        if not found:
            raise SourceError(
                f"{self.uri} no longer knows how far {self._writer.name} has come",
                f"its row in {PROGRESS}",
                "Was the table emptied, or an older copy of it put in its place?",
            )
        return int(found[0][0]), int(found[0][1])

    def _begin(self) -> None:
        """Begin to store, unless another process does."""
        try:
            stored, found = self._progress()
        except SourceError:
            raise
        except Exception:
            # Servers and what lies between hang up on the idle: nothing was begun, nothing is lost.
            self._connect()
            stored, found = self._progress()
        if found != self._fence:
            raise self._fenced(found, self._fence)
        if stored != self._last:
            raise SourceError(
                f"{self.uri} holds the batches of {self._writer.name} up to {stored}",
                f"up to {self._last}, which were stored there",
                "Was it set back to an older state?",
            )

    def _ready(self) -> None:
        """Make the table, or see whether it has the columns: once for a connection."""
        if self._checked:
            return
        ledger, schema = self._ledger, self._schema
        if not ledger.there(self._table):
            ledger.alone()
            # Another lane may have made it while this one waited.
            if not ledger.there(self._table):
                ledger.make(schema)
            ledger.commit()
            self._begin()
        known = ledger.columns()
        strange = [name for name in self._names() if name not in known]
        if strange:
            raise SourceError(
                f"{self.uri} has no column {strange[0]!r} for the stream's rows",
                f"a table with the columns {', '.join(self._names())[:200]}",
                f"{near(strange[0], known)} Add it, or write to another table.",
            )
        ledger.ready(schema)
        self._checked = True

    def _names(self) -> list[str]:
        return [] if self._schema is None else list(self._schema.names)

    def _named(self) -> str:
        """Name the table of progress."""
        return self._ledger.quoted((*self._table[:-1], PROGRESS))

    def _target(self) -> str:
        """Name the table in the table of progress: a writer may write to several."""
        return ".".join(self._table)

    def _mine(self) -> str:
        """Say which row of the table of progress is this writer's."""
        pairs = (
            ("pipeline", self._writer.pipeline),
            ("lane", self._writer.lane),
            ("target", self._target()),
        )
        return " AND ".join(f"{name} = {self._ledger.literal(value)}" for name, value in pairs)

    def _fenced(self, found: int, mine: int) -> FencedError:
        return FencedError(
            f"another process has taken over {self._writer.name} in {self.uri}: its fence is "
            f"{found}, this one's is {mine}",
            "one process",
            "Nothing was written: this one may end.",
        )
