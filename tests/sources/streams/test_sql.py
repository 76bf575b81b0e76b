"""Tables of databases as outlets: every row once, whoever is killed, and nothing of a zombie's."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pyarrow as pa
import pymysql
import pytest

import servers
from thalweg.core.errors import LostConnectionError, SourceError
from thalweg.sources import open_sink, open_source
from thalweg.sources.streams import check
from thalweg.sources.streams.base import FencedError, Writer
from thalweg.sources.streams.sql import PROGRESS, SqlOutlet

WRITER = Writer("scores", "0")
KINDS = ("postgresql", "mysql", "sqlite")


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read MySQL in this process: a process for each reading is half a second."""

    @contextlib.contextmanager
    def reading(uri: str, query: str, before: list[str]) -> Iterator[Any]:
        import connectorx

        yield iter(
            connectorx.read_sql(
                uri, query, return_type="arrow_stream", pre_execution_query=list(before)
            )
        )

    monkeypatch.setattr("thalweg.sources.databases.mysql.reading", reading)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/rows.sqlite"
    fixture = {"mysql": "mariadb", "postgresql": "postgresql"}[request.param]
    server: servers.Server = request.getfixturevalue(fixture)
    return server.fresh()


each = pytest.mark.parametrize("place", KINDS, indirect=True)


def rows(*ids: int) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(ids, pa.int64()), "word": [f"w{one}" for one in ids]})


def stored(uri: str) -> list[dict[str, Any]]:
    source = open_source(uri)
    return [row for batch in source.batches() for row in batch.rows.to_pylist()]


def ids(uri: str) -> list[int]:
    return sorted(row["id"] for row in stored(uri))


def progress(place: str) -> list[tuple[Any, ...]]:
    names = ("pipeline", "lane", "batch", "fence", "positions")
    return [tuple(row[name] for name in names) for row in stored(f"{place}?table={PROGRESS}")]


@pytest.fixture
def outlets() -> Iterator[Any]:
    opened = []

    def opener(uri: str, writer: Writer = WRITER) -> SqlOutlet:
        opened.append(SqlOutlet(uri, writer))
        return opened[-1]

    yield opener
    for one in opened:
        one.close()


@each
def test_rows_and_progress_are_stored_together(place: str, outlets: Any) -> None:
    uri = f"{place}?table=kept"
    outlet = outlets(uri)
    assert outlet.resume(1) == 0
    outlet.write(1, rows(1, 2))
    outlet.write(2, rows(3))
    outlet.write(3, rows())
    outlet.flush({"0": 41, "ü'\\": "a'\\b"})
    assert ids(uri) == [1, 2, 3]
    outlet.write(4, rows(4))
    assert ids(uri) == [1, 2, 3]
    other = outlets(uri)
    assert other.resume(2) == 3
    other.write(4, rows(4))
    other.flush({"0": 42})
    assert ids(uri) == [1, 2, 3, 4]
    assert progress(place) == [("scores", "0", 4, 2, '{"0": 42}')]


@each
def test_it_keeps_the_contract(place: str, outlets: Any) -> None:
    count = iter(range(100))

    def trial() -> check.OutletTrial:
        uri = f"{place}?table=t{next(count)}"

        def read() -> list[int]:
            try:
                return [row["n"] for row in stored(uri)]
            except SourceError:
                return []

        return check.OutletTrial(lambda writer: outlets(uri, writer), read)

    check.check_outlet(trial)


@each
def test_a_zombie_stores_nothing_and_makes_no_table(place: str, outlets: Any) -> None:
    uri = f"{place}?table=kept"
    old, new = outlets(uri), outlets(uri)
    old.resume(1)
    old.write(1, rows(1))
    new.resume(2)
    with pytest.raises(FencedError, match="fence is 2, this one's is 1"):
        old.flush({})
    with pytest.raises(SourceError, match="no table 'kept'"):
        stored(uri)
    new.write(1, rows(7))
    new.flush({})
    assert ids(uri) == [7]


@each
def test_a_flush_that_fails_half_way_stores_nothing(place: str, outlets: Any) -> None:
    """The first batch would fit, the second does not."""
    uri = f"{place}?table=kept"
    one = outlets(uri)
    one.resume(1)
    one.write(1, rows(1, 2))
    one.flush({"0": 2})
    say(place, unique(place))
    one.write(2, rows(3))
    one.write(3, rows(4, 1))
    with pytest.raises(SourceError, match=r"(?i)unique|duplicate"):
        one.flush({"0": 5})
    assert ids(uri) == [1, 2]
    with pytest.raises(LostConnectionError):
        one.flush({"0": 5})
    assert one.resume(1) == 1
    one.write(2, rows(3))
    one.flush({"0": 3})
    assert ids(uri) == [1, 2, 3]


def unique(place: str) -> str:
    name = place.rpartition("//")[2].partition("@")[0]
    return f"CREATE UNIQUE INDEX i ON {f'{name}.' if place.startswith('postgres') else ''}kept (id)"


def say(place: str, statement: str) -> None:
    if place.startswith("sqlite"):
        with sqlite3.connect(place.removeprefix("sqlite:///")) as connection:
            connection.execute(statement)
        connection.close()
    else:
        (servers.run_mysql if place.startswith("mysql") else servers.run_postgresql)(
            place, statement
        )


@each
def test_names_are_only_names(place: str, outlets: Any) -> None:
    name = """r"o'w`s %s ? ü; DROP TABLE x; --"""
    writer = Writer("""it's "%s" \\' `q` ? {0} ü""", "x'; --")
    uri = f"{place}?table=%22{quote(name.replace(chr(34), chr(34) * 2), safe='')}%22"
    odd = pa.record_batch({name: [1], "select": ["a'b\\"], "%s": pa.array([None], pa.int64())})
    for fence in (1, 2):
        one = outlets(uri, writer)
        assert one.resume(fence) == fence - 1
        one.write(fence, odd)
        one.flush({"ü'\\\"\0": "\0'\\"})
    assert stored(uri) == odd.to_pylist() * 2
    assert progress(place) == [
        (writer.pipeline, writer.lane, 2, 2, json.dumps({"ü'\\\"\0": "\0'\\"}))
    ]


@each
def test_a_table_that_is_there_casts_and_misses(place: str, outlets: Any) -> None:
    uri = f"{place}?table=kept"
    schema = place.rpartition("//")[2].partition("@")[0]
    table = f"{schema}.kept" if place.startswith("postgres") else "kept"
    say(place, f"CREATE TABLE {table} (more INT, word VARCHAR(20), id INT)")
    one = outlets(uri)
    one.resume(1)
    for batch in (1, 2):
        one.write(batch, rows(batch))
        one.flush({})
    assert stored(uri) == [
        {"more": None, "word": "w1", "id": 1},
        {"more": None, "word": "w2", "id": 2},
    ]
    other = outlets(uri, Writer("other", "0"))
    other.resume(1)
    other.write(1, pa.record_batch({"idd": [1]}))
    with pytest.raises(SourceError, match=r"no column 'idd'.*Did you mean 'id'"):
        other.flush({})
    assert len(stored(uri)) == 2


@each
def test_other_columns_and_views_are_refused(place: str, outlets: Any) -> None:
    one = outlets(f"{place}?table=kept")
    one.resume(1)
    one.write(1, rows(1))
    with pytest.raises(SourceError, match="other columns"):
        one.write(2, pa.record_batch({"id": [1]}))
    one.flush({})
    schema = place.rpartition("//")[2].partition("@")[0]
    before = f"{schema}." if place.startswith("postgres") else ""
    say(place, f"CREATE VIEW {before}seen AS SELECT * FROM {before}kept")
    with pytest.raises(SourceError, match=r"view|no table of its own"):
        outlets(f"{place}?table=seen").resume(1)


@each
def test_types_are_those_of_the_sink(place: str, outlets: Any) -> None:
    kinds = pa.record_batch(
        {
            "flag": [True, None],
            "small": pa.array([1, -2], pa.int8()),
            "share": pa.array([0.5, None], pa.float32()),
            "word": pa.array(["a", "b"]).dictionary_encode(),
            "day": [dt.date(2024, 1, 2), None],
            "at": pa.array([dt.datetime(2024, 1, 2, 3, 4, 5, 6), None], pa.timestamp("us")),
            "price": pa.array([Decimal("1.25"), None], pa.decimal128(10, 2)),
            "raw": [b"a\0b", None],
        }
    )
    with open_sink(f"{place}?table=batch") as sink:
        sink.write(kinds)
    one = outlets(f"{place}?table=flow")
    one.resume(1)
    one.write(1, kinds)
    one.flush({})
    assert stored(f"{place}?table=flow") == stored(f"{place}?table=batch")
    batch, flow = (open_source(f"{place}?table={name}").schema() for name in ("batch", "flow"))
    assert flow == batch


@each
def test_a_progress_that_was_set_back_is_told(place: str, outlets: Any) -> None:
    one = outlets(f"{place}?table=kept")
    one.resume(1)
    one.write(1, rows(1))
    one.flush({})
    schema = place.rpartition("//")[2].partition("@")[0]
    before = f"{schema}." if place.startswith("postgres") else ""
    say(place, f"UPDATE {before}{PROGRESS} SET batch = 0")
    one.write(2, rows(2))
    with pytest.raises(SourceError, match="set back"):
        one.flush({})


@each
def test_a_writer_may_write_to_two_tables(place: str, outlets: Any) -> None:
    for name, count in (("a", 2), ("b", 1)):
        one = outlets(f"{place}?table={name}")
        assert one.resume(1) == 0
        one.write(count, rows(count))
        one.flush({})
        assert one.resume(1) == count


def hung_up(place: str, name: str) -> None:
    """End every connection of a user but one's own, as a server does with idle ones."""
    if place.startswith("mysql"):
        at = urlsplit(place)
        given = {"host": at.hostname, "port": at.port, "user": at.username}
        with pymysql.connect(**given) as own, own.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist "
                f"WHERE db = '{name}' AND id <> CONNECTION_ID()"
            )
            for (number,) in cursor.fetchall():
                cursor.execute(f"KILL {number}")
        return
    with psycopg.connect(place, autocommit=True) as one:
        one.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE usename = current_user AND pid <> pg_backend_pid()"
        )


remote = pytest.mark.parametrize("place", KINDS[:2], indirect=True)


def named(place: str) -> str:
    return urlsplit(place).path[1:] if place.startswith("mysql") else str(urlsplit(place).username)


@remote
def test_an_idle_connection_that_was_ended_is_made_anew(place: str, outlets: Any) -> None:
    one = outlets(f"{place}?table=kept")
    one.resume(1)
    for batch in (1, 2):
        one.write(batch, rows(batch))
        hung_up(place, named(place))
        one.flush({})
    assert ids(f"{place}?table=kept") == [1, 2]


@remote
@pytest.mark.parametrize("answered", [False, True])
def test_a_lost_commit_is_known_when_resumed(
    place: str, outlets: Any, answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection drops before the commit comes there, or before its answer comes here."""
    one = outlets(f"{place}?table=kept")
    one.resume(1)
    one.write(1, rows(1))
    one.flush({})
    commit = type(one._ledger).commit

    def lost(ledger: Any) -> None:
        if answered:
            commit(ledger)
        hung_up(place, named(place))
        commit(ledger)
        if answered:  # Nothing was begun, so that no driver says a word.
            ledger.ask("SELECT 1")

    one.write(2, rows(2, 3))
    one.write(3, rows(4))
    with monkeypatch.context() as patch:
        patch.setattr(type(one._ledger), "commit", lost)
        with pytest.raises(LostConnectionError):
            one.flush({"0": 9})
    stands = one.resume(1)
    assert stands == (3 if answered else 1)
    for batch, more in ((2, (2, 3)), (3, (4,))):
        if batch > stands:
            one.write(batch, rows(*more))
    one.flush({"0": 9})
    assert ids(f"{place}?table=kept") == [1, 2, 3, 4]


def test_a_successor_waits_for_what_is_being_committed(
    postgresql: servers.Server, outlets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that goes on in the server, its client gone, is not overlooked."""
    place = postgresql.fresh()
    old, new = outlets(f"{place}?table=kept"), outlets(f"{place}?table=kept")
    old.resume(1)
    old.write(1, rows(1))
    found: list[int] = []
    commit = type(old._ledger).commit

    def slow(ledger: Any) -> None:
        if ledger is old._ledger and not found:
            thread.start()
            time.sleep(0.3)
            assert not found
        commit(ledger)

    thread = threading.Thread(target=lambda: found.append(new.resume(2)))
    old.write(2, rows(2))
    old.flush({})  # The table is there now: one more commit is the flush's own.
    old.write(3, rows(3))
    monkeypatch.setattr(type(old._ledger), "commit", slow)
    old.flush({})
    thread.join(20)
    assert found == [3]


def test_a_killed_server(outlets: Any) -> None:
    """Every process of the server is killed within a transaction."""
    with contextlib.suppress(servers.MissingError), servers.postgresql() as server:
        one = outlets(f"{server.uri}?table=kept")
        one.resume(1)
        one.write(1, rows(1))
        one.flush({})
        one.write(2, rows(2))
        insert = type(one._ledger).insert
        with psycopg.connect(server.uri, autocommit=True) as own:
            asked = own.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            pids = [pid for (pid,) in asked]

        def killed(ledger: Any, batches: Any) -> None:
            insert(ledger, batches)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(one._ledger), "insert", killed)
            with pytest.raises(LostConnectionError):
                one.flush({})
        for _ in range(200):
            try:
                assert one.resume(1) == 1
                break
            except LostConnectionError:
                time.sleep(0.1)  # It recovers.
        one.write(2, rows(2))
        one.flush({})
        assert ids(f"{server.uri}?table=kept") == [1, 2]
        return
    pytest.skip("there is no PostgreSQL on this machine")


def test_a_locked_file_is_waited_for(
    tmp_path: Path, outlets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thalweg.sources.databases.sqlite._PATIENCE", 0.1)
    place = f"sqlite:///{tmp_path}/rows.sqlite"
    one = outlets(f"{place}?table=kept")
    one.resume(1)
    one.write(1, rows(1))
    with contextlib.closing(sqlite3.connect(tmp_path / "rows.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LostConnectionError, match="locked"):
            one.flush({})
    assert one.resume(1) == 0


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("sqlite:///x.db?query=select 1", "asks a query"),
        ("sqlite:///x.db?table=t&if_exists=replace", "replaces a table"),
        ("duckdb:///x.db?table=t", "cannot take a stream's rows"),
        ("sqlite:///x.db?table=a%00b", "zero byte"),
    ],
)
def test_what_cannot_be_is_told_at_once(uri: str, word: str) -> None:
    with pytest.raises(SourceError, match=word):
        SqlOutlet(uri, WRITER)


def test_secrets_are_not_shown(outlets: Any) -> None:
    one = outlets("postgresql://ann:sesame@127.0.0.1:1/shop?table=t&sslpassword=hush")
    assert one.uri == "postgresql://ann@127.0.0.1:1/shop?table=t"
    with pytest.raises(LostConnectionError) as told:
        one.resume(1)
    assert "sesame" not in str(told.value)


@each
def test_lanes_that_begin_at_once(place: str, outlets: Any) -> None:
    """All of them want the same tables made."""
    uri = f"{place}?table=kept"
    gate = threading.Barrier(4)
    failed: list[BaseException] = []

    def lane(number: int) -> None:
        try:
            one = outlets(uri, Writer("scores", str(number)))
            gate.wait()
            one.resume(1)
            for batch in range(1, 4):
                one.write(batch, rows(10 * number + batch))
                one.flush({str(number): batch})
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=lane, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert failed == []
    assert ids(uri) == [10 * number + batch for number in range(4) for batch in range(1, 4)]
    assert sorted(row[1:3] for row in progress(place)) == [(str(n), 3) for n in range(4)]


def test_commits_are_waited_for(postgresql: servers.Server, outlets: Any) -> None:
    for said, found in (("off", "on"), ("local", "local")):
        one = outlets(f"{postgresql.fresh()}?table=kept&options=-csynchronous_commit%3D{said}")
        one.resume(1)
        assert one._ledger.ask("SELECT current_setting('synchronous_commit')") == [(found,)]
