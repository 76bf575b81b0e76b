"""Dead letters sent again, as they came, each once; and tables sent as events."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final
from urllib.parse import quote

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.core.progress import Progress
from thalweg.sources import Source
from thalweg.sources.streams import open_outlet, open_publisher
from thalweg.sources.streams.base import Writer
from thalweg.sources.streams.log import LogStream

MOST: Final = 1000
"""So many letters are sent together."""


@final
@dataclass(frozen=True, slots=True)
class Redriven:
    """How many letters were sent, and how many were passed over for their reason."""

    sent: int
    passed: int


def redrive(
    letters: str, to: str | None, reason: str, progress: Progress, stopping: Callable[[], bool]
) -> Redriven:
    """Send dead letters again, as the bytes that came.

    Each is sent once, however often this is called or killed: the log that they are read from
    numbers them, and where they go to remembers the last number.

    Parameters
    ----------
    letters
        The folder of a pipeline's state, or the ``log://`` URI of dead letters.
    to
        Where to; by default the stream that they came from.
    reason
        Only those whose reason holds this text.
    progress
        Told of the work.
    stopping
        Says when to stop.

    Raises
    ------
    SourceError
        Where there are no letters there, or it is not known where they came from.
    """
    uri, came = _found(letters)
    goal = to or came
    if goal is None:
        raise SourceError(
            f"{letters} does not say where its letters came from",
            "a place to send them to",
            "Add --to URI.",
        )
    with LogStream(uri) as log:
        first = log.fetch("0", None, 1)
        if first is not None:
            _payload(first.payloads[0].as_py(), reason)  # before anything is made
        publisher = open_publisher(goal, Writer(f"redrive:{uri}", reason or "every reason"))
        try:
            after = publisher.resume(time.time_ns() // 1_000_000) - 1
            progress.start("redrive", None, "letters")
            sent = passed = 0
            while not stopping():
                found = log.fetch("0", after if after >= 0 else None, MOST)
                if found is None:
                    break
                payloads = [_payload(one, reason) for one in found.payloads.to_pylist()]
                wanted = [one for one in payloads if one is not None]
                after = int(found.last)
                publisher.send(after + 1, pa.array(wanted, pa.large_binary()))
                publisher.flush({"0": after})
                sent += len(wanted)
                passed += len(payloads) - len(wanted)
                progress.advance(len(payloads))
            progress.stop()
        finally:
            publisher.close()
    return Redriven(sent, passed)


def publish(
    source: Source, to: str, rate: float | None, progress: Progress, stopping: Callable[[], bool]
) -> int:
    """Send a table's rows as events.

    Parameters
    ----------
    source
        The rows.
    to
        Where events can go to; see `thalweg.sources.streams.open_outlet`.
    rate
        How many a second at most; as many as can be by default.
    progress
        Told of the work.
    stopping
        Says when to stop.

    Returns
    -------
    int
        How many were sent.
    """
    outlet = open_outlet(to, Writer(f"publish-{secrets.token_hex(4)}", "0"), Path())
    try:
        outlet.resume(1)
        progress.start("publish", source.length(), "rows")
        begun = time.monotonic()
        sent = 0
        size = 8192 if rate is None else max(1, min(8192, int(rate / 200)))
        for number, batch in enumerate(source.batches(size=size), 1):
            if stopping():
                break
            if rate is not None:
                time.sleep(max(0.0, begun + sent / rate - time.monotonic()))
            outlet.write(number, batch.rows)
            outlet.flush({})
            sent += batch.rows.num_rows
            progress.advance(batch.rows.num_rows)
        progress.stop()
        return sent
    finally:
        outlet.close()


def _found(letters: str) -> tuple[str, str | None]:
    """Find the log of some letters, and where they came from."""
    if letters.startswith("log://"):
        return letters, None
    folder = Path(letters).absolute()
    path = folder / "pipeline.json"
    if not (folder / "dead").is_dir() or not path.is_file():
        raise SourceError(
            f"{letters} holds no dead letters",
            "the state of a stream that has some, or the log:// URI of dead letters",
            "thalweg stream says at its end where they are.",
        )
    return f"log://{quote(str(folder / 'dead'))}", json.loads(path.read_text())["source"]


def _payload(letter: bytes, reason: str) -> bytes | None:
    """Give the bytes that a letter holds; nothing where its reason is not the one wanted."""
    try:
        found = json.loads(letter)
        return base64.b64decode(found["payload"]) if reason in found["reason"] else None
    except (ValueError, KeyError, TypeError):
        raise SourceError(
            f"a record that begins with {letter[:40]!r}",
            "a dead letter, with its reason and its payload",
            "Name the log of a stream's dead letters.",
        ) from None
