"""An address on the web as an outlet: a POST for each batch, with a key that tells a repeat."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import pyarrow as pa

from thalweg.core.errors import LostConnectionError, SourceError
from thalweg.sources.sinks import decoded
from thalweg.sources.streams.base import FencedError, Outlet, Position, Writer
from thalweg.sources.streams.payloads import payloads_of

TIMEOUT: Final = 30.0
PATIENCE: Final = 60.0
"""For how many seconds at most one is waited with that says when to come again."""

_AGAIN: Final = frozenset({408, 425, 429})
_MOVED: Final = frozenset({307, 308})
_HOPS: Final = 5
_SHOWN: Final = 200
_KEPT: Final = "/%:=&?~+!$,;'@()*[]"
"""What may be in an address as it stands."""

_SECRET: Final = re.compile(r"(?=.*\d)[\w.~+=-]{16,}")


@final
class Webhook(Outlet):
    """An address that is sent rows as JSON.

    Each batch that has rows is an array of objects in one POST; with ``#each`` behind the URI,
    every row is an object in a POST of its own. The header ``Idempotency-Key`` names pipeline,
    lane and batch (and row): what is sent again after a crash has the same one.

    Parameters
    ----------
    uri
        Where to, as ``https://example.org/alerts``.
    writer
        Who writes.
    state
        A small file that remembers the last batch that was taken.
    wait
        Waits some seconds.

    Raises
    ------
    SourceError
        Where the URI names no host.
    """

    def __init__(
        self, uri: str, writer: Writer, state: Path, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._at, self._shown = uri.partition("#")[0], shown(uri)
        _parts(self._at, self._shown)
        self._each = uri.partition("#")[2] == "each"
        self._writer, self._state, self._wait = writer, state, wait
        self._fence, self._ready = 0, False
        self._batches: list[tuple[int, pa.RecordBatch]] = []
        self._connection: http.client.HTTPConnection | None = None
        self._place = ("", "")

    @property
    def uri(self) -> str:
        """What it was opened with, free of secrets."""
        return self._shown

    @property
    def guarantee(self) -> str:
        """Say in one sentence how often a row arrives, and what makes sure of it."""
        return (
            "each row once or, after a crash, more often: a repeat has the same Idempotency-Key "
            "(pipeline/lane/batch), by which the receiver can tell it"
        )

    @property
    def interval(self) -> float:
        """Give 0: an alert had better not wait."""
        return 0.0

    def resume(self, fence: int) -> int:
        """Give the last batch that was taken; see `Outlet.resume`."""
        self.close()
        found, batch = self._read()
        if found > fence:
            raise self._fenced(found, fence)
        self._fence, self._ready = fence, True
        self._note(batch)
        return batch

    def write(self, batch: int, rows: pa.RecordBatch) -> None:
        """Keep the rows until they are flushed."""
        self._batches.append((batch, decoded(rows)))

    def flush(self, positions: Mapping[str, Position]) -> None:
        """Send what was written, batch by batch: those that were taken are not sent again.

        Raises
        ------
        LostConnectionError
            Where nobody answers, or the answer is to come again.
        SourceError
            Where the answer is no.
        """
        found, _ = self._read()
        if found != self._fence:
            raise self._fenced(found, self._fence)
        if not self._ready:
            raise LostConnectionError(
                f"{self._shown} was written to after a failure", "to resume before"
            )
        if not self._batches:
            return
        try:
            for batch, rows in self._batches:
                name = f"{_name(self._writer.pipeline)}/{_name(self._writer.lane)}/{batch}"
                for end, body in self._bodies(rows):
                    self._post(body, name + end)
                if rows.num_rows:
                    self._note(batch)
            self._note(self._batches[-1][0])
            self._batches = []
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection, and of what was not sent."""
        self._batches, self._ready = [], False
        self._hang_up()

    def _bodies(self, rows: pa.RecordBatch) -> Iterator[tuple[str, bytes]]:
        """Write what is sent, and how each piece's name ends."""
        objects = payloads_of(rows, "json").to_pylist()
        if self._each:
            yield from ((f"/{place}", one) for place, one in enumerate(objects))
        elif objects:
            yield "", b"[" + b",".join(objects) + b"]"

    def _post(self, body: bytes, name: str) -> None:
        """Send one piece, until it is taken."""
        at, waited = self._at, 0.0
        for _ in range(_HOPS):
            status, headers, words = self._sent(at, body, name)
            if 200 <= status < 300:
                return
            if status in _MOVED:
                at = self._moved(at, headers.get("Location") or "")
                continue
            if status == 429 and (pause := _pause(headers.get("Retry-After"))) is not None:
                waited += pause
                if waited <= PATIENCE:
                    self._wait(pause)
                    continue
            said = f"{self._shown} answers {status}{f' ({words})' if words else ''}"
            if status in _AGAIN or status >= 500:
                raise LostConnectionError(said, "2xx", "It is tried again.")
            raise SourceError(
                said, "2xx", "Does it want rows as JSON by POST, and from you? It was not taken."
            )
        raise LostConnectionError(f"{self._shown} puts off again and again", "an answer")

    def _sent(self, at: str, body: bytes, name: str) -> tuple[int, http.client.HTTPMessage, str]:
        """Send a request, on the connection that is open where that still works."""
        parts = _parts(at, self._shown)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": name,
            "User-Agent": "thalweg",
        }
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        target = parts.path or "/"
        target = quote(f"{target}?{parts.query}" if parts.query else target, safe=_KEPT)
        fresh = self._place != (parts.scheme, parts.netloc) or self._connection is None
        while True:
            try:
                if fresh:
                    self._call(parts.scheme, parts.netloc, parts.hostname or "", parts.port)
                assert self._connection is not None  # noqa: S101 - called just now or before
                self._connection.request("POST", target, body, headers)
                answer = self._connection.getresponse()
                words = answer.read(65_536).decode(errors="replace")
                if not answer.isclosed():
                    self._hang_up()
                return answer.status, answer.headers, " ".join(words.split())[:_SHOWN]
            except (OSError, UnicodeError, http.client.HTTPException) as error:
                self._hang_up()
                # Servers hang up on the idle. What was taken all the same has the same key.
                if not fresh and isinstance(error, (ConnectionError, http.client.BadStatusLine)):
                    fresh = True
                    continue
                raise self._lost(error) from None

    def _call(self, scheme: str, netloc: str, host: str, port: int | None) -> None:
        """Connect."""
        self._hang_up()
        if scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(
                host, port, timeout=TIMEOUT, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        self._place = (scheme, netloc)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _lost(self, error: Exception) -> SourceError:
        """Name what came in between."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return SourceError(
                f"{self._shown} shows a certificate that is not trusted ({error.verify_message})",
                "one that is",
                "Is it the right host?",
            )
        nameless = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
        if nameless or isinstance(error, UnicodeError):
            return SourceError(f"there is no host of {self._shown}", "a host", "Check the URI.")
        words = " ".join(str(error).split()) or type(error).__name__
        return LostConnectionError(
            f"{self._shown} does not answer ({words})", "a server that does", "Is it running?"
        )

    def _moved(self, at: str, to: str) -> str:
        """Follow to another place of the same host, and to no other."""
        place = urljoin(at, to)
        before, after = urlsplit(at), urlsplit(place)
        account, _, _ = before.netloc.rpartition("@")
        if not to or (before.scheme, before.hostname, before.port) != (
            after.scheme,
            after.hostname,
            after.port,
        ):
            raise SourceError(
                f"{self._shown} sends on to {shown(place) if to else 'nowhere'}",
                "an answer from there itself",
                "Name the other address if you trust it.",
            )
        netloc = f"{account}@{after.netloc.rpartition('@')[2]}" if account else after.netloc
        return after._replace(netloc=netloc).geturl()

    def _read(self) -> tuple[int, int]:
        """Read fence and batch."""
        try:
            found = json.loads(self._state.read_bytes())
            if found["writer"] != self._writer.name:
                raise ValueError(found["writer"])
            return int(found["fence"]), int(found["batch"])
        except FileNotFoundError:
            return 0, 0
        except (ValueError, KeyError, TypeError):
            raise SourceError(
                f"{self._state} is not what {self._writer.name} has sent to {self._shown}",
                "the file that was written there",
                "Remove it to send again what may have been sent before.",
            ) from None

    def _note(self, batch: int) -> None:
        """Remember the last batch that was taken."""
        fresh = self._state.with_name(f"{self._state.name}.new")
        facts = {"writer": self._writer.name, "fence": self._fence, "batch": batch}
        with fresh.open("w") as file:
            json.dump(facts, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._state)

    def _fenced(self, found: int, mine: int) -> FencedError:
        return FencedError(
            f"another process has taken over {self._writer.name} to {self._shown}: its fence is "
            f"{found}, this one's is {mine}",
            "one process",
            "Nothing was sent: this one may end.",
        )


def shown(uri: str) -> str:
    """Give an address without what may be secret: the account, the question, a long code.

    Examples
    --------
    >>> shown("https://ann:sesame@hooks.example/services/T0/4f6Zk2mNq8RtVw1x?key=hush")
    'https://hooks.example/services/T0/***'
    """
    parts = urlsplit(uri)
    path = "/".join("***" if _SECRET.fullmatch(one) else one for one in parts.path.split("/"))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"


def _parts(uri: str, told: str) -> SplitResult:
    """Take an address apart."""
    with suppress(ValueError):
        parts = urlsplit(uri)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    raise SourceError(f"{told} names no host", "https://HOST/PATH", "Check the URI.")


def _name(text: str) -> str:
    """Write a name so that a header can hold it."""
    return quote(text, safe="")


def _pause(said: str | None) -> float | None:
    """Read for how long to wait."""
    return float(said) if said and said.isascii() and said.isdigit() else None
