"""Standard input through a log: lines, ends, restarts and back-pressure."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thalweg.sources.streams.base import Position, Records
from thalweg.sources.streams.stdin import StandardInput


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        os.close(read)


def until_ended(stream: StandardInput) -> list[bytes]:
    found: list[bytes] = []
    after: Position | None = None
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        records = stream.fetch("0", after)
        if records is not None:
            found += records.payloads.to_pylist()
            after = records.last
        elif stream.ended() and not stream.lag({"0": after}):
            return found
        else:
            stream.wait({"0": after}, 0.05)
    raise AssertionError(found)


def test_lines_are_read_to_the_end_and_again(tmp_path: Path) -> None:
    with pipe() as (read, write), StandardInput(tmp_path / "stdin", read) as stream:
        os.write(write, b'{"a":1}\n{"a"')
        assert not stream.ended()
        os.write(write, b":2}\n\nlast")
        os.close(write)
        assert until_ended(stream) == [b'{"a":1}', b'{"a":2}', b"", b"last"]
    with pipe() as (read, write):
        os.write(write, b"more\n")
        os.close(write)
        with StandardInput(tmp_path / "stdin", read) as stream:
            assert until_ended(stream)[-2:] == [b"last", b"more"]


def test_it_stops_reading_until_lines_are_done_with(tmp_path: Path) -> None:
    folder = tmp_path / "stdin"
    with pipe() as (read, write):
        os.set_blocking(write, False)
        with StandardInput(folder, read, unread=100_000) as stream:
            assert stream.newest("0") is None  # asked once, it reads
            sent = 0
            limit = time.monotonic() + 1.5
            while time.monotonic() < limit:
                try:
                    sent += os.write(write, b"x" * 4095 + b"\n")
                except BlockingIOError:
                    time.sleep(0.01)
            held = sum(path.stat().st_size for path in (folder / "0").glob("*.segment"))
            # What is read at once, and what the pipe itself holds, are more.
            assert 100_000 < held < 1_500_000
            assert sent < 1_700_000
            first = stream.fetch("0", None)
            assert isinstance(first, Records)
            stream.commit({"0": first.last})
        os.close(write)


def test_lines_that_are_done_with_go(tmp_path: Path) -> None:
    folder = tmp_path / "stdin"
    with pipe() as (read, write), StandardInput(folder, read) as stream:
        assert stream.newest("0") is None  # asked once, it reads
        line = b"x" * 65_535 + b"\n"
        for _ in range(300):
            os.write(write, line)
        os.close(write)
        while not stream.ended():
            time.sleep(0.01)
        time.sleep(0.01)
        newest = stream.newest("0")
        assert newest == 299
        stream.commit({"0": newest})
        assert len(list((folder / "0").glob("*.segment"))) == 1
