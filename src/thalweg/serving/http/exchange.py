"""One request and its answer on a connection, in the words of ASGI 3."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, Protocol, final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

STATUS: Final = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in HTTPStatus}
"""The first lines of answers."""

_AHEAD: Final = 262_144  # bytes of a body that are read before somebody asks for them
_WORTH: Final = 65_536  # bytes of a body that are rather read than a connection lost
_CLOSE: Final = b"connection: close\r\n"
_NO_BODY: Final = frozenset({204, 304})


class Line(Protocol):
    """What an exchange asks of its connection."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def pause(self) -> None:
        """Read no more for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    async def drained(self) -> None:
        """Wait until the client has read most of what was written."""
        ...

    def answered(self, exchange: Exchange, /) -> None:
        """Go on: the answer is written."""
        ...

    def broken(self, exchange: Exchange, error: BaseException, /) -> None:
        """Close: there is no answer, or only a part of it."""
        ...


@final
class Exchange:
    """What an application knows of its client: `receive` and `send`.

    It does what uvicorn's does in less time: an answer's head and body are one write, and nothing
    is made that most requests do not need.

    Parameters
    ----------
    line
        The connection.
    scope
        The request's head.
    keep_alive
        Whether the client wants another request on the connection.
    expects
        Whether the client waits to be told to go on (``Expect: 100-continue``).
    """

    __slots__ = (
        "_body",
        "_expects",
        "_head",
        "_left",
        "_line",
        "_told",
        "_waiter",
        "complete",
        "gone",
        "keep_alive",
        "more",
        "scope",
        "started",
    )

    def __init__(self, line: Line, scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.more = True  # of the body
        self.gone = False
        self.started = False
        self.complete = False
        self._line = line
        self._expects = expects
        self._told = False  # that the body is at its end
        self._body: bytes | bytearray | None = None  # what nobody has received yet
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""
        self._left: int | None = 0  # bytes of the answer's body; None for chunks

    async def run(self, application: Application) -> None:
        """Have the request answered."""
        try:
            await application(self.scope, self.receive, self.send)
        except BaseException as error:  # a cancelled one ends here as well
            self._line.broken(self, error)
        else:
            if not (self.complete or self.gone):
                self._line.broken(self, RuntimeError("the application gave no whole answer"))

    def feed(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if self.complete:
            return
        if self._body is None:
            self._body = piece
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        if len(self._body) > _AHEAD:
            self._line.pause()
        self._wake()

    def finish(self) -> None:
        """Take the end of the body."""
        self.more = False
        self._wake()

    def leave(self) -> None:
        """Take it that the client has gone."""
        self.gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Message:
        """Wait for the next piece of the body, or for the client to go."""
        if self._expects:
            self._expects = False
            if not self._line.transport.is_closing():
                self._line.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._body is None and (self.more or self._told) and not (self.gone or self.complete):
            self._line.resume()
            self._waiter = self._line.loop.create_future()
            await self._waiter
            self._waiter = None
        if self.gone or self.complete:
            return {"type": "http.disconnect"}
        body = self._body or b""
        self._body = None
        self._told = not self.more
        return {
            "type": "http.request",
            "body": body if isinstance(body, bytes) else bytes(body),
            "more_body": self.more,
        }

    async def send(self, message: Message) -> None:
        """Write a part of the answer."""
        if self.gone:
            return
        if message["type"] == "http.response.start":
            if self.started:
                raise RuntimeError("an answer has one head")
            self._begin(message["status"], message.get("headers", ()))
            return
        if not self.started or self.complete:
            raise RuntimeError("an answer has a head, then a body, once")
        body = message.get("body", b"")
        more = message.get("more_body", False)
        if self._left is None:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        elif self.scope["method"] == "HEAD":
            body = b""
        else:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("an answer is as long as its content-length says")
        transport = self._line.transport
        if len(body) > 16_384 and self._head:
            transport.write(self._head)  # two writes are cheaper than one copy
            self._head = b""
        transport.write(self._head + body if self._head else body)
        self._head = b""
        if more:
            await self._line.drained()
        else:
            self.complete = True
            # Who does not read his answers gets no further ones: they would pile up here.
            await self._line.drained()
            self._line.answered(self)

    def _length(self) -> int:
        """Say how long the body is, at most."""
        for name, value in self.scope["headers"]:
            if name == b"content-length":
                return int(value)
        return sys.maxsize

    def _begin(self, status: int, headers: Any) -> None:
        """Put the answer's head together; it goes with the first of the body."""
        self.started = True
        if self.more and (self._expects or self._length() > _WORTH):
            # Who waits to be told to go on may or may not send the rest: nobody could tell.
            self.keep_alive = False
        self._expects = False
        if status == 204:  # it says nothing of a body, not even that there is none (RFC 9110, 8.6)
            headers = [one for one in headers if one[0] != b"content-length"]
        parts = [STATUS[status]]
        self._left = None
        close = False
        for name, value in headers:
            if b"\n" in value or b"\r" in value:
                raise RuntimeError("a header is one line")
            parts += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                self._left = int(value)
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
                close = True
        if not (self.keep_alive or close):
            parts.append(_CLOSE)
        if self._left is None:
            if self.scope["method"] == "HEAD" or status in _NO_BODY:
                self._left = 0
            else:
                parts.append(b"transfer-encoding: chunked\r\n")
        parts.append(b"\r\n")
        self._head = b"".join(parts)
