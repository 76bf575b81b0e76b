"""Every database keeps the contract, as source and as sink, and gives what Parquet gives."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import servers
from thalweg.core.errors import ColumnError, SourceError
from thalweg.core.progress import Silent
from thalweg.data.profile import profile
from thalweg.sources import DATABASES, open_sink, open_source
from thalweg.sources import check as suite

ROWS = pa.record_batch(
    {
        "name": ["a", None, 'with "quotes", it\'s\\ ; comma', "two\nlines", "ü;|", ""],
        "count": pa.array([1, 2, None, -4, 5, 2**53 + 1]),
        "share": [0.5, None, -1.25, 3.5, 1e-7, 2.25],
        "select": pa.array(["", "b", "", "c", "d", None]),
    }
)
KINDS = sorted(DATABASES)
UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of an empty database of the kind that a test is run for."""
    kind = request.param
    if kind == "mysql":
        # Each reading starts a process: half a second that `test_mysql` spends.
        patch = request.getfixturevalue("monkeypatch")
        patch.setattr("thalweg.sources.databases.mysql.reading", in_process)
    if kind in ("sqlite", "duckdb"):
        return f"{kind}:///{tmp_path}/rows.{kind}"
    server: servers.Server = request.getfixturevalue(
        {"mysql": "mariadb", "postgresql": "postgresql"}[kind]
    )
    return server.fresh()


@contextmanager
def in_process(uri: str, query: str, before: Sequence[str]) -> Iterator[Iterator[pa.RecordBatch]]:
    import connectorx

    yield iter(
        connectorx.read_sql(
            uri, query, return_type="arrow_stream", pre_execution_query=list(before)
        )
    )


each = pytest.mark.parametrize("place", KINDS, indirect=True)


def write(uri: str, rows: pa.RecordBatch | pa.Table) -> None:
    with open_sink(uri) as sink:
        for batch in rows.to_batches() if isinstance(rows, pa.Table) else [rows]:
            sink.write(batch)


class TablePlace:
    """A table where the suite of sinks expects a file: what is in it, and what lies beside it.

    Other tests may have left tables where all users of the server see them.
    """

    def __init__(self, uri: str, table: str) -> None:
        self._uri, self._table = uri, table
        self._others: set[str] = set()
        self._others = {one.name for one in self.iterdir()}

    def read_bytes(self) -> bytes:
        source = open_source(f"{self._uri}?table={self._table}")
        return repr([batch.rows.to_pylist() for batch in source.batches()]).encode()

    @property
    def parent(self) -> TablePlace:
        return self

    def iterdir(self) -> Iterator[Path]:
        try:
            open_source(f"{self._uri}?table=nothing_of_this_name").schema()
        except SourceError as error:
            if "does not exist" not in str(error) and "There are none" not in str(error):
                found = [one for one in tables(error) if one not in self._others]
                yield from (
                    cast("Path", self) if one == self._table else Path(one) for one in found
                )

    @property
    def name(self) -> str:
        return self._table


def tables(error: SourceError) -> list[str]:
    return error.mend.removeprefix("There are: ").rstrip(".").split(", ")


@each
def test_sinks(place: str) -> None:
    uri = f"{place}?table=rows"
    suite.check_sink(
        lambda: open_sink(f"{uri}&if_exists=replace"),
        lambda: open_source(uri),
        cast("Path", TablePlace(place, "rows")),
        ROWS,
    )


@each
def test_sources(place: str) -> None:
    write(f"{place}?table=a", ROWS)
    write(f"{place}?table=b", ROWS.slice(1))
    suite.check_source(open_source(f"{place}?table=a"))
    suite.fingerprint_changes_with_content(
        open_source(f"{place}?table=a"), open_source(f"{place}?table=b")
    )


@each
def test_a_changed_table_has_another_fingerprint(place: str) -> None:
    write(f"{place}?table=a", ROWS)
    source = open_source(f"{place}?table=a")
    before = source.fingerprint()
    write(f"{place}?table=a&if_exists=append", ROWS)
    assert source.fingerprint() != before
    assert source.length() == 12


@each
def test_only_servers_give_other_rows_another_time(place: str) -> None:
    assert open_source(f"{place}?table=a").repeatable == place.startswith(("sqlite", "duckdb"))


@each
def test_a_query_in_its_own_order(place: str) -> None:
    write(f"{place}?table=a", pa.table({"x": [3, 1, 2, 5, 4], "y": list("cabed")}))
    asked = open_source(place, "select x + 1 as up, y from a order by x desc;")
    assert asked.length() is None
    found = [row for batch in asked.batches(["y"], 2) for row in batch.rows.to_pylist()]
    assert [row["y"] for row in found] == list("edcba")
    assert asked.schema().names == ["up", "y"]


@each
def test_an_index_changes_no_order(place: str) -> None:
    rows = pa.table({"x": [3, 1, 2, 5, 4], "y": ["c", "a", "b", "e", "d"]})
    write(f"{place}?table=a", rows)
    run(place, "create index by_x on a (x)")
    found = [
        row for batch in open_source(f"{place}?table=a").batches(["x"]) for row in batch.rows[0]
    ]
    assert pa.array(found).cast(pa.int64()).equals(rows["x"].combine_chunks())


@each
def test_append_replace_or_refuse(place: str) -> None:
    uri = f"{place}?table=a"
    write(uri, ROWS.select(["count", "name"]))
    with pytest.raises(SourceError, match="if_exists=append or &if_exists=replace"):
        open_sink(uri)
    write(f"{uri}&if_exists=append", ROWS.select(["name"]))
    source = open_source(uri)
    assert source.length() == 12
    last = list(source.batches(size=6))[-1].rows.to_pylist()
    assert [row["name"] for row in last] == ROWS["name"].to_pylist()
    assert {row["count"] for row in last} == {None}
    with pytest.raises(SourceError, match="no column 'share' to append to"):
        write(f"{uri}&if_exists=append", ROWS.select(["share"]))
    write(f"{uri}&if_exists=replace", ROWS.select(["share"]))
    assert open_source(uri).schema().names == ["share"]


@each
def test_what_cannot_be_appended_changes_nothing(place: str) -> None:
    uri = f"{place}?table=a"
    run(place, "create table a (x integer not null primary key)")
    write(f"{uri}&if_exists=append", pa.table({"x": [1, 2]}))
    with pytest.raises(SourceError) as told:
        write(f"{uri}&if_exists=append", pa.table({"x": [3, 4, 1]}))
    assert "\n" not in str(told.value)
    assert [batch.rows["x"].to_pylist() for batch in open_source(uri).batches()] == [[1, 2]]


@each
def test_no_rows(place: str) -> None:
    write(f"{place}?table=a", ROWS.slice(0, 0))
    source = open_source(f"{place}?table=a")
    assert (source.length(), list(source.batches())) == (0, [])
    with pytest.raises(SourceError, match="has no rows"):
        profile(source, None, {}, Silent())
    with pytest.raises(SourceError, match="no rows came"), open_sink(f"{place}?table=b"):
        pass
    with pytest.raises(SourceError, match="no table 'b'"):
        open_source(f"{place}?table=b").schema()


@each
@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("", "names no table"),
        ("?table=a&query=select 1", "names a table and a query"),
        ("?table=aaa", "has no table 'aaa'.*Did you mean 'aa'"),
        ("?query=insert into aa values (1)", "cannot answer the query"),
        ("?query=selec 1", "cannot answer the query"),
        ("?query=select nothing from aa", "cannot answer the query"),
        ("?query=select x, x from aa", "several columns"),
        ("?table=aa&if_exists=maybe", "if_exists=maybe"),
    ],
)
def test_mistakes(place: str, rest: str, words: str) -> None:
    write(f"{place}?table=aa&if_exists=replace", pa.table({"x": [1, 2]}))
    with pytest.raises(SourceError, match=words) as told:
        list(open_source(f"{place}{rest}").batches())
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 700
    if "if_exists" not in rest:
        assert open_source(f"{place}?table=aa").length() == 2


@each
def test_a_column_that_is_not_there(place: str) -> None:
    write(f"{place}?table=a", ROWS)
    with pytest.raises(ColumnError, match="Did you mean 'share'"):
        next(open_source(f"{place}?table=a").batches(["shares"]))


TYPED: dict[str, tuple[Any, pa.DataType]] = {
    "whole": ([1, None, -3], pa.int32()),
    "long": ([1, None, 2**60], pa.int64()),
    "number": ([0.1, None, -1e300], pa.float64()),
    "text": (["a", None, "Öl"], pa.string()),
    "bytes": ([b"a\0\xff", None, b""], pa.binary()),
    "day": ([dt.date(2020, 2, 29), None, dt.date(1969, 12, 31)], pa.date32()),
    "moment": (
        [dt.datetime(2020, 2, 29, 1, 2, 3, 456789), None, dt.datetime(1969, 1, 1)],
        pa.timestamp("us"),
    ),
}
MORE: dict[str, tuple[Any, pa.DataType]] = {
    "price": ([Decimal("1.25"), None, Decimal("-99999999.99")], pa.decimal128(10, 2)),
    "short": ([1, None, -3], pa.int16()),
    "half": ([0.1, None, -2.5], pa.float32()),
}


@each
def test_types_there_and_back(place: str) -> None:
    """SQLite knows one width of number alone, and no decimal."""
    typed = TYPED if place.startswith("sqlite") else TYPED | MORE
    rows = pa.table({name: pa.array(values, kind) for name, (values, kind) in typed.items()})
    write(f"{place}?table=a", rows)
    source = open_source(f"{place}?table=a")
    found = pa.Table.from_batches([batch.rows for batch in source.batches()])
    assert found.to_pylist() == rows.to_pylist()
    widened = {"whole": pa.int64()} if place.startswith("sqlite") else {}
    assert {field.name: field.type for field in found.schema} == {
        field.name: widened.get(field.name, field.type) for field in rows.schema
    }


@each
def test_numbers_beside_the_calendar_and_the_line(place: str) -> None:
    """What a database has no number for is stored as missing, never as another number."""
    rows = pa.table({"x": [1.5, float("nan"), float("inf")], "y": pa.array([1, 2, 3], pa.uint8())})
    write(f"{place}?table=a", rows)
    (batch,) = open_source(f"{place}?table=a").batches()
    first, nan, infinite = batch.rows["x"].to_pylist()
    assert first == 1.5
    assert nan is None or np.isnan(nan)
    assert infinite in (None, float("inf"))
    assert batch.rows["y"].to_pylist() == [1, 2, 3]


def table() -> pa.Table:
    """Rows of every kind of column that tables have, with gaps."""
    random = np.random.default_rng(0)
    count = 3_000
    words = pa.array([f"level-{code}" for code in range(40)])
    return pa.table(
        {
            "n": pa.array(random.normal(size=count), mask=random.random(count) < 0.05),
            "tail": np.exp(3 * random.normal(size=count)),
            "code": random.integers(0, 9, count),
            "city": words.take(pa.array(random.zipf(1.5, count) % 40)),
            "seen": pa.array(
                1_600_000_000_000_000 + np.arange(count) * 3_600_000_000, pa.timestamp("us")
            ),
            "bought": (random.random(count) < 0.3).astype(np.int64),
        }
    )


@each
def test_the_same_summaries_and_schema_as_from_parquet(place: str, tmp_path: Path) -> None:
    rows = table()
    pq.write_table(rows, tmp_path / "rows.parquet")
    write(f"{place}?table=a", rows)
    found, expected = (
        profile(open_source(one), "bought", {}, Silent())
        for one in (f"{place}?table=a", tmp_path / "rows.parquet")
    )
    assert found.summary.to_bytes() == expected.summary.to_bytes()
    assert json.dumps(found.schema.to_json()) == json.dumps(expected.schema.to_json())


def run(place: str, statement: str) -> None:
    """Say something to a database that no sink says."""
    address = place.partition(":")[0]
    doing: Callable[[str, str], None] = {
        "sqlite": _sqlite,
        "duckdb": _duckdb,
        "postgresql": servers.run_postgresql,
        "mysql": servers.run_mysql,
    }[address]
    doing(place, statement)


def _sqlite(place: str, statement: str) -> None:
    import sqlite3

    connection = sqlite3.connect(place.partition("///")[2])
    connection.execute(statement)
    connection.commit()
    connection.close()


def _duckdb(place: str, statement: str) -> None:
    import duckdb

    with duckdb.connect(place.partition("///")[2]) as connection:
        connection.execute(statement)


def test_an_index_that_holds_the_column_changes_no_order(postgresql: servers.Server) -> None:
    """PostgreSQL would read a narrow index, in its order, in place of a wide table."""
    uri = postgresql.fresh()
    numbers = np.random.default_rng(0).permutation(5_000)
    write(f"{uri}?table=a", pa.table({"x": numbers, "wide": ["w" * 1_500] * 5_000}))
    run(uri, "create index by_x on a (x)")
    run(uri, "vacuum analyze a")
    with psycopg.connect(uri) as connection:
        assert connection.execute("select x from a").fetchone() == (0,)  # As it does.
    found = [batch.rows["x"].to_numpy() for batch in open_source(f"{uri}?table=a").batches(["x"])]
    assert (np.concatenate(found) == numbers).all()


def test_types_of_postgresql(postgresql: servers.Server) -> None:
    uri = postgresql.fresh()
    run(uri, "create type mood as enum ('sad', 'glad')")
    given = {
        "e": ("'glad'::mood", pa.string(), "glad"),
        "l": ("array['sad']::mood[]", pa.list_(pa.string()), ["sad"]),
        "n": ("12345678901234567890.5::numeric", pa.float64(), 12345678901234567890.5),
        "nl": ("array[1.5, null]::numeric[]", pa.list_(pa.float64()), [1.5, None]),
        "d": ("1.5::numeric(30, 20)", pa.decimal128(30, 20), Decimal("1.5")),
        "m": ("'12.34'::money", pa.float64(), 12.34),
        "u": (f"'{UUID}'::uuid", pa.string(), UUID),
        "j": ("""'{"a": 1}'::jsonb""", pa.string(), '{"a": 1}'),
        "i": ("interval '1 day 2 hours'", pa.string(), "1 day 02:00:00"),
        "ip": ("inet '10.0.0.1'", pa.string(), "10.0.0.1/32"),
        "o": ("4000000000::oid", pa.int64(), 4_000_000_000),
        "b": ("true", pa.bool_(), True),
        "il": ("array[1, null]::int4[]", pa.list_(pa.int32()), [1, None]),
        "z": ("'infinity'::timestamptz", pa.timestamp("us", "UTC"), None),
        "y": ("'-infinity'::date", pa.date32(), None),
        "t": (
            "'2020-01-02 03:04:05+02'::timestamptz",
            pa.timestamp("us", "UTC"),
            dt.datetime(2020, 1, 2, 1, 4, 5, tzinfo=dt.UTC),
        ),
    }
    asked = ", ".join(f'{text} as "{name}"' for name, (text, _, _) in given.items())
    run(uri, f"create table typed as select {asked}")
    run(uri, "insert into typed (e) values (null)")
    for source in (open_source(f"{uri}?table=typed"), open_source(uri, "select * from typed")):
        (batch,) = source.batches()
        assert dict(zip(source.schema().names, source.schema().types, strict=True)) == {
            name: kind for name, (_, kind, _) in given.items()
        }
        first, second = batch.rows.to_pylist()
        assert first == {name: value for name, (_, _, value) in given.items()}
        assert set(second.values()) == {None}


def test_types_of_mariadb(mariadb: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.sources.databases.mysql.reading", in_process)
    uri = mariadb.fresh()
    given = {
        "u": ("int unsigned", "4000000000", pa.uint32(), 4_000_000_000),
        "b": ("boolean", "true", pa.int8(), 1),
        "d": ("decimal(30, 12)", "'123456789012345678.123456789012'", pa.decimal128(30, 12), ...),
        "e": ("enum('a', 'b')", "'b'", pa.string(), "b"),
        "t": ("time(1)", "'-30:00:01.5'", pa.string(), "-30:00:01.5"),
        "y": ("year", "2024", pa.int16(), 2024),
        "bits": ("bit(3)", "5", pa.int64(), 5),
        "bytes": ("varbinary(9)", "x'00ff'", pa.binary(), b"\0\xff"),
        "j": ("json", "'[1]'", pa.string(), "[1]"),
        "g": ("point", "point(1, 2)", pa.string(), "POINT(1 2)"),
        "z": ("datetime", "'0000-00-00'", pa.timestamp("us"), None),
    }
    columns = ", ".join(f"{name} {kind}" for name, (kind, *_) in given.items())
    run(uri, f"create table typed ({columns})")
    values = ", ".join(value for _, value, *_ in given.values())
    run(uri, f"set statement sql_mode='' for insert into typed values ({values})")
    run(uri, "insert into typed (u) values (null)")
    source = open_source(f"{uri}?table=typed")
    (batch,) = source.batches()
    assert source.schema().types == [kind for _, _, kind, _ in given.values()]
    first, second = batch.rows.to_pylist()
    expected = {name: value for name, (*_, value) in given.items()}
    assert first == expected | {"d": Decimal("123456789012345678.123456789012")}
    assert set(second.values()) == {None}


def test_types_of_duckdb(tmp_path: Path) -> None:
    uri = f"duckdb:///{tmp_path}/rows.duckdb"
    _duckdb(
        uri,
        "create table typed as select 'a'::enum('a', 'b') e, 1::hugeint h, "
        "interval 1 day i, ['b'::enum('a', 'b')] l, {'x': 1} s, 'infinity'::date d",
    )
    (batch,) = open_source(f"{uri}?table=typed").batches()
    assert batch.rows.to_pylist() == [
        {"e": "a", "h": 1.0, "i": "1 day", "l": ["b"], "s": {"x": 1}, "d": None}
    ]


def test_cells_of_sqlite_that_are_not_what_was_declared(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/rows.db"
    with open_sink(f"{uri}?table=a") as sink:
        sink.write(pa.record_batch({"x": [1, 2]}))
    run(uri, "insert into a values ('many')")
    with pytest.raises(SourceError, match=r"column 'x' .*CAST\(NAME AS TEXT\)"):
        list(open_source(f"{uri}?table=a").batches())
    (batch,) = open_source(uri, "select cast(x as text) as x from a").batches()
    assert batch.rows["x"].to_pylist() == ["1", "2", "many"]
