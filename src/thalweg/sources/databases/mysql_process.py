"""Starts, slows down and ends the process that reads from MySQL: see `mysql_reader`.

ConnectorX is the one quick way from MySQL to Arrow. It reads on as fast as the server sends,
whether anybody takes the rows or not; it cannot be told to stop; and where a connection drops it
panics. In a process of its own it can be held still, ended, and its last words be read.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import pyarrow as pa

ROWS: Final = 16_384
HOLD: Final = 0.25
"""After how many seconds without interest in the next rows the process is held still."""

_LAST: Final = 5.0
_SCRIPT: Final = Path(__file__).with_name("mysql_reader.py")


class ReaderError(Exception):
    """The process ended before the rows did; the text is what it said."""


@contextmanager
def reading(uri: str, query: str, before: Sequence[str]) -> Iterator[Iterator[pa.RecordBatch]]:
    """Read a query's rows; whatever happens, the process is gone at the end.

    Parameters
    ----------
    uri
        The server as ConnectorX wants it, with the password: it goes through a pipe.
    query
        The query.
    before
        What is said to the server before it.
    """
    asked = {"uri": uri, "query": query, "before": list(before), "size": ROWS}
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(  # noqa: S603 - our own script
            # -P: the folder of the script holds a csv.py that is not Python's.
            [sys.executable, "-P", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            env=os.environ | {"RUST_BACKTRACE": "0"},
        )
        try:
            with process.stdin as pipe:  # type: ignore[union-attr]  # a pipe was asked for
                pipe.write(json.dumps(asked).encode())
            yield _batches(process, words)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]


def _batches(process: subprocess.Popen[bytes], words: IO[bytes]) -> Iterator[pa.RecordBatch]:
    """Give what the process sends, and check that it came to its end."""
    try:
        reader = pa.ipc.open_stream(process.stdout)
        while (batch := next(reader, None)) is not None:
            hold = threading.Timer(HOLD, _hold, [process])
            hold.daemon = True
            hold.start()
            try:
                yield batch
            finally:
                hold.cancel()
                hold.join()
            _go_on(process)
    except (pa.ArrowException, OSError) as error:
        raise ReaderError(_last(process, words) or str(error)) from None
    if process.wait():
        raise ReaderError(_last(process, words))


def _hold(process: subprocess.Popen[bytes]) -> None:
    if hasattr(signal, "SIGSTOP"):
        process.send_signal(signal.SIGSTOP)


def _go_on(process: subprocess.Popen[bytes]) -> None:
    if hasattr(signal, "SIGCONT"):
        process.send_signal(signal.SIGCONT)


def _last(process: subprocess.Popen[bytes], words: IO[bytes]) -> str:
    """Give the process's last words; one that goes on all the same has none."""
    try:
        process.wait(_LAST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    words.seek(0)
    lines = [line for line in words.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with {process.returncode}"
