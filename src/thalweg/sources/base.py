"""The contract of whatever rows come from and go to.

A source is opened by a URI (`thalweg.sources.open_source`), has an Arrow schema, and gives
record batches with a position after each, from which a later run can go on. Memory does not
grow with rows: a batch is all that is held.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Position:
    """Where a later run goes on.

    Parameters
    ----------
    part
        Which file (in sorted order), partition or table.
    row
        How many rows of that part have been delivered or set aside.
    """

    part: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be read: it neither stops the work nor vanishes.

    Parameters
    ----------
    origin
        The file or table that it came from.
    line
        Its line or row number there, from 1.
    reason
        Why it was set aside, in words.
    content
        The row as it was found, cut to 10,000 characters.
    """

    origin: str
    line: int
    reason: str
    content: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows, in the order of their source.

    Parameters
    ----------
    rows
        The rows.
    position
        Where to go on after them.
    rejects
        What was set aside on the way here since the batch before.
    """

    rows: pa.RecordBatch
    position: Position
    rejects: Sequence[Reject] = ()


class Source(ABC):
    """Where rows come from."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """What the source was opened with, free of secrets."""

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Give the columns, in order. Formats without types (CSV) give every column as text."""

    @abstractmethod
    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        """Read rows.

        Parameters
        ----------
        columns
            The columns wanted, in the order wanted; all of them by default. Others are not read.
        size
            The most rows in one batch; a batch may be smaller, and empty only where it brings
            rejects.
        start
            Where to go on; from the first row by default.

        Yields
        ------
        Batch
            Batches whose rows all have the same Arrow schema. Row order is always the same.
            Positions do not depend on ``size`` or ``columns``. Rejects that no row follows for a
            while, or ever, come with a batch of no rows.

        Raises
        ------
        SourceError
            Where the content cannot be read (damaged, truncated, not text), naming the file.
        ColumnError
            Where a wanted column is not there, with near names.
        """

    @abstractmethod
    def length(self) -> int | None:
        """How many rows there are, where that is known without reading them."""

    @property
    def repeatable(self) -> bool:
        """Whether the same rows come in the same order as long as the fingerprint is the same."""
        return True

    @property
    def folder(self) -> Path | None:
        """The local folder that paths in its cells are meant from; None where there is none."""
        return None

    @abstractmethod
    def fingerprint(self) -> str:
        """Give a text that changes when the content does (names, sizes, times of change)."""


class Sink(ABC):
    """Where rows go to: all of them, or, where the work fails, none.

    Used as a context manager: left normally it commits, left by an exception it aborts.
    """

    @property
    @abstractmethod
    def uri(self) -> str:
        """What the sink was opened with, free of secrets."""

    @abstractmethod
    def write(self, rows: pa.RecordBatch) -> None:
        """Take some rows; the first ones fix the schema."""

    @abstractmethod
    def commit(self) -> None:
        """Make everything written visible at once."""

    @abstractmethod
    def abort(self) -> None:
        """Leave what was there before as it was."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()
