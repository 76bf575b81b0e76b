"""What the server tells of itself: one line an event, for programs as JSON or for people.

Lines go to standard error. They never hold keys, bodies or cells: callers give names, counts and
versions only, `Log.fault` leaves an exception's own words out (they may quote a cell), and
whatever looks like a key is struck out of every line all the same.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TextIO, final

__all__ = ["LEVELS", "Level", "Log"]

Level = Literal["debug", "info", "warning", "error"]

LEVELS: Final = ("debug", "info", "warning", "error")
"""From talkative to grave."""

SLOW: Final = 1.0
"""Seconds from which on a request is always told of."""

# The characters of a bearer token are those of RFC 6750: what JSON needs stays as it is.
_SECRETS: Final = re.compile(r"tw_[A-Za-z0-9_-]{8,}|(?i:bearer) +[A-Za-z0-9._~+/=-]+")
# One encoder for all lines: `json.dumps` would make one for each.
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False).encode
# What was quoted from outside shall not fill the disk.
_LONGEST: Final = 2_000
# A line is one line, whatever a model's name or a foreign library's words hold.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@final
class Log:
    """Writes events as lines.

    Parameters
    ----------
    stream
        Where to; standard error by default.
    level
        The least grave that is written.
    requests
        Whether every request is told of; if not, only slow ones and our own failures.
    lines
        ``json`` for one object a line, ``text`` for people; by default text on a terminal.
    slow
        Seconds from which on a request is always told of.
    clock
        Gives seconds since 1970.

    Examples
    --------
    >>> Log(sys.stdout, clock=lambda: 0.0).info("swapped", model="adult", version="0123456789ab")
    {"time": "1970-01-01T00:00:00.000Z", "level": "info", "event": "swapped", "model": "adult", \
"version": "0123456789ab"}
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        level: Level = "info",
        requests: bool = False,
        lines: Literal["json", "text"] | None = None,
        slow: float = SLOW,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.requests = requests
        self.slow = slow
        self._stream = sys.stderr if stream is None else stream
        self._least = LEVELS.index(level)
        self._json = not self._stream.isatty() if lines is None else lines == "json"
        self._clock = clock

    def debug(self, event: str, **fields: object) -> None:
        """Tell of what only a developer wants to know."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Tell of what is as it should be."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Tell of what somebody should look at."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Tell of what went wrong."""
        self._write("error", event, fields)

    def fault(self, event: str, error: BaseException, **fields: object) -> None:
        """Tell of our own fault: what kind, and where in the code, but not in the error's words.

        An error of Arrow or of ONNX Runtime may quote the cell that it stumbled over.
        """
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in frames[-12:]]
        self._write("error", event, {**fields, "error": type(error).__name__, "where": where})

    def request(
        self,
        method: str,
        path: str,
        status: int,
        seconds: float,
        *,
        rows: int = 0,
        model: str = "",
        version: str = "",
        who: str = "",
        trace: str = "",
    ) -> None:
        """Tell of a request, if all are wanted, it was slow or it is our failure.

        Parameters
        ----------
        path
            The route, such as ``/v1/models/{name}/predict``, never what was typed.
        who
            The name of the key.
        trace
            The trace's number, 32 hexadecimal digits.
        """
        grave = status >= 500
        if not (self.requests or grave or seconds >= self.slow):
            return
        fields: dict[str, object] = {
            "method": method,
            "path": path,
            "status": status,
            "milliseconds": round(seconds * 1e3, 3),
        }
        told = {"rows": rows, "model": model, "version": version, "key": who, "trace": trace}
        fields.update((name, value) for name, value in told.items() if value)
        self._write("error" if grave else "info", "request", fields)

    @contextmanager
    def adopting(self, *names: str) -> Iterator[None]:
        """Write what the standard library's loggers of these names say, and give them back after.

        The root logger is left alone.

        Parameters
        ----------
        names
            Such as ``uvicorn.error``.
        """
        handler = _Adopted(self)
        loggers = [logging.getLogger(name) for name in names]
        before = [(one.handlers, one.propagate, one.level) for one in loggers]
        for one in loggers:
            one.handlers, one.propagate = [handler], False
            one.setLevel(max(logging.DEBUG, (self._least + 1) * 10))
        try:
            yield
        finally:
            for one, (handlers, propagate, level) in zip(loggers, before, strict=True):
                one.handlers, one.propagate = handlers, propagate
                one.setLevel(level)

    def _write(self, level: Level, event: str, fields: dict[str, object]) -> None:
        if LEVELS.index(level) < self._least:
            return
        now = datetime.fromtimestamp(self._clock(), UTC)
        moment = now.isoformat(timespec="milliseconds")[:-6] + "Z"
        plain = {name: _plain(value) for name, value in fields.items()}
        if self._json:
            told = {"time": moment, "level": level, "event": event[:_LONGEST], **plain}
            line = _ENCODE(told)
        else:
            said = " ".join(f"{name}={_word(value)}" for name, value in plain.items())
            line = f"{moment[11:-1]} {level:7} {event[:_LONGEST]} {said}".rstrip()
        # The whole line at once: a library's words and a field's name may hold anything.
        if not line.isprintable():
            line = _CONTROL.sub(" ", line)
        if "tw_" in line or "bearer" in line.lower():
            line = _SECRETS.sub("(secret)", line)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return  # nobody reads any more: answers matter more than lines


@final
class _Adopted(logging.Handler):
    """Hands the standard library's records over."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        # An error's own words may quote a cell: see `Log.fault`.
        error = record.exc_info[1] if record.exc_info else None
        fields: dict[str, object] = {"logger": record.name}
        said = str(record.msg) if error is not None else record.getMessage()
        if record.levelno >= logging.ERROR and error is not None:
            self._log.fault(said, error, **fields)
        elif record.levelno >= logging.ERROR:
            self._log.error(said, **fields)
        elif record.levelno >= logging.WARNING:
            self._log.warning(said, **fields)
        elif record.levelno >= logging.INFO:
            self._log.info(said, **fields)
        else:
            self._log.debug(said, **fields)


def _plain(value: object) -> object:
    """Give something that JSON can hold, of a bounded length."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value)[:_LONGEST]


def _word(value: object) -> str:
    """Write a value for people: quoted where it holds a blank."""
    text = value if isinstance(value, str) else _ENCODE(value)
    return _ENCODE(text) if " " in text or not text else text
