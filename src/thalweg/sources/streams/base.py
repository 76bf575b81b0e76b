"""The contract of endless rows: streams that they come from, and where they go to exactly once.

A stream has partitions, each a sequence of records that never change; a record is some bytes, the
payload, at a position. A reader says where it wants to go on, so that nothing but positions needs
to be remembered to read the same records again. Whoever writes numbers what it writes, so that what
is written again after a crash is known and passed over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import SourceError

Position = int | str
"""Where a record lies in its partition: the offset, the entry's id, the key. Plain JSON."""

Format = Literal["json", "csv", "arrow"]
"""How payloads are written: a JSON object, a line of CSV, or an Arrow IPC stream of many rows."""


class LostRecordsError(SourceError):
    """Records that were to be read are no longer there."""


class FencedError(SourceError):
    """Another process has taken over what this one was doing."""


@final
@dataclass(frozen=True, slots=True)
class Records:
    """Some records of a partition, in its order.

    Parameters
    ----------
    partition
        Which one.
    payloads
        large_binary [N], as they were sent.
    positions
        int64 or string [N]: where each lies.
    times
        int64 [N]: when the stream took each, in microseconds since 1970.
    """

    partition: str
    payloads: pa.LargeBinaryArray
    positions: pa.Array
    times: NDArray[np.int64]

    @property
    def last(self) -> Position:
        """The position of the last one: where to go on after them."""
        found: Position = self.positions[-1].as_py()
        return found

    def __len__(self) -> int:
        return len(self.payloads)


class Stream(ABC):
    """Where endless rows come from. Used by one thread at a time.

    It reads where it is told to and remembers nothing that matters: a process that takes over needs
    no more than the positions. Every method raises `LostConnectionError` where a server cannot be
    reached now; called again it connects again.
    """

    @property
    @abstractmethod
    def uri(self) -> str:
        """What it was opened with, free of secrets."""

    @property
    @abstractmethod
    def format(self) -> Format:
        """How its payloads are written."""

    @property
    def columns(self) -> Sequence[str] | None:
        """The columns of a line of CSV, in order, where the stream knows them."""
        return None

    @property
    def separator(self) -> str:
        """What parts the cells of a line of CSV."""
        return ","

    @abstractmethod
    def partitions(self) -> Sequence[str]:
        """Name the partitions: always the same ones in the same order."""

    @abstractmethod
    def fetch(
        self,
        partition: str,
        after: Position | None,
        most: int = 65_536,
        until: Position | None = None,
    ) -> Records | None:
        """Give the next records that are there, without waiting for more.

        Parameters
        ----------
        partition
            Of which partition.
        after
            The position of the record before the first one wanted; None for the first there is.
        most
            The most records; fewer may come, as where they are large (about 16 MiB at a time).
        until
            The last position wanted: no record behind it is given.

        Returns
        -------
        Records | None
            One record or more, always the same ones in the same order for the same ``after``; None
            where there are none yet.

        Raises
        ------
        LostRecordsError
            Where records after ``after`` are known to be there no longer.
        SourceError
            Where the stream is damaged or does not exist.
        """

    @abstractmethod
    def newest(self, partition: str) -> Position | None:
        """Give the position of the last record that is there now; None where there is none."""

    @abstractmethod
    def wait(self, after: Mapping[str, Position | None], seconds: float) -> None:
        """Return as soon as there may be records after these positions, or the time is up."""

    @abstractmethod
    def lag(self, after: Mapping[str, Position | None]) -> int | None:
        """Say how many records lie after these positions, as far as that is cheap to know."""

    @abstractmethod
    def commit(self, positions: Mapping[str, Position]) -> None:
        """Tell the stream that all up to these positions is done and will not be wanted again.

        For whoever watches the stream, and for streams that keep what nobody has finished with.
        What counts on a restart is the reader's own memory of them.
        """

    def ended(self) -> bool:
        """Say whether no record can come any more, ever."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Let go of whatever is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@final
@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes to an outlet.

    Parameters
    ----------
    pipeline
        The name of the work: the same after a restart, and no other work's.
    lane
        Which part of the work: each writes its own batches under its own numbers.
    source
        The URI of the stream that is read, free of secrets; empty where there is none.
    """

    pipeline: str
    lane: str
    source: str = ""

    @property
    def name(self) -> str:
        """Both names in one."""
        return f"{self.pipeline}/{self.lane}"


class Exact(ABC):
    """What `Outlet` and `Publisher` promise: each batch exactly once, whatever is killed.

    For one writer, one thread. The writer numbers its batches from 1, ascending, and after a crash
    makes the same batches again; `resume` says what need not be written again. Every method raises
    `LostConnectionError` where a server cannot be reached; the writer then resumes and writes again
    what was not flushed.
    """

    @property
    @abstractmethod
    def uri(self) -> str:
        """What it was opened with, free of secrets."""

    @property
    @abstractmethod
    def guarantee(self) -> str:
        """Say in one sentence how often a row arrives, and what makes sure of it."""

    @property
    @abstractmethod
    def interval(self) -> float:
        """How many seconds what was written had better wait to be flushed with more; 0 for none."""

    @abstractmethod
    def resume(self, fence: int) -> int:
        """Begin, or go on; throw away what was written and not flushed.

        Parameters
        ----------
        fence
            A number that grows whenever another process takes over. From now on whoever has a
            smaller one is refused, where the place is able to.

        Returns
        -------
        int
            The number of the last batch that is there for good; 0 where none is.

        Raises
        ------
        FencedError
            Where a larger fence was here.
        """

    @abstractmethod
    def flush(self, positions: Mapping[str, Position]) -> None:
        """Make all that was written be there for good: every batch of it, or none.

        Parameters
        ----------
        positions
            Up to where the stream that was read has been worked through, by partition.

        Raises
        ------
        FencedError
            Where another process has taken over; nothing was written.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of whatever is open. What was not flushed is thrown away."""


class Outlet(Exact):
    """Where endless rows go to."""

    @abstractmethod
    def write(self, batch: int, rows: pa.RecordBatch) -> None:
        """Take the rows of a batch [N], perhaps none; batches at or below `resume`'s never come."""


class Publisher(Exact):
    """Where payloads go to: what an `Outlet` is for rows, for bytes (see `MessageOutlet`)."""

    @property
    @abstractmethod
    def format(self) -> Format:
        """How rows are to be written as payloads."""

    @property
    @abstractmethod
    def key(self) -> str:
        """The column whose values choose the partition; empty for none."""

    @abstractmethod
    def send(
        self, batch: int, payloads: pa.LargeBinaryArray, keys: pa.LargeStringArray | None = None
    ) -> None:
        """Take payloads [N] of a batch, perhaps none.

        Parameters
        ----------
        batch
            The batch's number.
        payloads
            The bytes of each record.
        keys
            large_string [N]: records of equal keys go to the same partition, in order; without
            keys the publisher chooses.
        """
