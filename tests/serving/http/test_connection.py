from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from standing import Client
from thalweg.serving.http.connection import Connection
from thalweg.serving.http.exchange import Application, Receive, Scope, Send
from thalweg.serving.http.limits import Limits
from thalweg.serving.http.server import Server


class Echo:
    """Sends back what it is sent; does what the path says."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.begun = 0

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def drain(self) -> None: ...

    def told(self) -> dict[str, object]:
        return {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        path = scope["path"]
        if path in UNREAD:
            await answer(send, *UNREAD[path])
            return
        if path == "/crash":
            raise ZeroDivisionError
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        if path == "/slow":
            try:
                await asyncio.sleep(0.4)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if path == "/large":
            body = b"x" * 20_000_000
        if path == "/chunks":
            head = {"type": "http.response.start", "status": 200, "headers": []}
            await send(head)
            for _ in range(3):
                await send({"type": "http.response.body", "body": b"abc", "more_body": True})
            await send({"type": "http.response.body"})
            return
        if path == "/headers":
            body = b"\n".join(b"%b=%b" % pair for pair in scope["headers"])
        await answer(send, 200, body)


UNREAD = {"/early": (413, b"no"), "/nothing": (204, b"")}


async def answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(**limits: Any) -> Iterator[tuple[Server, Echo]]:
    echo = Echo()
    server = Server(echo, port=0, limits=Limits(**limits))
    server.start()
    try:
        yield server, echo
    finally:
        server.stop()


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    with serving() as (server, _):
        yield server


def test_requests_follow_each_other_on_one_connection(echo: Server) -> None:
    client = Client(echo.port)
    for body in (b"one", b"", b"x" * 300_000):
        client.ask("POST", "/", body)
        assert client.answer()[::2] == (200, body)
    client.close()


def test_requests_that_come_at_once_are_answered_in_order(echo: Server) -> None:
    client = Client(echo.port)
    one = b"POST /%b HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n%b"
    client.send(b"".join(one % (b"slow" if i == 0 else b"", b"%d" % i) for i in range(5)))
    assert [client.answer()[2] for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_body_may_come_in_chunks_and_piece_by_piece(echo: Server) -> None:
    client = Client(echo.port)
    client.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    time.sleep(0.05)
    client.send(b"2\r\nde\r\n0\r\nx-trailer: no\r\n\r\n")
    assert client.answer()[2] == b"abcde"
    client.ask("POST", "/headers", b"")
    assert b"x-trailer" not in client.answer()[2]


def test_an_answer_may_go_in_chunks(echo: Server) -> None:
    client = Client(echo.port)
    client.ask("GET", "/chunks", connection="close")
    found = b""
    while more := client.socket.recv(65536):
        found += more
    assert found.endswith(b"\r\n\r\n" + b"3\r\nabc\r\n" * 3 + b"0\r\n\r\n")
    assert b"transfer-encoding: chunked\r\n" in found


def test_head_has_no_body(echo: Server) -> None:
    client = Client(echo.port)
    client.ask("HEAD", "/large")
    assert client.answer(head=True)[1]["content-length"] == "20000000"
    client.ask("POST", "/", b"next")
    assert client.answer()[2] == b"next"


class Line(asyncio.Transport):
    """A transport without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.shut = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.sent += data

    def is_closing(self) -> bool:
        return self.shut

    def close(self) -> None:
        self.shut = True

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer nothing, and go quietly."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(5)


def said(pieces: list[bytes], application: Application | None = None) -> bytes:
    """Give what a connection answers to bytes that come in pieces."""

    async def work() -> bytes:
        config = uvicorn.Config(application or Echo(), log_config=None)
        config.load()
        line, connection = Line(), Connection(config, ServerState(), {})
        connection.connection_made(line)
        for piece in pieces:
            if line.shut:
                break
            connection.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(60):
            await asyncio.sleep(0)
        line.shut = True
        connection.connection_lost(None)
        await asyncio.sleep(0.01)
        return line.sent

    return asyncio.run(work())


SEVERAL = (
    b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"
    b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nunread"
    b"GET /b?c=d HTTP/1.1\r\nhost: x\r\n\r\n"
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    b"POST / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
    b"content-length: 4\r\n\r\nwish"
    b"HEAD /headers HTTP/1.1\r\nhost: x\r\nx: y\r\n\r\n"
    b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\nlast"
)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, len(SEVERAL)), max_size=12).map(sorted))
def test_however_the_bytes_are_cut_the_answers_are_the_same(cuts: list[int]) -> None:
    pieces = [SEVERAL[a:b] for a, b in pairwise([0, *cuts, len(SEVERAL)]) if a < b]
    found = said(pieces)
    assert found == said([SEVERAL])
    statuses = [part[:3] for part in found.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"413", *[b"200"] * 5]
    for body in (b"hello", b"abcde", b"wish", b"last"):
        assert b"\r\n\r\n" + body in found


@settings(max_examples=60, deadline=None)
@given(
    places=st.lists(st.integers(0, len(SEVERAL) - 1), min_size=1, max_size=6),
    values=st.binary(min_size=6, max_size=6),
)
def test_no_bytes_break_a_connection(places: list[int], values: bytes) -> None:
    odd = bytearray(SEVERAL)
    for place, value in zip(places, values, strict=False):
        odd[place] = value
    found = said([bytes(odd)])
    assert {*re.findall(rb"HTTP/1\.1 (\d+)", found)} <= {b"200", b"400", b"413", b"100"}


def test_a_client_that_asks_first_is_told_to_go_on(echo: Server) -> None:
    client = Client(echo.port)
    client.send(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert client.answer()[0] == 100
    client.send(b"ok")
    assert client.answer()[2] == b"ok"
    client.send(
        b"POST /early HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    )
    status, headers, _ = client.answer()  # nobody knows whether the body comes now
    assert (status, headers["connection"]) == (413, "close")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_connections_are_closed_when_they_should_be(echo: Server, version: str) -> None:
    client = Client(echo.port)
    client.send(f"GET / HTTP/{version}\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    status, headers, _ = client.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert client.closed()


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_http_is_told_so_and_cut_off(echo: Server, sent: bytes) -> None:
    client = Client(echo.port)
    client.send(sent)
    status, headers, body = client.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert body.startswith(b'{"error": ')
    assert client.closed()


GOOD = b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n"


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    ("rubbish", "status"),
    [
        (b"\0\1\2", 400),
        (b"hello\r\n\r\n" + GOOD + b"9", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n" + GOOD + b"9", 400),
    ],
)
def test_what_is_good_is_answered_before_what_follows_is_refused(
    echo: Server, number: int, rubbish: bytes, status: int
) -> None:
    client = Client(echo.port)
    client.send(b"".join(GOOD + b"%d" % i for i in range(number)) + rubbish)
    for i in range(number):
        assert client.answer()[::2] == (200, b"%d" % i)
    found, headers, _ = client.answer()
    assert (found, headers["connection"]) == (status, "close")
    assert client.closed()


def test_what_is_slow_or_long_behind_a_good_request_is_refused_after_it() -> None:
    with serving(seconds=0.2, head_seconds=0.1, head=1000) as (server, _):
        for late, status in ((b"GET / HT", 408), (GOOD, 408), (b"GET /" + b"x" * 2000, 431)):
            client = Client(server.port)
            client.send(GOOD + b"1")
            time.sleep(0.05)
            client.send(late[:4])
            time.sleep(0.02)
            client.send(late[4:])
            assert client.answer()[::2] == (200, b"1")
            assert client.answer()[0] == status
            assert client.closed()


def test_a_client_that_goes_with_several_questions_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for after in (b"", GOOD + b"2", GOOD + b"2\0"):
        assert said([GOOD + b"1" + after], silent) == b""
    assert "broke off" not in caplog.text


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.0\r\nhost: x\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nauthorization: a\r\nAuthorization: b\r\n\r\n",
    ],
)
def test_who_is_asked_and_who_asks_is_said_once(echo: Server, head: bytes) -> None:
    client = Client(echo.port)
    client.send(head)
    status, headers, body = client.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert b"Host" in body
    assert client.closed()


def test_http_1_0_needs_no_host_and_other_headers_may_come_twice(echo: Server) -> None:
    client = Client(echo.port)
    client.send(b"GET /headers HTTP/1.0\r\naccept: a\r\naccept: b\r\n\r\n")
    assert client.answer()[2] == b"accept=a\naccept=b"


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://evil.example/headers", b"evil.example"),
        (b"http://localhost@evil.example:81/headers?a=b", b"evil.example:81"),
        (b"http://[::1]:80/headers", b"[::1]:80"),
        (b"/headers", b"localhost"),
    ],
)
def test_whom_the_target_names_counts_for_more_than_host(
    echo: Server, target: bytes, host: bytes
) -> None:
    client = Client(echo.port)
    client.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\nx: y\r\n\r\n" % target)
    assert client.answer()[2].split(b"\n") == [b"host=" + host, b"x=y"]


def test_no_content_says_nothing_of_its_length(echo: Server) -> None:
    client = Client(echo.port)
    client.ask("POST", "/nothing", b"x")
    status, headers, _ = client.answer()
    assert (status, headers) == (204, {})
    client.ask("POST", "/", b"next")
    assert client.answer()[2] == b"next"


def test_a_wish_for_another_protocol_is_ignored(echo: Server) -> None:
    client = Client(echo.port)
    wish = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAE"}
    client.ask("POST", "/", b"one", **wish)
    assert client.answer()[::2] == (200, b"one")
    one = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
    client.send((one + b"content-length: 3\r\n\r\ntwo") * 300)
    assert {client.answer()[2] for _ in range(300)} == {b"two"}


@pytest.mark.parametrize(
    "path", [b"/%zz%ff", b"/\xff\xfe", b"*", b"//", b"/a?b=%00", b"http://x/y"]
)
def test_odd_paths_do_no_harm(echo: Server, path: bytes) -> None:
    client = Client(echo.port)
    client.send(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)
    assert client.answer()[0] in {200, 400}


def test_an_application_that_crashes_costs_its_connection_alone(echo: Server) -> None:
    client, other = Client(echo.port), Client(echo.port)
    client.ask("GET", "/crash")
    assert client.closed()
    other.ask("POST", "/", b"ok")
    assert other.answer()[2] == b"ok"


def test_slow_headers_are_cut_off() -> None:
    with serving(head_seconds=0.3) as (server, echo):
        silent, slow = Client(server.port), Client(server.port)
        start = time.monotonic()
        for byte in b"GET / HTTP/1.1\r\nx: " + b"y" * 20:
            try:
                slow.send(bytes([byte]))
            except OSError:
                break
            if time.monotonic() - start > 0.25:
                time.sleep(0.05)
        assert slow.answer()[0] == 408
        assert slow.closed()
        assert silent.closed()
        assert time.monotonic() - start < 3
        assert not echo.begun


def test_slow_headers_of_a_later_request_are_cut_off_as_well() -> None:
    with serving(head_seconds=0.3) as (server, _):
        client = Client(server.port)
        client.ask("POST", "/", b"1")
        client.answer()
        client.send(b"GET / HTTP")
        assert client.answer()[0] == 408


def test_slow_bodies_are_cut_off() -> None:
    with serving(seconds=0.3, head_seconds=0.2) as (server, echo):
        client = Client(server.port)
        client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n")
        start = time.monotonic()
        for _ in range(10):
            client.send(b"x")
            time.sleep(0.05)
        status, _, body = client.answer()
        assert status == 408
        assert b"body" in body
        assert client.closed()
        assert time.monotonic() - start < 5
        assert echo.begun == 1


def test_idle_connections_are_closed_and_those_that_are_answered_are_not() -> None:
    with serving(seconds=0.1, head_seconds=0.1) as (server, _):
        client = Client(server.port)
        client.ask("POST", "/slow", b"x")
        assert client.answer()[0] == 200
        assert client.closed()


@pytest.mark.parametrize("finished", [True, False])
def test_long_heads_are_refused(finished: bool) -> None:
    with serving(head=1000) as (server, echo):
        for head in (b"GET /" + b"x" * 2000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300):
            client = Client(server.port)
            client.send(
                head + (b" HTTP/1.1\r\n\r\n" if b" HTTP" not in head else b"\r\n") * finished
            )
            assert client.answer()[0] == 431
            assert client.closed()
        assert not echo.begun


def test_a_long_body_beside_a_short_head_is_welcome() -> None:
    with serving(head=1000) as (server, _):
        client = Client(server.port)
        client.ask("POST", "/", b"x" * 5000)
        assert client.answer()[0] == 200


def test_there_are_so_many_connections_and_no_more() -> None:
    with serving(connections=3) as (server, _):
        clients = [Client(server.port) for _ in range(3)]
        for client in clients:
            client.ask("POST", "/", b"x")
            assert client.answer()[0] == 200
        more = Client(server.port)
        assert more.answer()[0] == 503
        assert more.closed()
        more.close()
        clients[0].close()
        for _ in range(100):
            again = Client(server.port)
            again.ask("POST", "/", b"x")
            if again.answer()[0] == 200:
                break
            again.close()
            time.sleep(0.02)
        else:
            pytest.fail("a place that became free stayed taken")


def test_a_refusal_reaches_a_client_that_still_sends(echo: Server) -> None:
    client = Client(echo.port)
    client.send(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n")
    for _ in range(30):
        client.send(b"x" * 100_000)
    status, headers, _ = client.answer()
    assert (status, headers["connection"]) == (413, "close")


def test_an_early_answer_to_a_short_body_keeps_the_connection(echo: Server) -> None:
    client = Client(echo.port)
    client.send(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nno")
    assert client.answer()[0] == 413
    client.send(b"ne")
    client.ask("POST", "/", b"next")
    assert client.answer()[2] == b"next"


def test_a_body_that_trickles_in_after_its_answer_gets_no_second_one() -> None:
    with serving(seconds=0.3, head_seconds=0.2) as (server, _):
        client = Client(server.port)
        client.send(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nno")
        assert client.answer()[0] == 413
        assert client.closed()


def test_a_client_that_goes_takes_its_question_along() -> None:
    with serving() as (server, echo):
        client = Client(server.port)
        client.ask("POST", "/slow", b"x")
        while not echo.begun:
            time.sleep(0.01)
        client.close()
        for _ in range(100):
            if echo.cancelled:
                break
            time.sleep(0.02)
        assert echo.cancelled == 1


def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    with serving(head_seconds=0.2, seconds=0.2) as (server, _):
        client = Client(server.port)
        client.ask("GET", "/large")
        time.sleep(1.2)
        found = 0
        try:
            while more := client.socket.recv(1 << 20):
                found += len(more)
        except ConnectionError:
            pass
        assert found < 20_000_000


def test_a_client_that_reads_slowly_gets_its_answer() -> None:
    with serving(head_seconds=0.2, seconds=0.2) as (server, _):
        client = Client(server.port)
        client.ask("GET", "/large")
        found = b""
        while len(found) < 20_000_000:
            more = client.socket.recv(1 << 21)
            if not more:
                break
            found += more
            time.sleep(0.04)
        assert len(found) > 20_000_000
