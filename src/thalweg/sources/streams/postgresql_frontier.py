"""Up to which key of a growing table nothing can come any more.

A key is handed out while a row is inserted, and the row comes to light when its transaction is
committed: in any order. But whoever inserts into a table holds a lock on it from before the key is
handed out until after the row can be seen. So let M be the largest key that can be seen, and then
look who holds such a lock: once all of those are done, every row with a key up to M is there or
never will be. Those too are waited for who have written anything else in this database, as they
may have been handed a key before. What is left is a key that was handed out to somebody who has
written nothing yet: gaps in whole-numbered keys are waited for some time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from thalweg.core.errors import SourceError
from thalweg.sources.databases.address import Address
from thalweg.sources.databases.postgresql import PostgreSql, answers, literal
from thalweg.sources.databases.postgresql_types import quoted
from thalweg.sources.streams.base import Position

_WHOLE: Final = frozenset({"smallint", "integer", "bigint"})

_WRITERS: Final = """
SELECT DISTINCT virtualtransaction::text FROM pg_locks
LEFT JOIN pg_stat_activity USING (pid)
WHERE granted AND (datname = current_database() OR datname IS NULL)
AND (locktype = 'transactionid' AND mode = 'ExclusiveLock' OR locktype = 'relation'
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareUpdateExclusiveLock', 'ShareLock')
AND relation IN (WITH RECURSIVE parts AS (SELECT {number}::oid AS part UNION ALL
SELECT inhrelid FROM pg_inherits JOIN parts ON inhparent = part) SELECT part FROM parts))
"""
"""Who may have been handed a key. One that is prepared to be committed has its name still."""


@final
@dataclass(frozen=True, slots=True)
class Table:
    """A table with a key.

    Parameters
    ----------
    name
        The table in SQL, with a short name for it: what is asked for may be named as the key is.
    key
        The key's column of it.
    kind
        The key's type.
    number
        The database's number for it.
    """

    name: str
    key: str
    kind: str
    number: int

    @classmethod
    def found(cls, cursor: Any, address: Address, key: str) -> Table:
        """Look at a table.

        Raises
        ------
        SourceError
            Where it is not one whose rows can be read one after the other.
        """
        database = PostgreSql(address)
        kind = database.kind(cursor)
        if kind not in ("r", "p"):
            raise SourceError(
                f"{address.shown} is no table of its own", "a table", "Name the table behind it."
            )
        if answers(cursor, "SELECT pg_is_in_recovery()")[0][0]:
            raise SourceError(
                f"{address.server} is a copy of another server, and cannot say who writes",
                "the server that is written to",
                "Name that one.",
            )
        name = quoted(address.table)
        place = f"{literal(name)}::regclass"
        # A table in parts can have no unique index without the columns that it is parted by.
        single = "" if kind == "p" else "indnkeyatts = 1 AND attnum = indkey[0] AND"
        unique = answers(
            cursor,
            "SELECT count(*) FROM pg_index i JOIN pg_attribute a ON attrelid = indrelid AND "
            f"attnum = ANY(indkey::int2[]) WHERE indrelid = {place} AND {single} indisunique "
            f"AND indisvalid AND indpred IS NULL AND attnotnull AND attname = {literal(key)}",
        )
        if not unique[0][0]:
            raise SourceError(
                f"the key {key!r} of {address.shown} may be missing, or be twice the same",
                "a column with NOT NULL and a unique index of its own",
                f"ALTER TABLE {name} ADD UNIQUE ({quoted([key])}), or choose another column.",
            )
        number = int(answers(cursor, f"SELECT {place}::oid::int8")[0][0])
        return cls(
            f"{name} AS t", quoted(["t", key]), database.types(cursor, address.table)[key], number
        )

    @property
    def whole(self) -> bool:
        """Whether the key is a whole number."""
        return self.kind in _WHOLE

    @property
    def position(self) -> str:
        """Ask for a row's position: the key, as a text where it is no whole number."""
        return f"{self.key}::{'int8' if self.whole else 'text'}"

    def literal(self, position: Position) -> str:
        """Write a position as the key's type."""
        if self.whole:
            return f"{int(position):d}"
        return f"{literal(str(position))}::{self.kind}"


@final
class Frontier:
    """Finds the key up to which nothing can come any more.

    Parameters
    ----------
    settle
        For how many seconds a gap is waited for.
    clock
        Counts seconds.
    """

    def __init__(self, settle: float, clock: Callable[[], float]) -> None:
        self._settle, self._clock = settle, clock
        self.safe: str | None = None
        self._next: str | None = None
        self._since = 0.0
        self._writers: set[str] = set()

    @property
    def waits(self) -> bool:
        """Whether there are rows whose turn has not come yet."""
        return self._next is not None

    def forget(self) -> None:
        """Forget who was waited for: after a lost connection, all begins anew."""
        self._next = None

    def advance(self, cursor: Any, table: Table, after: Position | None, most: int) -> bool:
        """Look whether more may be read now.

        Parameters
        ----------
        cursor
            Of a connection of which every statement sees the table as it is then.
        table
            The table.
        after, most
            Behind which key rows are wanted, and how many: gaps are looked for among these.
        """
        if self._next is None:
            if not self._begin(cursor, table):
                return False
        elif self._writers:
            self._writers &= self._locked(cursor, table)
        if self._writers:
            return False
        if not table.whole or self._clock() - self._since >= self._settle:
            self.safe, self._next = self._next, None
            return True
        whole = self._unbroken(cursor, table, after, most)
        if whole is None or whole == self.safe:
            return False
        self.safe = whole
        if whole == self._next:
            self._next = None
        return True

    def _begin(self, cursor: Any, table: Table) -> bool:
        """Note the largest key, and then who may have been handed a smaller one."""
        above = "" if self.safe is None else f"WHERE {table.key} > {self.safe}"
        found = answers(
            cursor,
            f"SELECT {table.position} FROM {table.name} {above} ORDER BY {table.key} DESC LIMIT 1",
        )
        if not found:
            return False
        self._next, self._since = table.literal(found[0][0]), self._clock()
        self._writers = self._locked(cursor, table)
        return True

    def _locked(self, cursor: Any, table: Table) -> set[str]:
        found = answers(cursor, _WRITERS.format(number=table.number))
        return {one for (one,) in found}

    def _unbroken(self, cursor: Any, table: Table, after: Position | None, most: int) -> str | None:
        """Find how far the keys go without a gap."""
        before = int(after or 0)
        if self.safe is not None:
            before = max(before, int(self.safe))
        found = answers(
            cursor,
            f"SELECT max(number) FROM (SELECT {table.key}::int8 AS number, "
            f"{before:d} + row_number() OVER (ORDER BY {table.key}) AS due "
            f"FROM {table.name} WHERE {table.key} > {before:d} AND {table.key} <= {self._next} "
            f"ORDER BY {table.key} LIMIT {most:d}) AS listed "
            "WHERE number = due",
        )
        last = found[0][0]
        return None if last is None else str(last)
