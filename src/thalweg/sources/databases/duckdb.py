"""DuckDB files: Arrow in and out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources.databases.address import Address
from thalweg.sources.databases.sql import Database, Reading, driver, finite
from thalweg.sources.databases.sqlfiles import file_state, require_file, require_folder

_ROWS: Final = 65_536
_MEMORY: Final = "1GB"
"""DuckDB would keep what it has read in most of the machine's memory."""

_TEXTS: Final = (
    *("BIGNUM", "BIT", "ENUM", "GEOMETRY", "INTERVAL", "TIME WITH TIME ZONE", "UNION", "VARINT"),
    '"NULL"',
)
_NUMBERS: Final = {"HUGEINT": "DOUBLE", "UHUGEINT": "DOUBLE"}


@final
class DuckDb(Database):
    """A table or a query of a DuckDB file.

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
            return self._shape(connection, None)[1]

    def count(self) -> int | None:
        """Count a table's rows; a view's would have to be worked out first."""
        with self._opened() as connection:
            if self._kind(connection) != "BASE TABLE":
                return None
            # A result that is not read to its end would block what comes after it.
            found = connection.execute(f"SELECT count(*) FROM {self._from()}").fetchall()
            return int(found[0][0])

    @contextmanager
    def read(self, schema: pa.Schema) -> Iterator[Reading]:
        """Read rows in the order in which they were inserted, or that the query asks for."""
        with self._opened() as connection:
            query, _ = self._shape(connection, schema.names)
            reader = connection.sql(query).to_arrow_reader(_ROWS)
            yield Reading(None, self._batches(reader, schema))

    def state(self) -> str:
        """Give the sizes and times of change of the file and its log."""
        return file_state(self._path, ("", ".wal"))

    def prepare(self) -> pa.Schema | None:
        """See whether the table is there, and whether one may be made."""
        if not self._path.exists():
            driver("duckdb", "DuckDB")
            require_folder(self._path, self._address.shown)
            return None
        with self._opened(write=True) as connection:
            kind = self._kind(connection)
            if not kind:
                return None
            self._require_replaceable(kind)
            return self._shape(connection, None)[1] if self._address.mode == "append" else None

    def store(self, rows: pa.RecordBatchReader) -> None:
        """Insert rows in one transaction, which makes or replaces the table as well."""
        fresh = not self._path.exists()
        try:
            with self._opened(write=True) as connection:
                connection.begin()
                kind = self._kind(connection)
                if kind:
                    self._require_replaceable(kind)
                connection.register("thalweg_rows", rows)
                if kind and self._address.mode == "append":
                    names = ", ".join(_quoted([name]) for name in rows.schema.names)
                    into = f"INSERT INTO {self._from()} ({names})"
                else:
                    connection.execute(f"DROP TABLE IF EXISTS {self._from()}")
                    into = f"CREATE TABLE {self._from()} AS"
                connection.execute(f"{into} SELECT * FROM thalweg_rows")
                connection.commit()
        except BaseException:
            if fresh:
                self._path.unlink(missing_ok=True)
                self._path.with_name(f"{self._path.name}.wal").unlink(missing_ok=True)
            raise

    def _require_replaceable(self, kind: str) -> None:
        """Check that what is there may be replaced or added to."""
        if self._address.mode == "fail":
            raise self._address.exists()
        if kind != "BASE TABLE":
            raise SourceError(f"{self._address.shown} is a view", "a table", "Choose another name.")

    @contextmanager
    def _opened(self, *, write: bool = False) -> Iterator[Any]:
        """Open the file."""
        duckdb = driver("duckdb", "DuckDB")
        if not write:
            require_file(self._path, self._address.shown)
        with self._told(duckdb.Error):
            connection = self._connected(duckdb, write=write)
        try:
            with self._told(duckdb.Error):
                connection.execute("SET TimeZone = 'UTC'")
                yield connection
        finally:
            with suppress(duckdb.Error):
                connection.close()

    def _connected(self, duckdb: Any, *, write: bool) -> Any:
        try:
            connection = duckdb.connect(str(self._path), read_only=not write)
            connection.execute(f"SET memory_limit = '{_MEMORY}'")
        except duckdb.ConnectionException:
            # Who calls has it open for writing: one process can open it in one way only.
            connection = duckdb.connect(str(self._path))
        return connection

    @contextmanager
    def _told(self, refusal: type[Exception]) -> Iterator[None]:
        """Say what DuckDB says in one line."""
        try:
            yield
        except (refusal, pa.ArrowException) as error:
            words = self._address.clean(str(error).partition("\n\nLINE")[0])
            if "lock on file" in words:
                raise SourceError(
                    f"{self._address.shown} is open in another program ({words})",
                    "a file that nobody has open for writing",
                    "Close it there first.",
                ) from None
            if self._address.query:
                raise SourceError(
                    f"DuckDB cannot answer the query ({words})",
                    "one SELECT that works",
                    "Try it in the duckdb program first.",
                ) from None
            raise SourceError(
                f"{self._address.shown} cannot be used ({words})",
                "a DuckDB file that you may use",
                "Is it the right file, of a version that this DuckDB reads?",
            ) from None

    def _kind(self, connection: Any) -> str:
        """Tell what the table is: BASE TABLE, VIEW, or nothing."""
        *place, name = self._address.table or ("",)
        question = (
            "SELECT table_type FROM information_schema.tables "
            "WHERE lower(table_name) = lower(?) AND lower(table_schema) = lower(?) "
            "AND table_catalog = current_database()"
        )
        found = connection.execute(question, [name, place[-1] if place else "main"]).fetchall()
        return str(found[0][0]) if found else ""

    def _shape(self, connection: Any, wanted: Sequence[str] | None) -> tuple[str, pa.Schema]:
        """Write the question for columns, and give the types of its answer."""
        if self._address.table and not self._kind(connection):
            question = (
                "SELECT CASE table_schema WHEN 'main' THEN table_name "
                "ELSE table_schema || '.' || table_name END FROM information_schema.tables"
            )
            found = connection.execute(question).fetchall()
            raise self._address.missing(sorted(name for (name,) in found))
        told = connection.execute(f"DESCRIBE SELECT * FROM {self._from()}").fetchall()
        kinds = {name: kind for name, kind, *_ in told}
        if self._address.query:
            # DESCRIBE renames columns of one name; the query itself does not.
            names = connection.sql(self._address.query).columns
            if len(set(names)) < len(names):
                return "", pa.schema([(name, pa.string()) for name in names])
        asked = ", ".join(_asked(name, kinds[name]) for name in wanted or kinds)
        query = f"SELECT {asked} FROM {self._from()}"
        schema = connection.sql(f"{query} LIMIT 0").to_arrow_reader(1).schema
        return query, pa.schema([pa.field(one.name, one.type) for one in schema])

    def _from(self) -> str:
        """Name the rows in SQL. A line of its own: the query may end in a comment."""
        if self._address.query:
            return f"({self._address.query}\n) AS asked"
        return _quoted(self._address.table)

    def _batches(self, reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Give rows as plain types."""
        while True:
            with self._told(driver("duckdb", "DuckDB").Error):
                batch = next(reader, None)
                if batch is None:
                    return
                columns = [
                    finite(column if column.type == field.type else column.cast(field.type))
                    for column, field in zip(batch.columns, schema, strict=True)
                ]
            if batch.num_rows:
                yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _asked(name: str, kind: str) -> str:
    """Ask for a column; as text where Arrow has no plain type for it."""
    quoted = _quoted([name])
    if kind.startswith(_TEXTS):
        return f"CAST({quoted} AS VARCHAR{'[]' if kind.endswith('[]') else ''}) AS {quoted}"
    wanted = _NUMBERS.get(kind)
    return f"CAST({quoted} AS {wanted}) AS {quoted}" if wanted else quoted


def _quoted(names: Sequence[str]) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
