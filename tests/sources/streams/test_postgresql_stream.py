"""A growing table as a stream: every row once, whatever order transactions end in."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pyarrow as pa
import pytest

import servers
from thalweg.core.errors import LostConnectionError, SourceError
from thalweg.sources import open_source
from thalweg.sources.streams import check
from thalweg.sources.streams.base import Position, Records, Stream
from thalweg.sources.streams.postgresql import PostgresqlStream

EVENTS = "CREATE TABLE events (id bigserial PRIMARY KEY, v text)"
MEANWHILE = "INSERT INTO events (v) VALUES (%s)"


@pytest.fixture
def place(postgresql: servers.Server) -> str:
    return postgresql.fresh()


@pytest.fixture
def talks(place: str) -> Iterator[Any]:
    """Open connections, each with transactions of its own."""
    with contextlib.ExitStack() as stack:

        def talk(*statements: str, autocommit: bool = False) -> psycopg.Connection[Any]:
            one = stack.enter_context(
                contextlib.closing(psycopg.connect(place, autocommit=autocommit))
            )
            for statement in statements:
                one.execute(statement)
            return one

        yield talk


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def opened(place: str, more: str = "", clock: Any = time.monotonic) -> PostgresqlStream:
    return PostgresqlStream(f"{place}?table=events&key=id{more}", clock)


def table(records: Records | None) -> pa.Table:
    assert records is not None
    found = [pa.ipc.open_stream(one).read_all() for one in records.payloads.to_pylist()]
    return pa.concat_tables(found)


def values(records: Records | None, column: str = "v") -> list[Any]:
    return [] if records is None else table(records)[column].to_pylist()


def every(stream: Stream, after: Position | None = None, partition: str = "0") -> list[Any]:
    found = []
    while (records := stream.fetch(partition, after)) is not None:
        found += values(records)
        after = records.last
    return found


@pytest.mark.parametrize("partitions", [1, 3])
def test_it_keeps_the_contract(place: str, partitions: int) -> None:
    count = iter(range(100))

    def trial() -> check.StreamTrial:
        name = f"t{next(count)}"
        with psycopg.connect(place, autocommit=True) as one:
            one.execute(f"CREATE TABLE {name} (id bigserial PRIMARY KEY, v bytea)")

        def append(payloads: Sequence[bytes]) -> None:
            with psycopg.connect(place) as one, one.cursor() as cursor:
                cursor.executemany(f"INSERT INTO {name} (v) VALUES (%s)", [(p,) for p in payloads])

        uri = f"{place}?table={name}&key=id&partitions={partitions}"
        return check.StreamTrial(lambda: PostgresqlStream(uri), append, values)

    check.check_stream(trial)


def test_rows_that_are_committed_out_of_order(place: str, talks: Any) -> None:
    talks(EVENTS, autocommit=True)
    one, two = talks(), talks(autocommit=True)
    with opened(place, "&settle=0") as stream:
        two.execute(MEANWHILE, ["a"])
        assert every(stream) == ["a"]
        one.execute(MEANWHILE, ["b"])
        two.execute(MEANWHILE, ["c"])
        # c is there to see, but b may still come before it.
        assert stream.fetch("0", 1) is None
        one.commit()
        two.execute(MEANWHILE, ["d"])
        assert every(stream, 1) == ["b", "c", "d"]


def test_a_key_is_waited_for_before_its_row_is_numbered(place: str, talks: Any) -> None:
    """The insert has its key and waits within itself: its transaction has no number yet."""
    talks(
        EVENTS,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF new.v = 'slow' THEN PERFORM pg_advisory_xact_lock(77); END IF; "
        "RETURN new; END $$",
        "CREATE TRIGGER slow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION slow()",
        autocommit=True,
    )
    gate, one, two = talks("SELECT pg_advisory_lock(77)"), talks(), talks(autocommit=True)
    gate.commit()

    def insert() -> None:
        one.execute(MEANWHILE, ["slow"])
        one.commit()

    # The first key of all is written to the log, for which a transaction has to have a number.
    two.execute(MEANWHILE, ["first"])
    thread = threading.Thread(target=insert)
    thread.start()
    try:
        until = time.monotonic() + 10
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while two.execute(waiting).fetchone() == (0,) and time.monotonic() < until:
            time.sleep(0.01)
        two.execute(MEANWHILE, ["quick"])
        with opened(place, "&settle=0") as stream:
            assert stream.fetch("0", 1) is None
            gate.execute("SELECT pg_advisory_unlock(77)")
            gate.commit()
            thread.join(10)
            assert every(stream) == ["first", "slow", "quick"]
    finally:
        with contextlib.suppress(psycopg.Error):
            gate.execute("SELECT pg_advisory_unlock_all()")
        thread.join(10)


def test_gaps_are_waited_for_once_and_passed(place: str, talks: Any) -> None:
    talks(EVENTS, autocommit=True)
    gone, two = talks(), talks(autocommit=True)
    clock = Clock()
    with opened(place, "", clock) as stream:
        two.execute(MEANWHILE, ["a"])
        gone.execute(MEANWHILE, ["never"])
        gone.rollback()
        two.execute(MEANWHILE, ["c"])
        assert every(stream) == ["a"]
        assert stream.fetch("0", 1) is None
        clock.now += 0.9
        assert stream.fetch("0", 1) is None
        clock.now += 0.2
        assert every(stream, 1) == ["c"]
        two.execute(MEANWHILE, ["d"])
        assert every(stream, 3) == ["d"]
        assert every(stream) == ["a", "c", "d"]


def test_a_key_that_was_taken_before_the_insert_is_waited_for(place: str, talks: Any) -> None:
    talks(EVENTS, autocommit=True)
    one, two = talks(), talks(autocommit=True)
    clock = Clock()
    key = one.execute("SELECT nextval('events_id_seq')").fetchone()
    two.execute(MEANWHILE, ["b"])
    with opened(place, "", clock) as stream:
        assert stream.fetch("0", None) is None
        clock.now += 0.9
        one.execute("INSERT INTO events VALUES (%s, 'a')", key)
        one.commit()
        assert every(stream) == ["a", "b"]


def test_whoever_wrote_elsewhere_is_waited_for(place: str, talks: Any) -> None:
    talks(EVENTS, "CREATE TABLE orders (n int)", autocommit=True)
    one, two = talks("INSERT INTO orders VALUES (1)"), talks(autocommit=True)
    key = one.execute("SELECT nextval('events_id_seq')").fetchone()
    two.execute(MEANWHILE, ["b"])
    with opened(place, "&settle=0") as stream:
        assert stream.fetch("0", None) is None
        one.execute("INSERT INTO events VALUES (%s, 'a')", key)
        one.commit()
        assert every(stream) == ["a", "b"]


def test_readers_hold_nothing_up(place: str, talks: Any) -> None:
    talks(EVENTS, "INSERT INTO events (v) VALUES ('a')", autocommit=True)
    talks("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT * FROM events")
    with opened(place, "&settle=0") as stream:
        assert every(stream) == ["a"]


def test_a_prepared_transaction_is_waited_for() -> None:
    """It has no process from then on."""
    options = ("max_prepared_transactions=4",)
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(servers.postgresql(options))
        except servers.MissingError as missing:
            pytest.skip(str(missing))
        servers.run_postgresql(server.uri, EVENTS)
        one = stack.enter_context(psycopg.connect(server.uri))
        two = stack.enter_context(psycopg.connect(server.uri, autocommit=True))
        stream = stack.enter_context(opened(server.uri, "&settle=0"))
        one.tpc_begin("x")
        one.execute(MEANWHILE, ["a"])
        two.execute(MEANWHILE, ["b"])
        assert stream.fetch("0", None) is None
        one.tpc_prepare()
        assert stream.fetch("0", None) is None
        assert stream.fetch("0", None) is None
        one.tpc_commit()
        assert every(stream) == ["a", "b"]


def test_many_writers_lose_nothing(place: str, talks: Any) -> None:
    """Some roll back, some take their time; every row that was committed comes, in order."""
    talks(EVENTS, autocommit=True)
    connections = [talks() for _ in range(4)]
    kept: list[str] = []

    def write(number: int, one: psycopg.Connection[Any]) -> None:
        for turn in range(40):
            names = [f"{number} {turn} {part}" for part in range(1 + turn % 3)]
            for name in names:
                one.execute(MEANWHILE, [name])
            time.sleep(0.001 * ((turn * 7 + number) % 5))
            if turn % 5 == number:
                one.rollback()
            else:
                one.commit()
                kept.extend(names)

    threads = [threading.Thread(target=write, args=pair) for pair in enumerate(connections)]
    with opened(place, "&settle=0") as stream, opened(place, "&settle=0") as other:
        for one in threads:
            one.start()
        found: list[str] = []
        after: Position | None = None
        steps: list[tuple[Position | None, Position, list[str]]] = []
        until = time.monotonic() + 40
        while time.monotonic() < until:
            live = any(one.is_alive() for one in threads)
            records = stream.fetch("0", after, 10)
            if records is None:
                if not live:
                    break
                continue
            steps.append((after, records.last, values(records)))
            found += values(records)
            after = records.last
        for one in threads:
            one.join()
        assert sorted(found) == sorted(kept)
        # Another process that begins again reads the same between the same positions.
        for before, last, given in steps:
            assert values(other.fetch("0", before, 1000, last)) == given


@pytest.mark.parametrize("more", ["", "&notify=bell"])
def test_waiting(place: str, talks: Any, more: str) -> None:
    talk = talks(EVENTS, autocommit=True)
    with opened(place, more) as stream:
        begun = time.monotonic()
        stream.wait({"0": None}, 0.1)
        assert 0.09 < time.monotonic() - begun < 5
        timer = threading.Timer(0.2, ring, [talk])
        timer.start()
        begun = time.monotonic()
        stream.wait({"0": None}, 20)
        assert 0.15 < time.monotonic() - begun < 5
        assert every(stream) == ["a"]
        timer.join()
        # What came before anybody waited is noticed too.
        ring(talk)
        begun = time.monotonic()
        stream.wait({"0": 1}, 20)
        assert time.monotonic() - begun < 5


def ring(talk: psycopg.Connection[Any]) -> None:
    talk.execute(MEANWHILE, ["a"])
    talk.execute("NOTIFY bell")


def test_a_trigger_rings_the_bell(place: str, talks: Any) -> None:
    """As the documentation has it."""
    talk = talks(
        EVENTS,
        "CREATE FUNCTION ring() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_notify('events', ''); RETURN NULL; END $$",
        "CREATE TRIGGER ring AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION ring()",
        autocommit=True,
    )
    with opened(place, "&notify=events") as stream:
        stream.wait({"0": None}, 0.01)
        talk.execute(MEANWHILE, ["a"])
        begun = time.monotonic()
        stream._hear(20)
        assert time.monotonic() - begun < 5


def test_types_are_those_of_the_table_read_as_a_whole(place: str, talks: Any) -> None:
    talks(
        "CREATE TABLE events (id int PRIMARY KEY, b bool, i int2, f float4, n numeric(10, 2), "
        "m numeric, s text, c char(3), d date, t timestamp, z timestamptz, u uuid, j jsonb, "
        "a int[], y bytea, v interval)",
        "INSERT INTO events VALUES (1, true, 2, 0.5, 1.25, 7, 'ü', 'x', '2024-01-02', "
        "'2024-01-02 03:04:05.678', '2024-01-02 03:04:05+02', gen_random_uuid(), '{\"a\": 1}', "
        "'{1,2}', 'abc', '1 day')",
        "INSERT INTO events (id) VALUES (2)",
        autocommit=True,
    )
    source = open_source(f"{place}?table=events")
    with opened(place, "&time=z") as stream:
        records = stream.fetch("0", None)
        found = table(records)
        assert found.schema == source.schema()
        assert found.to_pylist() == [r for b in source.batches() for r in b.rows.to_pylist()]
        first = stream.fetch("0", None, 1)
        assert first is not None
        moment = dt.datetime(2024, 1, 2, 1, 4, 5, tzinfo=dt.UTC)
        assert first.times.tolist() == [int(moment.timestamp() * 1_000_000)]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("text", ["a", "b'; --", "ü\\"]),
        ("timestamptz", [f"2024-01-0{day} 00:00:00.000001+00" for day in (1, 2, 3)]),
        ("numeric", ["1.5", "20", "100"]),
        ("date", ["2024-01-01", "2024-02-01", "2025-01-01"]),
    ],
)
def test_keys_of_other_types(place: str, talks: Any, kind: str, given: list[str]) -> None:
    talk = talks(f"CREATE TABLE events (id {kind} PRIMARY KEY, v text)", autocommit=True)
    for one in given:
        talk.execute(f"INSERT INTO events VALUES (%s::{kind}, %s)", [one, one])
    with opened(place) as stream:
        assert stream.newest("0") == given[-1]
        found = []
        after: Position | None = None
        while (records := stream.fetch("0", after, 1)) is not None:
            found += values(records)
            after = records.last
            assert after == found[-1]
        assert found == given
        assert values(stream.fetch("0", given[0], 10, given[1])) == [given[1]]
        assert stream.lag({"0": given[0]}) is None


def test_names_are_only_names(place: str, talks: Any) -> None:
    talks(
        'CREATE TABLE "a""; DROP TABLE x; --" ("k""ey \'ü" serial PRIMARY KEY, v text)',
        'INSERT INTO "a""; DROP TABLE x; --" (v) VALUES (\'a\')',
        autocommit=True,
    )
    uri = f"{place}?table=%22a%22%22; DROP TABLE x; --%22&key=k%22ey 'ü&notify=b%22; --"
    with PostgresqlStream(uri) as stream:
        stream.wait({"0": None}, 0.01)
        assert every(stream) == ["a"]


def test_large_rows_come_in_pieces(place: str, talks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.sources.streams.postgresql.LARGEST", 100_000)
    talks(
        EVENTS,
        "INSERT INTO events (v) SELECT repeat('x', 1000) FROM generate_series(1, 3000)",
        autocommit=True,
    )
    with opened(place) as stream:
        sizes = []
        after: Position | None = None
        while (records := stream.fetch("0", after)) is not None:
            sizes.append(len(values(records)))
            after = records.last
        assert sum(sizes) == 3000
        assert sizes[0] == 1024
        assert max(sizes[1:]) <= 100


def test_lag(place: str, talks: Any) -> None:
    talks(
        EVENTS,
        "INSERT INTO events (v) SELECT 'x' FROM generate_series(1, 30)",
        autocommit=True,
    )
    with opened(place) as stream:
        assert [stream.lag({"0": one}) for one in (None, 10, 30)] == [30, 20, 0]
    with opened(place, "&partitions=3") as stream:
        assert stream.lag({"0": 30, "1": 28, "2": 29}) == 0
        assert stream.lag({"0": 15, "1": None, "2": 29}) == 5 + 10


def test_parts_of_a_table_are_watched_too(place: str, talks: Any) -> None:
    """Also one that was attached later, and is written to by its own name."""
    talk = talks(
        "CREATE SEQUENCE ids",
        "CREATE TABLE events (id int8 DEFAULT nextval('ids'), day date, v text, "
        "PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        autocommit=True,
    )
    with opened(place, "&settle=0") as stream:
        assert stream.fetch("0", None) is None
        talk.execute(
            "CREATE TABLE part PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')"
        )
        insert = "INSERT INTO part VALUES (nextval('ids'), '2024-02-03', %s)"
        other = talks()
        other.execute(insert, ["a"])
        talk.execute(insert, ["b"])
        assert stream.fetch("0", None) is None
        other.commit()
        assert every(stream) == ["a", "b"]


@pytest.mark.parametrize(
    ("made", "more", "word"),
    [
        (EVENTS, "&settle=-1", "settle=-1"),
        (EVENTS, "&partitions=x", "partitions=x"),
        (EVENTS, "&time=vv", "no column 'vv'"),
        ("CREATE TABLE events (idd int)", "", "no column 'id'.*Did you mean 'idd'"),
        ("CREATE TABLE event (id int)", "", "no table 'events'.*Did you mean 'event'"),
        ("CREATE TABLE events (id int)", "", "may be missing, or be twice the same"),
        ("CREATE TABLE events (id int UNIQUE)", "", "may be missing, or be twice the same"),
        ("CREATE TABLE events (id int, b int, PRIMARY KEY (id, b))", "", "twice the same"),
        ("CREATE VIEW events AS SELECT 1 AS id", "", "no table of its own"),
        ("CREATE TABLE events (id text PRIMARY KEY)", "&partitions=2", "no whole number"),
    ],
)
def test_what_cannot_be_is_told(place: str, talks: Any, made: str, more: str, word: str) -> None:
    talks(made, autocommit=True)
    with pytest.raises(SourceError, match=word), opened(place, more) as stream:
        stream.fetch("0", None)


def test_a_uri_without_a_key_is_refused() -> None:
    for uri, word in (("postgresql:///d?table=t", "no key"), ("postgresql:///d?query=q", "no tab")):
        with pytest.raises(SourceError, match=word):
            PostgresqlStream(uri)


@pytest.mark.parametrize("more", ["", "&notify=bell"])
def test_a_lost_connection_is_made_anew(place: str, talks: Any, more: str) -> None:
    talk = talks(EVENTS, autocommit=True)
    talk.execute(MEANWHILE, ["a"])
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE usename = current_user AND pid <> pg_backend_pid()"
    )
    with opened(place, more) as stream:
        stream.wait({"0": 1}, 0.01)
        assert every(stream) == ["a"]
        talk.execute(end)
        with pytest.raises(LostConnectionError):
            stream.wait({"0": 1}, 10)
        stream.wait({"0": 1}, 0.01)
        talk.execute(end)
        with pytest.raises(LostConnectionError):
            stream.fetch("0", None)
        talk.execute(MEANWHILE, ["b"])
        assert every(stream) == ["a", "b"]


def test_nobody_there() -> None:
    with (
        PostgresqlStream("postgresql://ann:sesame@127.0.0.1:1/d?table=t&key=id&notify=n") as stream,
        pytest.raises(LostConnectionError, match="does not answer") as told,
    ):
        stream.wait({"0": None}, 1)
    assert "sesame" not in stream.uri + str(told.value)
