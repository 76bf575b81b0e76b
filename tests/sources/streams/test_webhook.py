"""A web address as an outlet: every batch at least once, and a repeat known by its key."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from thalweg.core.errors import LostConnectionError, SourceError
from thalweg.sources.streams import check
from thalweg.sources.streams.base import FencedError, Writer
from thalweg.sources.streams.webhook import Webhook, shown

WRITER = Writer("scores", "0")
Answer = tuple[int, dict[str, str]]


class Receiver:
    """A server that keeps what it is sent; answers come from a list, then are 200."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.answers: list[Answer | str] = []
        self.connections = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                receiver.connections += 1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = receiver.answers.pop(0) if receiver.answers else (200, {})
                if answer == "deaf":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                if answer in ("mute", "idle") or answer[0] == 200:
                    receiver.got.append((self.path, dict(self.headers), body))
                if answer == "mute":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                status, headers = (200, {}) if isinstance(answer, str) else answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "9")
                self.end_headers()
                self.wfile.write(b"too\nlate ")
                self.close_connection = answer == "idle"

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.place = f"127.0.0.1:{self._server.server_port}"
        self.uri = f"http://{self.place}/hook"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def keys(self) -> list[str]:
        return [headers["Idempotency-Key"] for _, headers, _ in self.got]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


Open = Callable[..., Webhook]


@pytest.fixture
def hook(receiver: Receiver, tmp_path: Path) -> Iterator[Open]:
    made = []

    def opener(
        uri: str = "", writer: Writer = WRITER, wait: Callable[[float], None] = time.sleep
    ) -> Webhook:
        state = tmp_path / f"{writer.lane}.json"
        made.append(Webhook(uri or receiver.uri, writer, state, wait))
        return made[-1]

    yield opener
    for one in made:
        one.close()


def rows(*ids: int) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(ids, pa.int64()), "word": [f'"{one}' for one in ids]})


def sent(one: Webhook, batch: int, *given: int) -> None:
    one.write(batch, rows(*given))
    one.flush({})


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    """What it cannot promise is what a flush would promise of two processes that send at once."""
    count = iter(range(100))
    made: list[Receiver] = []

    def trial() -> check.OutletTrial:
        receiver, folder = Receiver(), tmp_path / str(next(count))
        folder.mkdir()
        made.append(receiver)

        def read() -> list[int]:
            return [row["n"] for _, _, body in receiver.got for row in body]

        return check.OutletTrial(
            lambda writer: Webhook(receiver.uri, writer, folder / writer.lane), read
        )

    try:
        check.check_outlet(trial)
    finally:
        for one in made:
            one.close()


def test_batches_are_arrays_with_keys(receiver: Receiver, hook: Open) -> None:
    one = hook(writer=Writer("sc/or\r\nes ü", "0"))
    assert one.resume(1) == 0
    one.write(1, rows(1, 2))
    one.write(2, rows())
    one.write(3, rows(3))
    one.flush({"0": 3})
    assert [body for _, _, body in receiver.got] == [
        [{"id": 1, "word": '"1'}, {"id": 2, "word": '"2'}],
        [{"id": 3, "word": '"3'}],
    ]
    assert receiver.keys() == ["sc%2For%0D%0Aes%20%C3%BC/0/1", "sc%2For%0D%0Aes%20%C3%BC/0/3"]
    assert receiver.got[0][1]["Content-Type"] == "application/json"
    assert receiver.connections == 1


def test_each_row_may_go_by_itself(receiver: Receiver, hook: Open) -> None:
    one = hook(f"{receiver.uri}/ü a\r\n?x=1&y=ü z#each")
    one.resume(1)
    sent(one, 4, 1, 2)
    assert [body for _, _, body in receiver.got] == [
        {"id": 1, "word": '"1'},
        {"id": 2, "word": '"2'},
    ]
    assert receiver.keys() == ["scores/0/4/0", "scores/0/4/1"]
    assert receiver.got[0][0] == "/hook/%C3%BC%20a?x=1&y=%C3%BC%20z"


@pytest.mark.parametrize("answer", [(503, {}), (500, {}), (408, {}), (429, {}), "deaf", "mute"])
def test_what_may_pass_is_a_lost_connection(
    receiver: Receiver, hook: Open, answer: Answer | str
) -> None:
    one = hook()
    one.resume(1)
    one.write(1, rows(1))
    one.write(2, rows(2))
    receiver.answers = [(200, {}), answer, answer]
    with pytest.raises(LostConnectionError):
        one.flush({})
    receiver.answers = []
    # The first one was taken, and need not be sent again.
    assert one.resume(1) == 1
    sent(one, 2, 2)
    assert list(dict.fromkeys(receiver.keys())) == ["scores/0/1", "scores/0/2"]
    assert (len(receiver.keys()) > 2) == (answer == "mute")


def test_an_idle_connection_is_made_anew(receiver: Receiver, hook: Open) -> None:
    receiver.answers = ["idle", "idle"]
    one = hook()
    one.resume(1)
    for batch in (1, 2, 3):
        sent(one, batch, batch)
    assert receiver.keys() == ["scores/0/1", "scores/0/2", "scores/0/3"]
    assert receiver.connections == 3


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_no_is_told(receiver: Receiver, hook: Open, status: int) -> None:
    one = hook()
    one.resume(1)
    receiver.answers = [(status, {})]
    one.write(1, rows(1))
    with pytest.raises(SourceError, match=f"answers {status} .too late.") as told:
        one.flush({})
    assert not isinstance(told.value, LostConnectionError)
    assert "\n" not in str(told.value)


def test_who_says_when_is_waited_for(receiver: Receiver, hook: Open) -> None:
    waits: list[float] = []
    one = hook(wait=waits.append)
    one.resume(1)
    receiver.answers = [(429, {"Retry-After": "2"}), (429, {"Retry-After": "3"})]
    sent(one, 1, 1)
    assert waits == [2, 3]
    assert receiver.keys() == ["scores/0/1"]
    for said in ("3600", "Wed, 21 Oct 2026 07:28:00 GMT", "nan", "inf"):
        receiver.answers = [(429, {"Retry-After": said})]
        one.resume(1)
        one.write(2, rows(2))
        with pytest.raises(LostConnectionError):
            one.flush({})
    assert waits == [2, 3]


def test_it_is_sent_on_within_its_host_only(receiver: Receiver, hook: Open) -> None:
    other = Receiver()
    try:
        one = hook(f"http://ann:sesame@{receiver.place}/hook")
        one.resume(1)
        receiver.answers = [(308, {"Location": "/there?a=b"})]
        sent(one, 1, 1)
        path, headers, _ = receiver.got[0]
        assert path == "/there?a=b"
        assert headers["Authorization"] == "Basic YW5uOnNlc2FtZQ=="
        for status, to in (
            (307, f"{other.uri}?secret=1"),
            (307, f"https://{receiver.place}/x"),
            (302, "/there"),
            (307, ""),
        ):
            receiver.answers = [(status, {"Location": to})]
            one.write(2, rows(2))
            with pytest.raises(SourceError, match=r"sends on|answers 302") as told:
                one.flush({})
            assert not isinstance(told.value, LostConnectionError)
            assert "sesame" not in str(told.value)
            assert "secret" not in str(told.value)
            one.resume(1)
        receiver.answers = [(307, {"Location": "/a"})] * 20
        one.write(2, rows(2))
        with pytest.raises(LostConnectionError):
            one.flush({})
        assert other.got == []
    finally:
        other.close()


def test_a_process_that_was_replaced_is_refused(receiver: Receiver, hook: Open) -> None:
    old, new = hook(), hook()
    old.resume(1)
    sent(old, 1, 1)
    assert new.resume(2) == 1
    old.write(2, rows(2))
    with pytest.raises(FencedError):
        old.flush({})
    with pytest.raises(FencedError):
        old.resume(1)
    assert receiver.keys() == ["scores/0/1"]


@pytest.mark.parametrize("text", ["", "[]", '{"writer": "scores/0"}', '{"writer": "else"}'])
def test_a_damaged_memory_is_told(hook: Open, tmp_path: Path, text: str) -> None:
    (tmp_path / "0.json").write_text(text)
    with pytest.raises(SourceError, match="is not what"):
        hook().resume(1)


def test_nobody_there(hook: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    for uri, word in (
        (f"http://127.0.0.1:{port}/x", "does not answer"),
        (f"https://127.0.0.1:{port}/x", "does not answer"),
        ("http://a..b/x", "there is no host"),
    ):
        outlet = hook(uri)
        outlet.resume(1)
        outlet.write(1, rows(1))
        with pytest.raises(SourceError, match=word) as told:
            outlet.flush({})
        assert isinstance(told.value, LostConnectionError) == ("answer" in word)
        with pytest.raises(LostConnectionError):
            outlet.flush({})


def test_a_server_without_encryption_is_no_secret_one(receiver: Receiver, hook: Open) -> None:
    one = hook(f"https://{receiver.place}/x")
    one.resume(1)
    one.write(1, rows(1))
    with pytest.raises(LostConnectionError, match="does not answer"):
        one.flush({})
    assert receiver.got == []


@pytest.mark.parametrize(
    "uri", ["http://", "http:///x", "https://h:port/", "ftp://h/", "http://h:99999"]
)
def test_what_is_no_address_is_told(uri: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="names no host"):
        Webhook(uri, WRITER, tmp_path / "state")


def test_secrets_are_not_shown() -> None:
    found = shown("https://ann:sesame@h:8/services/T01/B0AbCdEfGh0123456789?token=hush#each")
    assert found == "https://h:8/services/T01/***"
