"""A growing table of PostgreSQL as a stream: its rows by an ascending key, none passed over.

Keys are handed out before rows are committed, so that a row may come to light behind one with a
larger key. `Frontier` says up to which key nothing can come any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final, final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import SourceError, near
from thalweg.sources.databases.address import Address, parse
from thalweg.sources.databases.postgresql import PostgreSql, answers, conninfo
from thalweg.sources.databases.postgresql_types import asked, cast, given, quoted
from thalweg.sources.databases.sql import driver
from thalweg.sources.streams.base import Format, Position, Records, Stream
from thalweg.sources.streams.payloads import payloads_of
from thalweg.sources.streams.postgresql_frontier import Frontier, Table
from thalweg.sources.streams.sql_postgresql import PATIENT

LARGEST: Final = 16 << 20
"""About how many bytes of rows one record holds."""

_FIRST: Final = 1_024
"""How many rows are read before it is known how large they are."""

_OURS: Final = ("key", "notify", "settle", "partitions", "time")
_SESSION: Final = (
    "SET TIME ZONE 'UTC'",
    "SET standard_conforming_strings = on",
    "SET default_transaction_read_only = on",
    "SET DateStyle = 'ISO'",
    # The key's index gives rows in their order, however many there are behind them.
    "SET enable_seqscan = off",
    "SET max_parallel_workers_per_gather = 0",
)
_SHORT, _LONG = 0.001, 0.02
"""How many seconds lie between two looks at the table: fewer where something came just now."""


@final
class PostgresqlStream(Stream):
    """A table that rows are added to, in the order of a key that grows.

    Each record is an Arrow stream of one row or more, its position the key of its last row. The
    rows must stay as they are, and their keys be given by the insert itself, as ``serial`` and
    ``identity`` columns do: a row that is changed or deleted before it is read is read so, or not.

    Parameters
    ----------
    uri
        As ``postgresql://host/shop?table=events&key=id``. It may say also: ``notify``, a channel to
        be woken up by; ``settle``, for how many seconds a gap in a whole-numbered key is waited
        for, 1 unless told otherwise; ``partitions``, among how many a whole-numbered key is dealt
        out by its remainder; ``time``, a column with the time of each row.
    clock
        Counts seconds.
    wait
        Waits some seconds.

    Raises
    ------
    SourceError
        Where the URI does not say what is to be read.
    """

    def __init__(
        self,
        uri: str,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        address = parse(uri)
        said = {name: address.options.get(name, "") for name in _OURS}
        kept = {name: value for name, value in address.options.items() if name not in _OURS}
        self._address = replace(address, options=PATIENT | kept)
        if not address.table or not said["key"]:
            raise SourceError(
                f"{address.shown} names no {'key' if address.table else 'table'}",
                "a table and the column that grows with every row",
                "Say ?table=NAME&key=COLUMN.",
            )
        self._key, self._time, self._channel = said["key"], said["time"], said["notify"]
        self._count = int(_number(said["partitions"] or "1", "partitions", address, least=1))
        settle = _number(said["settle"] or "1", "settle", address, least=0)
        self._frontier = Frontier(settle, clock)
        self._clock, self._wait = clock, wait
        self._database = PostgreSql(self._address)
        self._connection: Any = None
        self._cursor: Any = None
        self._talk: Any = None
        self._listener: Any = None
        self._table: Table | None = None
        self._fields: pa.Schema | None = None
        self._row_bytes = 0.0

    @property
    def uri(self) -> str:
        """What it was opened with, free of secrets."""
        return self._address.shown

    @property
    def format(self) -> Format:
        """Arrow, many rows to a record."""
        return "arrow"

    def partitions(self) -> Sequence[str]:
        """Name the partitions: the remainders of the key."""
        return [str(one) for one in range(self._count)]

    def fetch(
        self,
        partition: str,
        after: Position | None,
        most: int = 65_536,
        until: Position | None = None,
    ) -> Records | None:
        """Give the next rows, at most so many, as one record; see `Stream.fetch`."""
        with self._asking() as (talk, table):
            found = None
            if self._frontier.safe not in (None, None if after is None else table.literal(after)):
                found = self._read(table, partition, after, most, until)
            if found is None and self._frontier.advance(
                talk, table, after, (most + 1) * self._count
            ):
                found = self._read(table, partition, after, most, until)
            return found

    def newest(self, partition: str) -> Position | None:
        """Give the largest key there is; rows with smaller ones may still come."""
        with self._asking() as (talk, table):
            where = self._of(table, partition)
            found = answers(
                talk,
                f"SELECT {table.position} FROM {table.name} WHERE {where} "
                f"ORDER BY {table.key} DESC LIMIT 1",
            )
            return found[0][0] if found else None

    def wait(self, after: Mapping[str, Position | None], seconds: float) -> None:
        """Return as soon as there is a row to read, or the time is up."""
        end = self._clock() + seconds
        pause = _SHORT
        self._listen()
        while not self._there(after) and (left := end - self._clock()) > 0:
            if self._channel and not self._frontier.waits:
                self._hear(left)
            else:
                self._wait(min(pause, left))
                pause = min(2 * pause, _LONG)

    def lag(self, after: Mapping[str, Position | None]) -> int | None:
        """Estimate how many rows there are: as many as there are keys; None for other keys."""
        with self._asking() as (talk, table):
            if not table.whole:
                return None
            ends = answers(talk, f"SELECT min({table.key}), max({table.key}) FROM {table.name}")
            first, last = ends[0]
            if last is None:
                return 0
            count = self._count

            def before(key: int, partition: str) -> int:
                return (key - int(partition)) // count

            return sum(
                max(0, before(last, name) - before(first - 1 if one is None else int(one), name))
                for name, one in after.items()
            )

    def commit(self, positions: Mapping[str, Position]) -> None:
        """Do nothing: the table keeps its rows."""

    def close(self) -> None:
        """Let go of the connections."""
        for one in (self._cursor, self._connection, self._talk, self._listener):
            if one is not None:
                with suppress(Exception):
                    one.close()
        self._cursor = self._connection = self._talk = self._listener = None
        self._frontier.forget()

    @contextmanager
    def _asking(self) -> Iterator[tuple[Any, Table]]:
        """Connect where need be; what goes wrong ends the connection."""
        dbapi, psycopg = driver("adbc_driver_postgresql.dbapi", "PostgreSQL"), _psycopg()
        told = self._database.told
        try:
            with told(dbapi.Error), told(psycopg.Error):
                if self._connection is None:
                    # Every statement sees the table as it is then, and holds nothing up. Small
                    # questions take a fifth of the time where no Arrow is made of the answers.
                    place = conninfo(self._address)
                    self._connection = dbapi.connect(place, autocommit=True)
                    self._cursor = self._connection.cursor()
                    self._talk = psycopg.connect(place, autocommit=True, prepare_threshold=None)
                    for one in _SESSION:
                        self._cursor.execute(one)
                        self._talk.execute(one)
                    self._describe(self._cursor)
                assert self._table is not None  # noqa: S101 - described when connected
                yield self._talk.cursor(), self._table
        except BaseException:
            self.close()
            raise

    def _describe(self, cursor: Any) -> None:
        """Look at the table, its columns and its key."""
        described = self._database.described(cursor)
        for name in filter(None, (self._key, self._time)):
            if name not in described.names:
                raise SourceError(
                    f"{self.uri} has no column {name!r}",
                    "one of its columns",
                    near(name, described.names),
                )
        self._fields = described
        self._table = Table.found(cursor, self._address, self._key)
        if self._count > 1 and not self._table.whole:
            raise SourceError(
                f"{self.uri} deals out the key {self._key!r}, which is no whole number",
                "a whole-numbered key, or one partition",
                "Leave partitions out.",
            )

    def _read(
        self,
        table: Table,
        partition: str,
        after: Position | None,
        most: int,
        until: Position | None,
    ) -> Records | None:
        """Read rows up to where nothing can come any more."""
        assert self._fields is not None  # noqa: S101 - described when connected
        bounds = [self._of(table, partition), f"{table.key} <= {self._frontier.safe}"]
        bounds += [] if after is None else [f"{table.key} > {table.literal(after)}"]
        bounds += [] if until is None else [f"{table.key} <= {table.literal(until)}"]
        known = LARGEST / self._row_bytes if self._row_bytes else _FIRST
        most = max(1, min(most, int(known)))
        wanted = ", ".join(map(asked, self._fields))
        self._cursor.execute(
            f"SELECT {table.position}, {self._moment()}, {wanted} FROM {table.name} "
            f"WHERE {' AND '.join(bounds)} ORDER BY {table.key} LIMIT {most:d}"
        )
        found = self._cursor.fetch_arrow_table().combine_chunks()
        if not found.num_rows:
            return None
        schema = pa.schema([given(field) for field in self._fields])
        columns = [
            _column(one, field.type) for one, field in zip(found.columns[2:], schema, strict=True)
        ]
        rows = pa.RecordBatch.from_arrays(columns, schema=schema)
        self._row_bytes = max(1.0, rows.nbytes / rows.num_rows)
        last = found.num_rows - 1
        moment = found.column(1)[last].as_py()
        return Records(
            partition,
            payloads_of(rows, "arrow"),
            _column(found.column(0).slice(last), pa.int64() if table.whole else pa.string()),
            np.array([time.time_ns() // 1000 if moment is None else moment], dtype=np.int64),
        )

    def _moment(self) -> str:
        """Ask for the time of a row, in microseconds."""
        if not self._time:
            return "NULL::int8"
        return f"(extract(epoch FROM {quoted([self._time])}) * 1000000)::int8"

    def _of(self, table: Table, partition: str) -> str:
        """Say which rows are of a partition; a remainder may be negative in SQL."""
        if partition not in self.partitions():
            raise SourceError(f"{self.uri} has no partition {partition!r}", "one of its partitions")
        if self._count == 1:
            return "true"
        count = f"{self._count:d}"
        return f"(({table.key} % {count}) + {count}) % {count} = {int(partition):d}"

    def _there(self, after: Mapping[str, Position | None]) -> bool:
        """Tell whether there are rows that may be read."""
        with self._asking() as (talk, table):
            behind = " OR ".join(
                f"({self._of(table, name)}"
                + (")" if one is None else f" AND {table.key} > {table.literal(one)})")
                for name, one in after.items()
            )

            def readable(bound: str) -> bool:
                question = f"SELECT EXISTS (SELECT 1 FROM {table.name} WHERE ({behind}){bound})"
                return bool(answers(talk, question)[0][0])

            if not behind or not readable(""):
                return False
            if self._frontier.safe and readable(f" AND {table.key} <= {self._frontier.safe}"):
                return True
            # One row that may be read is enough to return. What was read by anybody had its turn.
            read = [int(one) for one in after.values() if one is not None and table.whole]
            return self._frontier.advance(
                talk, table, max(read, default=None), 2 * self._count
            ) and readable(f" AND {table.key} <= {self._frontier.safe}")

    def _listen(self) -> None:
        """Listen to the channel."""
        if not self._channel or self._listener is not None:
            return
        psycopg = _psycopg()
        try:
            with self._database.told(psycopg.Error):
                self._listener = psycopg.connect(conninfo(self._address), autocommit=True)
                self._listener.execute(f"LISTEN {quoted([self._channel])}")
        except BaseException:
            self.close()
            raise

    def _hear(self, seconds: float) -> None:
        """Wait for a word on the channel."""
        try:
            with self._database.told(_psycopg().Error):
                for _ in self._listener.notifies(timeout=seconds, stop_after=1):
                    pass
        except BaseException:
            self.close()
            raise


def _psycopg() -> Any:
    """Import what asks small questions, and listens.

    Raises
    ------
    SourceError
        Where it is not installed.
    """
    try:
        import psycopg
    except ImportError:
        raise SourceError(
            "PostgreSQL cannot be read as a stream: psycopg is not installed",
            "psycopg",
            "Run: pip install 'thalweg[stream]'",
        ) from None
    return psycopg


def _column(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """Give a column as one array of its type."""
    return cast(column.combine_chunks(), kind)


def _number(said: str, name: str, address: Address, least: int) -> float:
    """Read a number of the URI."""
    try:
        found = float(said)
    except ValueError:
        found = -1.0
    if not least <= found < 1e6:
        raise SourceError(
            f"{address.shown} says {name}={said}", f"a number of {least} or more", "Check the URI."
        )
    return found
