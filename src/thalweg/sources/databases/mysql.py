"""MySQL and MariaDB: read by ConnectorX's binary protocol, written by inserts of many rows."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final, final
from urllib.parse import quote

import pyarrow as pa

from thalweg.core.errors import LostConnectionError, SourceError, near
from thalweg.sources.databases.address import Address
from thalweg.sources.databases.mysql_process import ReaderError, reading
from thalweg.sources.databases.mysql_rows import made, statements
from thalweg.sources.databases.mysql_types import asked, given, quoted
from thalweg.sources.databases.sql import Database, Reading, driver

_OPTIONS: Final = ("unix_socket", "option_file", "connect_timeout")
_BEFORE: Final = (
    "SET time_zone = '+00:00'",
    "SET SESSION TRANSACTION READ ONLY",
    "SET net_write_timeout = 86400",
)
"""A reader may take its time, and cannot change anything."""

STRICT: Final = "SET sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00'"
_LOST: Final = frozenset({1053, 1317, 1927, 2002, 2003, 2006, 2013, 2055})
_CUT: Final = re.compile(
    r"IO ?error|IoError|CodecError|DriverError|reset by peer|Broken pipe|timed out|refused|"
    r"ERROR (1053|1317|1927|2006|2013)|it ended with",
    re.I,
)


@final
class MySql(Database):
    """A table or a query of a MySQL or MariaDB server.

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
        """Read rows by a statement that sees one state of the table.

        A query is asked as it stands, so that its order stays; columns are then left out here.
        """
        driver("connectorx", "MySQL")
        with self._opened() as cursor:
            fields = {field.name: field for field in self.described(cursor)}
            kind = self.kind(cursor)
            count = self._counted(cursor)
            uri = _uri(self._address, cursor.connection)
        if [given(fields[name]) for name in schema.names] != list(schema):
            raise SourceError(
                f"{self._address.shown} has columns of other types now",
                "columns that stay as they are",
                "Open it again.",
            )
        if self._address.query:
            query = self._address.query
        else:
            wanted = ", ".join(asked(fields[name]) for name in schema.names)
            # Without an index the order is the table's own, whatever columns are wanted.
            way = " USE INDEX ()" if kind == "BASE TABLE" else ""
            query = f"SELECT {wanted} FROM {self._from()}{way}"
        with reading(uri, query, _BEFORE) as batches:
            yield Reading(None, self._batches(batches, schema, count))

    def state(self) -> str:
        """Count a table's rows."""
        return str(self.count())

    def prepare(self) -> pa.Schema | None:
        """See whether the table is there, and whether one may be made."""
        with self._opened(write=True) as cursor:
            kind = self.kind(cursor)
            if kind:
                self.require_replaceable(cursor, kind)
                if self._address.mode == "append":
                    return pa.schema([given(field) for field in self.described(cursor)])
            hidden = self._beside(_hidden())
            cursor.execute(f"CREATE TABLE {hidden} (one INT)")
            cursor.execute(f"DROP TABLE {hidden}")
            return None

    def store(self, rows: pa.RecordBatchReader) -> None:
        """Insert rows; a new table is hidden until it is whole, then takes its name in one step."""
        with self._opened(write=True) as cursor:
            kind = self.kind(cursor)
            if kind:
                self.require_replaceable(cursor, kind)
            if kind and self._address.mode == "append":
                self.insert(cursor, self._from(), rows)
                cursor.connection.commit()
                return
            hidden, aside = self._beside(_hidden()), self._beside(_hidden())
            try:
                cursor.execute(made(hidden, rows.schema))
                self.insert(cursor, hidden, rows)
                cursor.connection.commit()
                moved = f"{hidden} TO {self._from()}"
                cursor.execute(
                    f"RENAME TABLE {f'{self._from()} TO {aside}, ' if kind else ''}{moved}"
                )
            except BaseException:
                with suppress(Exception):
                    cursor.execute(f"DROP TABLE IF EXISTS {hidden}")
                raise
            cursor.execute(f"DROP TABLE IF EXISTS {aside}")

    def insert(self, cursor: Any, table: str, rows: Iterable[pa.RecordBatch]) -> None:
        """Insert rows, and count what went in."""
        cursor.execute("SELECT @@max_allowed_packet")
        most = min(int(cursor.fetchone()[0]) // 2, 4 << 20)
        for batch in rows:
            stored = sum(cursor.execute(one) for one in statements(table, batch, most))
            if stored != batch.num_rows:
                raise SourceError(
                    f"{self._address.shown} took {stored:,} of {batch.num_rows:,} rows",
                    "all of them",
                    "Does a trigger set rows aside? Nothing was kept.",
                )

    def require_replaceable(self, cursor: Any, kind: str) -> None:
        """Check that what is there may be replaced or added to, whole or not at all."""
        if self._address.mode == "fail":
            raise self._address.exists()
        if kind != "BASE TABLE":
            raise SourceError(f"{self._address.shown} is a view", "a table", "Choose another name.")
        cursor.execute(
            "SELECT engine, transactions FROM information_schema.tables JOIN "
            f"information_schema.engines USING (engine) WHERE {self._where()}",
        )
        engine, transactions = cursor.fetchone() or ("no engine", "NO")
        if self._address.mode == "append" and transactions != "YES":
            raise SourceError(
                f"{self._address.shown} is kept by {engine}, which cannot undo half of the work",
                "a table of InnoDB",
                "Write a new table, or change its engine.",
            )

    @contextmanager
    def _opened(self, *, write: bool = False) -> Iterator[Any]:
        """Connect."""
        pymysql = driver("pymysql", "MySQL")
        with self.told(pymysql.Error):
            connection = connected(pymysql, self._address)
        try:
            with self.told(pymysql.Error), connection.cursor() as cursor:
                for one in (STRICT,) if write else _BEFORE:
                    cursor.execute(one)
                yield cursor
        finally:
            with suppress(Exception):
                connection.close()

    @contextmanager
    def told(self, refusal: type[Exception]) -> Iterator[None]:
        """Say what the driver says in one line."""
        try:
            yield
        except refusal as error:
            number, words = (*error.args, "", "")[:2]
            raise self._refused(number, str(words)) from None
        except (ReaderError, RuntimeError) as error:
            found = re.search(r"ERROR (\d+) \(\w+\): (.*?)[ })]*$", str(error))
            number = int(found[1]) if found else 2013 if _CUT.search(str(error)) else 0
            raise self._refused(number, found[2] if found else str(error)) from None

    def _refused(self, number: object, said: str) -> SourceError:
        """Name what the server refuses, and what to do about it."""
        server, words = self._address.server, self._address.clean(said)
        if "getaddrinfo" in said or "Name or service not known" in said:
            return SourceError(f"there is no host {server!r}", "a host's name", "Check the URI.")
        if number in _LOST:
            return LostConnectionError(
                f"MySQL at {server} does not answer ({words})",
                "a server that does",
                "Is it running there, and does it accept connections from here?",
            )
        if number in (1045, 1698):
            return SourceError(
                f"MySQL at {server} refuses the user {self._address.user or 'of this login'!r}",
                "the right password",
                "Give it in MYSQL_PWD or in ~/.my.cnf under [client].",
            )
        if number in (1049, 1044):
            return SourceError(
                f"MySQL at {server} has no database {self._address.database!r} for this user",
                "one of its databases",
                near(self._address.database, self._databases()),
            )
        if number == 1060:
            return SourceError(
                f"the query gives several columns of one name ({words})",
                "names that differ",
                "Rename one with AS.",
            )
        if self._address.query:
            retrieve = "Could not retrieve" in said or "not implemented" in said
            return SourceError(
                f"MySQL cannot answer the query ({words})",
                "one SELECT of columns with plain types" if retrieve else "one SELECT that works",
                "Ask for it as CAST(NAME AS CHAR) AS NAME, or NULLIF(NAME, 0) for a date of zeros."
                if retrieve
                else "Try it in the mysql client first.",
            )
        return SourceError(
            f"MySQL at {server} refuses {self._address.shown} ({words})",
            "what it allows",
            "Ask whoever runs it, or mend the URI.",
        )

    def _databases(self) -> list[str]:
        """List the server's databases."""
        some = MySql(replace(self._address, database=""))
        with suppress(SourceError), some._opened() as cursor:
            cursor.execute("SHOW DATABASES")
            return [name for (name,) in cursor.fetchall()]
        return []

    def _where(self) -> str:
        """Name the table for a question about it."""
        *place, name = self._address.table
        database = _literal(place[-1]) if place else "DATABASE()"
        return f"table_schema = {database} AND table_name = {_literal(name)}"

    def kind(self, cursor: Any) -> str:
        """Tell what the table is: BASE TABLE, VIEW ..., or nothing."""
        if self._address.query:
            return ""
        cursor.execute(f"SELECT table_type FROM information_schema.tables WHERE {self._where()}")
        found = cursor.fetchone()
        return str(found[0]) if found else ""

    def described(self, cursor: Any) -> Sequence[Any]:
        """List the columns as the protocol tells them."""
        if self._address.table and not self.kind(cursor):
            cursor.execute(
                "SELECT IF(table_schema = DATABASE(), table_name, "
                "CONCAT(table_schema, '.', table_name)) FROM information_schema.tables WHERE "
                "table_schema NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')"
            )
            raise self._address.missing(sorted(name for (name,) in cursor.fetchall()))
        cursor.execute(f"SELECT * FROM {self._from()} LIMIT 0")
        # The public description leaves out whether a number has a sign and a text is bytes.
        fields: Sequence[Any] = cursor._result.fields
        return fields

    def _counted(self, cursor: Any) -> int | None:
        """Count a table's rows; None for views and queries."""
        if self.kind(cursor) != "BASE TABLE":
            return None
        cursor.execute(f"SELECT count(*) FROM {self._from()}")
        return int(cursor.fetchone()[0])

    def _from(self) -> str:
        """Name the rows in SQL. A line of its own: the query may end in a comment."""
        if self._address.query:
            return f"({self._address.query}\n) AS asked"
        return quoted(self._address.table)

    def _beside(self, name: str) -> str:
        return quoted([*self._address.table[:-1], name])

    def _batches(
        self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, count: int | None
    ) -> Iterator[pa.RecordBatch]:
        """Give what the driver reads, of the types promised; then check how much came."""
        done = 0
        while True:
            with self.told(driver("pymysql", "MySQL").Error):
                batch = next(batches, None)
            if batch is None:
                break
            done += batch.num_rows
            yield self._shaped(batch.select(schema.names), schema)
        if count is not None and done < count:
            # Rows may have been deleted since they were counted: then fewer are there now too.
            with self._opened() as cursor:
                if (now := self._counted(cursor)) is None or now > done:
                    raise SourceError(
                        f"{self._address.shown} gave {done:,} rows", f"the {count:,} that it has"
                    )

    def _shaped(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """Bring columns to their types."""
        columns = []
        for field, column in zip(schema, batch.columns, strict=True):
            try:
                columns.append(column if column.type == field.type else column.cast(field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise SourceError(
                    f"column {field.name!r} of {self._address.shown} holds what {field.type} "
                    f"cannot ({' '.join(str(error).split())[:120]})",
                    "values of its type",
                    "Ask for it as another type in a --query, with CAST(NAME AS CHAR) AS NAME.",
                ) from None
        return pa.RecordBatch.from_arrays(columns, schema=schema)


def connected(pymysql: Any, address: Address, timeout: float | None = None) -> Any:
    """Connect; what the URI leaves open comes from the environment and the option file.

    An answer may take as many seconds as the timeout says, or for ever.
    """
    for name in address.options:
        if name not in _OPTIONS:
            raise SourceError(
                f"{address.shown} sets {name!r}", "an option of MySQL", near(name, _OPTIONS)
            )
    return pymysql.connect(
        host=address.host or None,
        port=address.port or 0,
        user=address.user or None,
        password=address.password or os.environ.get("MYSQL_PWD") or "",
        database=address.database or None,
        unix_socket=address.options.get("unix_socket"),
        read_default_file=address.options.get("option_file", "~/.my.cnf"),
        connect_timeout=int(address.options.get("connect_timeout", "10")),
        read_timeout=timeout,
        write_timeout=timeout,
        charset="utf8mb4",
        autocommit=False,
    )


def _uri(address: Address, connection: Any) -> str:
    """Write for ConnectorX what was found out by connecting."""
    user = quote(_text(connection.user), safe="")
    password = quote(_text(connection.password), safe="")
    socket = connection.unix_socket
    options = f"socket={quote(socket, safe='')}" if socket else "prefer_socket=false"
    host = "localhost" if socket else connection.host
    database = quote(_text(connection.db or address.database), safe="")
    return f"mysql://{user}:{password}@{host}:{connection.port}/{database}?{options}"


def _text(given: str | bytes | None) -> str:
    return given.decode("latin1") if isinstance(given, bytes) else given or ""


def _hidden() -> str:
    """Make up a name for a table that is not whole yet."""
    return f"thalweg_{secrets.token_hex(6)}"


def _literal(text: str) -> str:
    """Write a text."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
