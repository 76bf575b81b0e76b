"""Requests as they should not be, of every format, sent as fast as a server takes them.

    python tests/serving/http/fuzz.py MODEL --port 8080 --count 1000000 --process 4711

asks a server that runs already; ``MODEL`` says which columns it wants.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import httptools
import orjson
import pyarrow as pa
from hurt import ARROW, JSON, LENGTH, NDJSON, Mutator, Request, frames, good

if TYPE_CHECKING:
    from thalweg.models.compiled import CompiledModel

AHEAD: Final = 32
"""So many requests are on their way before the first answer is read."""


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BrokenError(AssertionError):
    """A connection that ended, or an answer that must not be."""


class Wire:
    """A connection that is kept alive, over which requests go ahead of their answers."""

    def __init__(self, port: int, patience: float = 30.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), patience)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = httptools.HttpResponseParser(self)
        self._replies: list[Reply] = []
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []

    def on_message_begin(self) -> None:
        """See `httptools`."""
        self._headers, self._parts = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `httptools`."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """See `httptools`."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """See `httptools`."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._replies.append(Reply(status, self._headers, b"".join(self._parts)))

    def send(self, data: bytes) -> None:
        """Send some bytes."""
        self._socket.sendall(data)

    def read(self, count: int) -> list[Reply]:
        """Wait for so many answers."""
        while len(self._replies) < count:
            data = self._socket.recv(1 << 18)
            if not data:
                raise BrokenError(f"closed after {len(self._replies)} of {count} answers")
            self._parser.feed_data(data)
        replies, self._replies = self._replies[:count], self._replies[count:]
        return replies

    def ask(self, request: Request) -> Reply:
        """Send one request and wait for its answer."""
        self.send(request.wire())
        return self.read(1)[0]

    def rest(self) -> bytes:
        """Say that nothing more comes, and read what there is until the other side ends."""
        found = []
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while data := self._socket.recv(1 << 16):
                found.append(data)
        except ConnectionError:
            pass
        return b"".join(found)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check(reply: Reply, request: Request) -> None:
    """Hold an answer to what every answer must be.

    Raises
    ------
    BrokenError
        With what was asked.
    """
    wrong = ""
    if reply.status >= 500:
        wrong = f"status {reply.status}"
    elif b"Traceback" in reply.body or b'File "' in reply.body:
        wrong = "a traceback"
    else:
        try:
            wrong = _told_wrong(reply)
        except (ValueError, pa.ArrowException) as error:
            wrong = f"an answer that is not what it says ({error})"
    if wrong:
        raise BrokenError(f"{wrong}: {reply.body[:2000]!r}\nafter {request.wire()[:4000]!r}")


def _told_wrong(reply: Reply) -> str:
    """Read an answer, and say what is wrong with it, or nothing."""
    kind = reply.headers.get("content-type", "").partition(";")[0]
    if reply.status >= 400:
        told = orjson.loads(reply.body) if kind == JSON else None
        return "" if isinstance(told, dict) and told.get("error") else "an error without a word"
    if kind == JSON:
        orjson.loads(reply.body)
    elif kind == NDJSON:
        [*map(orjson.loads, reply.body.splitlines())]
    elif kind == ARROW:
        pa.ipc.open_stream(reply.body).read_all().validate(full=True)
    return ""


def resident(process: int) -> float:
    """Tell the resident memory of a process in MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith("VmRSS")) * 1024 / 1e6


@dataclass
class Told:
    """What came of it all."""

    statuses: Counter[int]
    memory: list[float]
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """By what share memory grew in the second half."""
        half = self.memory[len(self.memory) // 2]
        return max(self.memory[len(self.memory) // 2 :]) / half - 1


def fuzz(
    port: int, seeds: Sequence[Request], count: int, seed: int = 0, process: int | None = None
) -> Told:
    """Send hurt bodies over connections that are kept alive, and a good request among them.

    Parameters
    ----------
    port
        Where a server listens on this machine.
    seeds
        Good requests; see `good`.
    count
        How many hurt ones.
    process
        Whose memory is watched.

    Raises
    ------
    BrokenError
        With the request that was too much.
    """
    told = Told(Counter(), [])
    begun = time.perf_counter()
    with Wire(port) as wire:
        usual = wire.ask(seeds[0])
        for request in seeds:
            if (reply := wire.ask(request)).status != 200:
                raise BrokenError(f"{reply} to {request}, which is whole")
        mutator = Mutator(seeds, seed)
        pending: list[Request] = []
        rounds = max(count // AHEAD, 1)
        for number in range(rounds + 1):
            batch = [*mutator.bodies(AHEAD), seeds[0]] if number < rounds else []
            if pending:
                _check_all(_read(wire, pending), pending, usual, told)
            if batch:
                wire.send(b"".join(request.wire() for request in batch))
            pending = batch
            if process is not None and number % max(rounds // 40, 1) == 0:
                told.memory.append(resident(process))
    told.seconds = time.perf_counter() - begun
    return told


def _check_all(
    replies: Sequence[Reply], pending: Sequence[Request], usual: Reply, told: Told
) -> None:
    """Check answers, of which the last is to a good request."""
    for request, reply in zip(pending, replies, strict=True):
        told.statuses[reply.status] += 1
        check(reply, request)
    if replies[-1].body != usual.body:
        raise BrokenError(f"another answer: {replies[-1].body[:500]!r}, not {usual.body[:500]!r}")


def _read(wire: Wire, pending: Sequence[Request]) -> list[Reply]:
    """Read the answers to some requests; where they end, say which request was the last."""
    replies: list[Reply] = []
    try:
        for _ in pending:
            replies.extend(wire.read(1))
    except (BrokenError, OSError, httptools.HttpParserError) as error:
        after = pending[len(replies)].wire()
        raise BrokenError(f"{error} at {after[:4000]!r}") from error
    return replies


def fuzz_frames(port: int, seeds: Sequence[Request], count: int, seed: int = 0) -> Counter[int]:
    """Send requests whose frame is hurt, each over a connection of its own; count the statuses.

    Each must be answered or cut off in a moment, and a good request must still be answered.
    """
    statuses: Counter[int] = Counter()
    with Wire(port) as keeper:
        usual = keeper.ask(seeds[0])
        for number, data in enumerate(frames(seeds, random.Random(seed), count)):
            with Wire(port, patience=15) as wire:
                with contextlib.suppress(ConnectionError):  # refused before it was all sent
                    wire.send(data)
                try:
                    answer = wire.rest()
                except TimeoutError:
                    raise BrokenError(f"neither answer nor end after {data[:3000]!r}") from None
            found = [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3})", answer)]
            statuses.update(found)
            if any(status >= 500 for status in found) or b"Traceback" in answer:
                raise BrokenError(f"{answer[:1000]!r} after {data[:3000]!r}")
            if number % 10 == 0 and keeper.ask(seeds[0]).body != usual.body:
                raise BrokenError(f"another answer after {data[:3000]!r}")
    return statuses


def fuzz_formats(model: CompiledModel, seeds: Sequence[Request], count: int, seed: int = 0) -> Told:
    """Read hurt bodies without a server: each is answered, or refused as a `BodyError`."""
    from thalweg.serving.http.formats import FORMATS, format_sent, inference
    from thalweg.serving.http.reading import Reader, answer
    from thalweg.serving.http.refusal import BodyError

    reader = Reader(model)
    told = Told(Counter(), [resident(os.getpid())])
    begun = time.perf_counter()
    hurt = Mutator(seeds, seed).bodies(count)
    for number, request in enumerate(itertools.chain(seeds, hurt)):
        status = 200
        length = request.headers.get(LENGTH, "")
        try:
            if request.target.startswith("/v2"):
                head = int(length) if re.fullmatch(r"-?[0-9]+", length) else None
                question, wish = inference.question(request.body, head, reader)
            else:
                form = format_sent(request.headers.get("content-type")) or FORMATS[0]
                question = form.question(request.body, reader)
            if question.feed.rows:
                found = answer("some", model, question, model.run(question.feed.inputs))
                if request.target.startswith("/v2"):
                    inference.answer(found, wish)
                else:
                    form.answer(found)
        except BodyError as error:
            status = error.status
            if number < len(seeds):
                raise BrokenError(f"{error} at {request}, which is whole") from None
        except Exception as error:
            raise BrokenError(f"{error!r} after {request.wire()[:4000]!r}") from error
        told.statuses[status] += 1
        if number % max(count // 40, 1) == 0:
            told.memory.append(resident(os.getpid()))
    told.seconds = time.perf_counter() - begun
    return told


def rows_of(model: Path) -> list[dict[str, Any]]:
    """Make up some rows for a model in a folder."""
    from thalweg.data.schema import Schema

    chance = random.Random(4)
    facts = json.loads((model / "model.json").read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = [{} for _ in range(8)]
    for column in Schema.from_json(facts["schema"]).columns:
        levels = getattr(column.state, "levels", None) or ["a"]
        for row in rows:
            row[column.name] = {
                "number": round(chance.gauss(40, 12), 2),
                "boolean": chance.random() < 0.5,
                "datetime": f"2024-0{chance.randint(1, 9)}-11T10:00:00Z",
            }.get(column.kind, str(chance.choice(levels)))
    return rows


def main() -> None:
    """Fuzz a server that runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", help="what it is served by; its folder's name by default")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--process", type=int, help="whose memory is watched")
    given = parser.parse_args()
    seeds = good(rows_of(given.model), given.name or given.model.name)
    told = fuzz(given.port, seeds, given.count, given.seed, given.process)
    framed = fuzz_frames(given.port, seeds, max(given.count // 500, 50), given.seed)
    written = {
        "bodies": given.count,
        "per_second": round(given.count / told.seconds),
        "statuses": dict(sorted(told.statuses.items())),
        "frames": dict(sorted(framed.items())),
        "memory_mb": [round(one, 1) for one in told.memory],
    }
    sys.stdout.write(json.dumps(written) + "\n")


if __name__ == "__main__":
    main()
