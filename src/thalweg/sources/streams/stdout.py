"""Rows as JSON lines on standard output, for whatever reads it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, final

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources.streams.base import Outlet, Position
from thalweg.sources.streams.payloads import payloads_of


@final
class StandardOutput(Outlet):
    """Writes rows to standard output, a JSON object a line.

    Who reads a pipe cannot be asked what it has got: after a crash the batches since the last
    checkpoint come again.
    """

    def __init__(self) -> None:
        self._lines: list[Any] = []

    @property
    def uri(self) -> str:
        """A dash."""
        return "-"

    @property
    def guarantee(self) -> str:
        """Say how often a row arrives."""
        return (
            "at least once: standard output cannot be asked what arrived, so after a crash the "
            "rows since the last checkpoint are written again"
        )

    @property
    def interval(self) -> float:
        """None: whoever looks wants to see rows at once."""
        return 0.0

    def resume(self, fence: int) -> int:
        """Throw away what was not flushed; nothing is known of what was."""
        self._lines = []
        return 0

    def write(self, batch: int, rows: pa.RecordBatch) -> None:
        """Hold rows until they are flushed."""
        payloads = payloads_of(rows, "json")
        if len(payloads):
            self._lines.append(payloads)

    def flush(self, positions: Mapping[str, Position]) -> None:
        """Write the lines.

        Raises
        ------
        SourceError
            Where nobody reads them any more.
        """
        lines, self._lines = self._lines, []
        try:
            for payloads in lines:
                sys.stdout.write("\n".join(payloads.cast(pa.large_string()).to_pylist()) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # What is left in Python's buffer would fail again when the process ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SourceError(
                "standard output was closed",
                "a program that reads it to the end",
                "Start it again, or write elsewhere.",
            ) from None

    def close(self) -> None:
        """Throw away what was not flushed."""
        self._lines = []
