"""What an HTTP request asks and what it is told: the application's own words for both."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, final
from urllib.parse import parse_qsl

from thalweg.core.errors import ThalwegError, near
from thalweg.serving.http.exchange import Receive
from thalweg.serving.http.keys import Who

Header = tuple[bytes, bytes]

JSON: Final[Header] = (b"content-type", b"application/json")

LARGE: Final = 65_536
"""Bytes from which on a body is counted, and read in a thread: it may take some milliseconds."""


@final
class RefusedError(ThalwegError):
    """A request that is answered with an error.

    Attributes
    ----------
    status
        What HTTP calls it.
    reason
        One word, for the metrics.
    headers
        Such as ``retry-after``.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        sentence: tuple[str, str] | tuple[str, str, str],
        *headers: Header,
    ) -> None:
        super().__init__(*sentence)
        self.status = status
        self.reason = reason
        self.headers = headers


@final
class GoneError(Exception):
    """The client has gone: nobody is to be answered."""


@final
class Reply:
    """What a request is told.

    Attributes
    ----------
    status, headers, body
        Of HTTP; ``content-length`` is added.
    model, version, rows
        Who answered, and how much, for the metrics.
    after
        What is to be done once it is sent.
    """

    __slots__ = ("after", "body", "headers", "model", "rows", "status", "version")

    def __init__(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.model = ""
        self.version = ""
        self.rows = 0
        self.after: Callable[[], object] | None = None


@final
class Request:
    """What a client asks.

    Attributes
    ----------
    method, path, headers
        Of HTTP; of equal headers the last.
    who
        Whose key it bears; None where none is needed.
    held
        Bytes of its body that are counted.
    """

    __slots__ = ("_query", "_receive", "headers", "held", "method", "path", "who")

    def __init__(
        self, method: str, path: str, query: bytes, headers: dict[bytes, bytes], receive: Receive
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.who: Who | None = None
        self.held = 0
        self._query = query
        self._receive = receive

    def options(self, known: Sequence[str]) -> Mapping[str, str]:
        """Give the query's parameters.

        Raises
        ------
        RefusedError
            Where one is not known, or is there twice.
        """
        if not self._query:
            return _NONE
        try:
            pairs = parse_qsl(
                self._query.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=16,
            )
        except ValueError:
            raise RefusedError(400, "query", ("a query that is none", "name=value")) from None
        for name, _ in pairs:
            if name not in known:
                shown = name[:40]
                raise RefusedError(
                    400, "query", (f"the option {shown!r}", "one that is known", near(shown, known))
                )
        if len({name for name, _ in pairs}) < len(pairs):
            raise RefusedError(400, "query", ("an option that is there twice", "each once"))
        return dict(pairs)

    def flag(self, name: str, options: Mapping[str, str]) -> bool:
        """Read an option that is true or false.

        Raises
        ------
        RefusedError
            Where it is neither.
        """
        given = options.get(name)
        if given is None:
            return False
        found = _FLAGS.get(given.lower())
        if found is None:
            raise RefusedError(400, "query", (f"{name} is {given[:40]!r}", "true or false"))
        return found

    async def body(self, most: int, hold: Callable[[Request, int], None]) -> bytes:
        """Read the body.

        Parameters
        ----------
        most
            Bytes, packed and unpacked.
        hold
            Is told how many bytes of a large one came, or may come of what is packed; may refuse.

        Raises
        ------
        RefusedError
            Where it is too long, or packed in an unknown way.
        GoneError
            Where the client goes before its end.
        """
        given = self.headers.get(b"content-length")
        if given is None:
            if b"transfer-encoding" not in self.headers:
                raise RefusedError(411, "length", ("a request without content-length", "one"))
            if self.headers[b"transfer-encoding"].strip().lower() != b"chunked":
                raise RefusedError(400, "length", ("a transfer-encoding", "none, or chunked"))
        else:
            _require_short(int(given) if given.isdigit() else 0, most)
        message = await self._receive()
        if message["type"] != "http.request":
            raise GoneError
        body: bytes = message["body"]
        if message["more_body"]:
            body = await self._rest(body, most, hold)
        _require_short(len(body), most)
        if len(body) - self.held > LARGE:
            hold(self, len(body) - self.held)
        encoding = self.headers.get(b"content-encoding")
        return body if encoding is None else await self._unpacked(body, encoding, most, hold)

    async def _unpacked(
        self, body: bytes, encoding: bytes, most: int, hold: Callable[[Request, int], None]
    ) -> bytes:
        """Unpack a body; one that may be large in a thread, and as if it were."""
        bound = min(most, _PACKED * len(body))
        if bound <= LARGE:
            return unpacked(body, encoding, most)
        hold(self, bound)
        found = await asyncio.to_thread(unpacked, body, encoding, most)
        hold(self, len(found) - bound)
        return found

    async def _rest(self, first: bytes, most: int, hold: Callable[[Request, int], None]) -> bytes:
        body = bytearray(first)
        while True:
            _require_short(len(body), most)
            if len(body) - self.held > LARGE:
                hold(self, len(body) - self.held)
            message = await self._receive()
            if message["type"] != "http.request":
                raise GoneError
            body += message["body"]
            if not message["more_body"]:
                return bytes(body)


_PACKED: Final = 1032
"""Times its own length: what a packed body can be at most (RFC 1951)."""

Handler = Callable[[Request], Awaitable[Reply]]

_NONE: Final[Mapping[str, str]] = {}
_FLAGS: Final = {"true": True, "1": True, "": True, "false": False, "0": False}


def _require_short(length: int, most: int) -> None:
    if length > most:
        raise RefusedError(
            413,
            "size",
            (f"a body of {length:,} bytes or more", f"at most {most:,}", "Send several requests."),
        )


def unpacked(body: bytes, encoding: bytes, most: int) -> bytes:
    """Unpack a body, but no more of it than is wanted: a small one may unpack to gigabytes.

    Parameters
    ----------
    body, encoding
        As they came.
    most
        Bytes.

    Raises
    ------
    RefusedError
        Where it is too long, damaged or packed in an unknown way.

    Examples
    --------
    >>> unpacked(zlib.compress(b"abc"), b"deflate", 10)
    b'abc'
    """
    encoding = encoding.strip().lower()
    if encoding in {b"", b"identity"}:
        return body
    if encoding not in {b"gzip", b"deflate"}:
        raise RefusedError(
            415, "encoding", ("a content-encoding that is unknown", "gzip, deflate or none")
        )
    # 32: the header says which of the two it is.
    stream = zlib.decompressobj(32 + zlib.MAX_WBITS)
    try:
        found = stream.decompress(body, most + 1)
    except zlib.error:
        found = b""
    if len(found) > most:
        _require_short(len(found), most)
    if not stream.eof or stream.unused_data:
        raise RefusedError(400, "encoding", ("a packed body that is damaged", "one that is whole"))
    return found
