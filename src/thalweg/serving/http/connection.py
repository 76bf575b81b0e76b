"""One connection of a client, with limits: what is slow, idle or too long is cut off."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any, Final, final
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from thalweg.serving.http.exchange import STATUS, Exchange
from thalweg.serving.http.limits import Limits

_LINGER: Final = 2.0  # seconds that the rest of a refused body is read and thrown away
_READ: Final = 65_536  # bytes of an answer that a client must take while it is watched
_STEP: Final = 0.01  # seconds: deadlines are not watched closer than this
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}

_HEAD: Final = "headers"
_BODY: Final = "body"
_ANSWER: Final = "answer"
_LAST: Final = "last"  # answers are under way, and a refusal follows them
_IDLE: Final = "idle"
_OVER: Final = "over"


@final
class Connection(HttpToolsProtocol):
    """uvicorn's connection, cut off where it takes more than its due.

    uvicorn knows no limit but that of idle connections: a client that sends a byte a minute
    (slow loris) holds one for ever. Here each connection has one timer, which looks when the
    present state began and goes to sleep again if that was not too long ago: a request that is
    quick costs no timer at all. A client that has gone takes its question along: the task that
    answers is cancelled.

    Parameters
    ----------
    config, server_state, app_state
        uvicorn's.
    limits
        What is the most of one request and of one server.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits or Limits()
        self._shortest = min(self._limits.seconds, self._limits.head_seconds)
        self._phase = _HEAD
        self._since = 0.0
        self._read = 0  # bytes of the head so far
        self._unsent = 0
        self._raw = 0  # bytes of the body that the parser passes over
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None  # the newest
        self._running: Exchange | None = None
        self._refusal = b""  # told once all before it is answered
        self._queue: deque[Exchange] = deque()  # those that came while another is answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it where there are too many."""
        super().connection_made(transport)
        self._enter(_HEAD)
        self._timer = self.loop.call_later(self._shortest + _STEP, self._look)
        if len(self.connections) > self._limits.connections:
            self._refuse(503, f"more than {self._limits.connections} connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave nothing behind: neither the timer nor a question that nobody waits for."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        if self._running is not None:
            self._running.leave()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._phase is _OVER or self._phase is _LAST:
            return
        if self._phase is _IDLE:
            self._enter(_HEAD)
        if self._phase is _HEAD:
            self._read += len(data)
        try:
            while data:
                if self._raw:
                    data = self._take(data)
                    continue
                try:
                    self.parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as wish:
                    data = data[wish.args[0] :]
        except httptools.HttpParserError as error:
            if not isinstance(error.__context__, httptools.HttpParserError | None):
                self.logger.error("a request could not be taken", exc_info=error)
            self._refuse(400, "what is no HTTP/1.1")
            return
        if self._phase is _HEAD and self._read > self._limits.head:
            self._refuse(431, f"a head of more than {self._limits.head} bytes")

    def on_message_begin(self) -> None:
        """Begin a request."""
        phase = self._phase
        if phase is not _HEAD and phase is not _OVER and phase is not _LAST:
            self._enter(_HEAD)
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those that follow a body are passed over."""
        if self._phase is _HEAD:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the answer, unless the head is too long."""
        if self._phase is _OVER or self._phase is _LAST:
            return
        headers, url = self.headers, self.url
        if self._read > self._limits.head and (
            sum(len(name) + len(value) + 4 for name, value in headers) + len(url)
            > self._limits.head
        ):
            self._refuse(431, f"a head of more than {self._limits.head} bytes")
            return
        parser = self.parser
        version = parser.get_http_version()
        given = dict(headers)
        if len(given) != len(headers) and _twice(headers):
            self._refuse(400, "two headers Host or Authorization")
            return
        if b"host" not in given and version >= "1.1":
            self._refuse(400, "no header Host")
            return
        if parser.should_upgrade():
            # Java's client wishes for HTTP/2 whenever it begins. A wish may be ignored, but the
            # parser takes what follows for that other protocol: the body is read without it.
            self._raw = int(given.get(b"content-length", 0))
            if b"transfer-encoding" in given:
                self._refuse(400, "a wish for another protocol and a body in chunks")
                return
        parsed = httptools.parse_url(url)  # a target for CONNECT is none
        if parsed.host is not None:
            # Whom a target in absolute form names counts, whatever Host says (RFC 9112, 3.2.2).
            headers = [
                (b"host", _authority(parsed)),
                *(one for one in headers if one[0] != b"host"),
            ]
        path = (parsed.path or b"").decode("latin-1")
        exchange = Exchange(
            self,
            {
                "type": "http",
                "asgi": _ASGI,
                "http_version": version,
                "server": self.server,
                "client": self.client,
                "scheme": self.scheme,
                "root_path": "",
                "method": parser.get_method().decode("latin-1"),
                "path": unquote(path) if "%" in path else path,
                "raw_path": parsed.path,
                "query_string": parsed.query or b"",
                "headers": headers,
                "state": self.app_state,
            },
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            expects=self.expect_100_continue,
        )
        self._enter(_BODY)
        self._exchange = exchange
        if self._running is None:
            self._start(exchange)
        else:
            self.pause()
            self._queue.append(exchange)

    def _start(self, exchange: Exchange) -> None:
        self._running = exchange
        task = self._task = self.loop.create_task(exchange.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._phase is _BODY and self._exchange is not None:
            self._exchange.feed(body)

    def on_message_complete(self) -> None:
        """Note that the client has said all."""
        if self._phase is _BODY and self._exchange is not None and not self._raw:
            self._enter(_IDLE if self._exchange.complete else _ANSWER)
            self._exchange.finish()

    def _take(self, data: bytes) -> bytes:
        """Take what belongs to a body that the parser does not read, and give the rest."""
        piece, rest = data[: self._raw], data[self._raw :]
        self._raw -= len(piece)
        self.on_body(piece)
        if not self._raw:
            self.on_message_complete()
        return rest

    def answered(self, exchange: Exchange) -> None:
        """Go on to the next request."""
        self.server_state.total_requests += 1
        self._task = self._running = None
        if self.transport.is_closing():
            return
        if not exchange.keep_alive:
            if exchange.more and exchange is self._exchange:
                self._linger()
            else:
                self._enter(_OVER)
                self.transport.close()
        elif self._queue:
            self._start(self._queue.popleft())
        elif self._phase is _LAST:
            self._say(self._refusal)
        else:
            self.resume()
            if self._phase is _ANSWER:
                self._enter(_IDLE)

    def broken(self, exchange: Exchange, error: BaseException) -> None:
        """Close: there is no answer, or only a part of it. The application has told of it."""
        if not isinstance(error, asyncio.CancelledError):
            self.logger.error("an answer broke off", exc_info=error)
        exchange.leave()
        self.transport.abort()

    def pause(self) -> None:
        """Read no more for now."""
        self.flow.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.flow.read_paused:
            self.flow.resume_reading()

    async def drained(self) -> None:
        """Wait until the client has read most of what was written."""
        if self.flow.write_paused:
            await self.flow.drain()

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._since = self.loop.time()
        self._read = 0

    def _limit(self) -> float:
        """Give the seconds that the present state may last."""
        if self._phase is _OVER:
            return _LINGER
        return self._limits.seconds if self._phase is _BODY else self._limits.head_seconds

    def _look(self) -> None:
        """Cut the connection off if it has been in one state for too long."""
        left = self._since + self._limit() - self.loop.time()
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        # The answer is the server's own affair, as long as the client reads what there is of it.
        answering = self._phase is _ANSWER or self._phase is _LAST
        if left <= 0 and (self._unsent or not answering):
            slow = before > 0 and before - self._unsent < _READ
            if self._phase is _OVER or (self._unsent and slow):
                self.transport.abort()
                return
            begun = self._phase is _HEAD and (self._read or self._running is not None)
            if self._phase is _BODY or begun:
                self._refuse(408, f"a {self._phase} that took too long")
                if self._phase is _OVER:
                    return
            elif (self._phase is _IDLE or self._phase is _HEAD) and not self._unsent:
                self._enter(_OVER)
                self.transport.close()
                return
            self._since = self.loop.time()
            left = self._limit()
        wait = self._shortest if left <= 0 else min(left, self._shortest)
        self._timer = self.loop.call_later(wait + _STEP, self._look)

    def _refuse(self, status: int, given: str) -> None:
        """Say why after all that is under way, unless an answer broke off, and close."""
        if self._phase is _OVER or self._phase is _LAST:
            return
        body = json.dumps({"error": f"{given}; expected {_EXPECTED[status]}."}).encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        refusal = STATUS[status] + head % len(body) + body
        exchange, running = self._exchange, self._running
        if self._phase is _BODY and exchange is not None and exchange.complete:
            self._linger()  # it has its answer
        elif running is None:
            self._say(refusal)
        elif self._phase is _BODY and exchange is running:
            # Its own body is what is wrong.
            running.leave()
            if running.started:
                self.transport.abort()
            else:
                self._say(refusal)
        else:
            if self._phase is _BODY:
                self._queue.pop()  # it is not whole, and refused in its turn
                self._exchange = self._queue[-1] if self._queue else running
            self._refusal = refusal
            self._enter(_LAST)

    def _say(self, refusal: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(refusal)
        self._linger()

    def _linger(self) -> None:
        """Read for a moment what still comes: closed at once, the answer might never arrive."""
        self._enter(_OVER)
        if self._timer is not None:
            self._timer.cancel()
        if self.transport.is_closing():
            return
        self.resume()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(_LINGER, self._look)

    def shutdown(self) -> None:
        """Close, or finish the request under way first."""
        exchange = self._exchange
        if self._phase is _OVER:
            self.transport.abort()
        elif exchange is None or exchange.complete:
            self.transport.close()
        else:
            for one in (exchange, *self._queue):
                one.keep_alive = False


def _twice(headers: list[tuple[bytes, bytes]]) -> bool:
    """Say whether there are two of what nobody could choose between."""
    names = [name for name, _ in headers]
    return names.count(b"host") > 1 or names.count(b"authorization") > 1


def _authority(parsed: Any) -> bytes:
    """Write whom a target names as Host does."""
    host: bytes = b"[%b]" % parsed.host if b":" in parsed.host else parsed.host
    return host if parsed.port is None else b"%b:%d" % (host, parsed.port)


_EXPECTED: Final = {
    400: "a plain HTTP/1.1 request",
    408: "one that is sent without pauses",
    431: "a shorter one",
    503: "fewer, or to come again later",
}
