"""A connection that drops half-way: every row once, or a clear word; never silent loss."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import servers
from thalweg.core.errors import SourceError
from thalweg.sources import Source, open_sink, open_source
from thalweg.sources.databases import mysql_process

COUNT = 60_000
LIMIT = 700_000


one = pytest.mark.parametrize("through", ["postgresql"], indirect=True)


class Proxy:
    """Passes bytes between a client and a server, and cuts long answers off."""

    def __init__(self, port: int, cuts: int, then: Callable[[], None]) -> None:
        self._server = (servers.HOST, port)
        self.cuts, self._then = cuts, then
        self._listener = socket.create_server((servers.HOST, 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                for one, other, limit in ((client, server, None), (server, client, LIMIT)):
                    threading.Thread(
                        target=self._pass, args=(one, other, limit), daemon=True
                    ).start()

    def _pass(self, one: socket.socket, other: socket.socket, limit: int | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                passed += len(data)
                if limit and passed > limit and self.cuts:
                    self.cuts -= 1
                    self._then()
                    break
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for one in self._open:
            one.close()


@pytest.fixture(params=["postgresql", "mysql"])
def through(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Source]]:
    """Open a table through a proxy that cuts the connection, some times."""
    monkeypatch.setattr("thalweg.sources.databases.sql.PATIENCE", (0.0, 0.0))
    monkeypatch.setattr("thalweg.sources.databases.postgresql.BYTES", 100_000)
    fixture = {"mysql": "mariadb", "postgresql": "postgresql"}[request.param]
    server: servers.Server = request.getfixturevalue(fixture)
    uri = server.fresh()
    with open_sink(f"{uri}?table=t") as sink:
        numbers = np.arange(COUNT)
        sink.write(pa.record_batch({"id": numbers, "x": numbers / 7, "s": numbers.astype(str)}))
    proxies = []

    def opened(cuts: int, then: str = "", query: str | None = None) -> Source:
        def change() -> None:
            if then:
                server.run(uri, then)

        proxies.append(Proxy(server.port, cuts, change))
        place = uri.replace(f":{server.port}", f":{proxies[-1].port}")
        return open_source(place if query else f"{place}?table=t", query)

    yield opened
    for one in proxies:
        one.close()


def ids(source: Source) -> list[int]:
    return [row for batch in source.batches(["id"]) for row in batch.rows["id"].to_pylist()]


def test_every_row_comes_once(through: Callable[..., Source]) -> None:
    assert ids(through(2)) == list(range(COUNT))


@one
def test_a_query_goes_on_too(through: Callable[..., Source]) -> None:
    found = ids(through(1, query="select id, x, s from t order by id desc"))
    assert found == list(range(COUNT))[::-1]


def read_into(read: list[int], source: Source) -> None:
    for batch in source.batches():
        read += batch.rows["id"].to_pylist()


def test_a_table_that_changed_meanwhile_is_refused(through: Callable[..., Source]) -> None:
    source = through(1, "UPDATE t SET x = -1 WHERE id = 17")
    begun: list[int] = []
    with pytest.raises(SourceError, match="changed while it was read") as told:
        read_into(begun, source)
    assert 0 < len(begun) < COUNT
    assert f"after {len(begun):,} rows" in str(told.value)
    assert "\n" not in str(told.value)


@one
def test_a_table_that_ends_sooner_is_refused(through: Callable[..., Source]) -> None:
    with pytest.raises(SourceError, match="changed while it was read"):
        list(through(1, "DELETE FROM t WHERE id >= 5").batches())


@one
def test_rows_that_came_behind_are_read_too(through: Callable[..., Source]) -> None:
    """They belong to the state that the second attempt sees; the rows before are the same."""
    found = ids(through(1, f"INSERT INTO t (id) VALUES ({COUNT})"))
    assert found == list(range(COUNT + 1))


def test_when_nothing_helps_the_count_is_told(through: Callable[..., Source]) -> None:
    read: list[int] = []
    with pytest.raises(SourceError, match="was lost after") as told:
        read_into(read, through(1_000))
    assert f"after {len(read):,}" in str(told.value)
    assert "2 more attempts failed" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_backend_that_is_ended(
    postgresql: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thalweg.sources.databases.postgresql.BYTES", 100_000)
    uri = postgresql.fresh()
    rows = pa.record_batch({"x": np.arange(600_000.0)})
    with open_sink(f"{uri}?table=t") as sink:
        sink.write(rows)
    read: list[float] = []
    for place, batch in enumerate(open_source(f"{uri}?table=t").batches()):
        read += batch.rows["x"].to_pylist()
        if place == 1:
            ended = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%'"
            )
            postgresql.run(postgresql.uri, ended)
    assert read == rows["x"].to_pylist()


def test_a_query_that_fails_half_way_is_not_asked_again(
    postgresql: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thalweg.sources.databases.sql.PATIENCE", ())
    source = open_source(
        postgresql.uri, "select 1 / (50000 - x) as y from generate_series(1, 60000) x"
    )
    with pytest.raises(SourceError, match="division by zero"):
        list(source.batches())


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The reading processes that were started."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*words, **options))
        return started[-1]

    monkeypatch.setattr(mysql_process.subprocess, "Popen", start)
    return started


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads a process's state of Linux")
def test_a_reader_that_takes_its_time_holds_the_process(
    mariadb: servers.Server,
    processes: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mysql_process, "HOLD", 0.01)
    uri = mariadb.fresh()
    with open_sink(f"{uri}?table=t") as sink:
        sink.write(pa.record_batch({"id": np.arange(200_000)}))
    batches = open_source(f"{uri}?table=t").batches()
    read = next(batches).rows.num_rows
    state = Path(f"/proc/{processes[0].pid}/stat")
    until = time.monotonic() + 10
    while state.read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < until, "it was not held"
        time.sleep(0.01)
    assert read + sum(batch.rows.num_rows for batch in batches) == 200_000
    assert processes[0].returncode is not None


def test_a_reader_that_stops_early_ends_the_process(
    mariadb: servers.Server, processes: list[subprocess.Popen[bytes]]
) -> None:
    uri = mariadb.fresh()
    with open_sink(f"{uri}?table=t") as sink:
        sink.write(pa.record_batch({"id": np.arange(100_000)}))
    batches = open_source(f"{uri}?table=t").batches()
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert processes[0].returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(processes[0].pid, 0)
