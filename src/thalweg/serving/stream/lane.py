"""A lane: some partitions of a stream with all that is remembered of them, worked on by a process.

The order of things makes it exact. A batch is written into the ledger, then worked on, then handed
to the outlets, which know its number; now and then everything is flushed and a checkpoint written,
and only then is the stream told that it is done. Whatever is killed in between, the next process
loads the checkpoint, makes the batches of the ledger again and hands over those that an outlet does
not have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import SourceError
from thalweg.serving.stream import checkpoint
from thalweg.serving.stream.claim import next_fence
from thalweg.serving.stream.ledger import Batch, Ledger, Part
from thalweg.serving.stream.pace import Latencies, Pace
from thalweg.serving.stream.work import ALERTS, ROWS, WINDOWS, Output, Taken, Work
from thalweg.sources.streams.base import LostRecordsError, Outlet, Position, Records, Stream

if TYPE_CHECKING:
    from thalweg.training.online.record import Standing

PATIENCE: Final = 30.0
"""Seconds that records which were there once may take to come again."""

AHEAD: Final = 1024
"""A batch of so many records has more behind it: the next is read while this one is worked on."""

IDLE: Final = 1.0
"""Seconds of silence after which open windows are looked at again."""


@final
@dataclass(slots=True)
class Tally:
    """What happened, for whoever watches.

    Parameters
    ----------
    records, rows, dead, late, windows, alerts, batches
        How many there were since the process began.
    standing, version
        Where it is learned: how good the predictions were since the stream began, and which version
        predicts.
    latencies
        From when the stream took a record to when its prediction was there for good.
    """

    records: int = 0
    rows: int = 0
    dead: int = 0
    late: int = 0
    windows: int = 0
    alerts: int = 0
    batches: int = 0
    standing: Standing | None = None
    version: int | None = None
    unreadable: dict[str, int] = field(default_factory=dict)
    latencies: Latencies = field(default_factory=Latencies)

    def add(self, records: int, output: Output) -> None:
        """Count a batch."""
        self.batches += 1
        self.records += records
        self.rows += output.rows
        self.dead += output.dead
        self.late += output.late
        self.windows += output.tables[WINDOWS].num_rows if WINDOWS in output.tables else 0
        self.alerts += output.tables[ALERTS].num_rows if ALERTS in output.tables else 0
        for name, cells in output.unreadable.items():
            self.unreadable[name] = self.unreadable.get(name, 0) + cells


@final
class Lane:
    """See the module.

    Parameters
    ----------
    folder
        Where its ledger and checkpoints are, locked by this process.
    partitions
        Which partitions it reads.
    stream
        Where from; the lane's own.
    outlets
        Where to, by what comes out of `Work`.
    work
        Makes the work, which remembers nothing yet.
    latency
        See `Pace`.
    every
        Seconds between two checkpoints.
    tally
        Counts what happens.
    tell
        Told of what a user should know.
    """

    def __init__(
        self,
        folder: Path,
        partitions: Sequence[str],
        stream: Stream,
        outlets: Mapping[str, Outlet],
        work: Callable[[], Work],
        latency: float,
        every: float,
        tally: Tally,
        tell: Callable[[str], None],
    ) -> None:
        self.folder = folder
        self.partitions = tuple(partitions)
        self._stream = stream
        self._outlets = dict(outlets)
        self._make = work
        self._every = every
        self._tally = tally
        self._tell = tell
        self._pace = Pace(latency)
        self._ledger = Ledger(folder)
        self._fence = next_fence(folder)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fetch")
        self._ahead: Future[list[Taken]] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._behind: Future[None] | None = None
        self._work = work()
        self._batch = 0
        self._saved = 0  # the batch of the last checkpoint
        self._woken = True
        self._positions: dict[str, Position] = {}
        self._written: dict[str, float] = {}  # outlet -> when the first rows not flushed came
        # When the stream took the records whose predictions are not flushed yet.
        self._waiting: list[NDArray[np.int64]] = []
        self._due = 0.0
        self._active = time.monotonic()

    @property
    def positions(self) -> dict[str, Position | None]:
        """Where each partition goes on."""
        return {name: self._positions.get(name) for name in self.partitions}

    @property
    def open(self) -> int:
        """How many windows are open."""
        return self._work.open

    @property
    def nbytes(self) -> int:
        """How much memory windows take."""
        return self._work.nbytes

    @property
    def figures(self) -> dict[str, float]:
        """What is worth showing of what is learned."""
        return self._work.figures

    def recover(self, begin: Mapping[str, Position]) -> None:
        """Go on where the last process, or this one before an error, was.

        Parameters
        ----------
        begin
            Behind which record of a partition to begin, where the lane never ran.
        """
        self._drop()
        self._work = self._make()
        self._work.warm_up()
        self._written.clear()
        self._waiting.clear()
        found = checkpoint.load_newest(self.folder, self._tell)
        if found is None:
            own = {name: one for name, one in begin.items() if name in self.partitions}
            found = checkpoint.Checkpoint(positions=own)
            checkpoint.save(found, self.folder)
        self._work.restore(found.facts, found.tables)
        self._positions = dict(found.positions)
        self._batch = self._saved = found.batch
        there = {name: outlet.resume(self._fence) for name, outlet in self._outlets.items()}
        begun = [int(path.stem.partition("-")[2]) for path in self._ledger.files()]
        for batch in self._ledger.read(found.batch):
            taken = [self._work.take(self._again(part)) for part in batch.parts]
            output = self._work.process(batch, taken)
            self._hand_over(batch, output, there)
            self._advance(batch)
        self._require_known(there)
        self._ledger.begin(max(begun, default=found.batch))
        self._flush(self._positions)
        self._woken = True
        self._due = time.monotonic() + self._every
        self._active = time.monotonic()

    def step(self) -> int:
        """Work on what there is, and give the number of records; 0 where there were none."""
        taken = self._taken()
        records = sum(len(one.records) for one in taken)
        idle = time.monotonic() - self._active
        if not records and not (idle > IDLE and self._work.open):
            self._settle_behind()
            self._flush(self._positions, due=True)
            self._save_if_due()
            return 0
        self._active = time.monotonic()
        self._work_on(taken)
        self._pace.took(records, time.monotonic() - self._active)
        self._save_if_due()
        return records

    def _work_on(self, taken: Sequence[Taken], *, final: bool = False) -> None:
        """Make a batch of some records: write it down, do it, hand over what comes of it."""
        parts = tuple(
            Part(
                one.records.partition,
                self._positions.get(one.records.partition),
                one.records.last,
                len(one.records),
                _only_time(one.records),
            )
            for one in taken
        )
        clock = time.time_ns() // 1000
        batch = Batch(self._batch + 1, clock, parts, self._woken, final, self._work.ordered())
        self._ledger.append(batch)
        self._woken = False
        self._advance(batch)
        records = sum(part.records for part in parts)
        if records >= AHEAD:
            self._ahead = self._pool.submit(self._fetch, dict(self._positions), self._pace.most)
        output = self._work.process(batch, taken)
        self._settle_behind()
        self._tally.add(records, output)
        times = [one.records.times for one in taken]
        positions = dict(self._positions)
        if records >= AHEAD:  # less is written sooner than another thread wakes up
            self._behind = self._writer.submit(self._deliver, batch, output, times, positions)
        else:
            self._deliver(batch, output, times, positions)

    def _deliver(
        self,
        batch: Batch,
        output: Output,
        times: Sequence[NDArray[np.int64]],
        positions: Mapping[str, Position],
    ) -> None:
        """Write what came of a batch, perhaps in another thread."""
        self._waiting.extend(times)
        self._hand_over(batch, output, {})
        self._flush(positions, due=True)

    def finish(self) -> None:
        """Close every window: nothing will come any more."""
        if self._work.open:
            self._work_on([], final=True)
        self.save()

    def lag(self) -> int | None:
        """Say how many records wait, as far as that is known."""
        self._settle_ahead()
        return self._stream.lag(self.positions)

    def ended(self) -> bool:
        """Say whether nothing can come any more."""
        return self._ahead is None and self._stream.ended()

    def wait(self, seconds: float) -> None:
        """Wait for records."""
        if self._ahead is None:
            self._stream.wait(self.positions, seconds)

    def save(self) -> None:
        """Flush everything, write a checkpoint, and tell the stream what is done."""
        self._settle_behind()
        self._flush(self._positions)
        self._tally.standing, self._tally.version = self._work.standing, self._work.version
        begun = time.monotonic()
        if self._batch > self._saved:
            facts, tables = self._work.state()
            kept = checkpoint.Checkpoint(self._batch, self._positions, facts, tables)
            oldest = checkpoint.save(kept, self.folder)
            self._ledger.begin(self._batch)
            self._ledger.forget(oldest)
            self._saved = self._batch
            self._settle_ahead()
            self._stream.commit(self._positions)
        took = time.monotonic() - begun
        # Large states are saved more seldom: no more than a tenth of the time goes there.
        self._due = time.monotonic() + max(self._every, 10 * took)

    def close(self) -> None:
        """Let go of everything; what is not saved will be done again."""
        self._drop()
        self._pool.shutdown()
        self._writer.shutdown()
        for outlet in self._outlets.values():
            outlet.close()
        self._ledger.close()
        self._stream.close()

    def _taken(self) -> list[Taken]:
        """Give the next records: those that were read ahead, or what is there now."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead.result()
        return self._fetch(self._positions, self._pace.most)

    def _fetch(self, after: Mapping[str, Position], most: int) -> list[Taken]:
        each = max(1, most // len(self.partitions))
        found = (self._stream.fetch(name, after.get(name), each) for name in self.partitions)
        return [self._work.take(one) for one in found if one is not None]

    def _again(self, part: Part) -> Records:
        """Read the records of a batch again."""
        pieces: list[Records] = []
        after = part.after
        deadline = time.monotonic() + PATIENCE
        while not pieces or pieces[-1].last != part.until:
            one = self._stream.fetch(part.partition, after, until=part.until)
            if one is None:
                if time.monotonic() > deadline:
                    raise LostRecordsError(
                        f"{self._stream.uri} has no records between {after} and {part.until} in "
                        f"partition {part.partition}, which a batch before the restart was made of",
                        "the records that were there",
                        "Restore them, or start with another --state: that batch is lost.",
                    )
                self._stream.wait({part.partition: after}, 0.1)
                continue
            pieces.append(one)
            after = one.last
        found = joined(pieces)
        if part.time is None:
            return found
        times = np.full(len(found), part.time, dtype=np.int64)
        return Records(found.partition, found.payloads, found.positions, times)

    def _require_known(self, there: Mapping[str, int]) -> None:
        """Check that no outlet has a batch that the ledger has not: it would pass over another."""
        for name, number in there.items():
            if number > self._batch:
                raise SourceError(
                    f"{self._outlets[name].uri} has batch {number}, and what {self.folder} "
                    f"remembers ends with batch {self._batch}",
                    "a state that is as new as what came of it",
                    "Restore the whole of it, or give another --state to begin anew.",
                )

    def _advance(self, batch: Batch) -> None:
        self._batch = batch.number
        for part in batch.parts:
            self._positions[part.partition] = part.until

    def _hand_over(self, batch: Batch, output: Output, there: Mapping[str, int]) -> None:
        """Give rows to the outlets that do not have them."""
        for name, rows in output.tables.items():
            outlet = self._outlets.get(name)
            if outlet is not None and batch.number > there.get(name, 0):
                outlet.write(batch.number, rows)
                self._written.setdefault(name, time.monotonic())

    def _flush(self, positions: Mapping[str, Position], *, due: bool = False) -> None:
        """Make what was written be there for good: all of it, or where its time has come."""
        now = time.monotonic()
        for name in list(self._written):
            outlet = self._outlets[name]
            if not due or now - self._written[name] >= outlet.interval:
                outlet.flush(positions)
                del self._written[name]
        if self._waiting and ROWS not in self._written:
            took = time.time() - np.concatenate(self._waiting) / 1e6
            self._tally.latencies.take(took)
            self._waiting.clear()

    def _save_if_due(self) -> None:
        if time.monotonic() >= self._due:
            self.save()

    def _settle_ahead(self) -> None:
        """Wait until no other thread uses the stream."""
        if self._ahead is not None:
            wait([self._ahead])

    def _settle_behind(self) -> None:
        """Wait until no other thread uses the outlets, and hear of its errors."""
        if self._behind is not None:
            behind, self._behind = self._behind, None
            behind.result()

    def _drop(self) -> None:
        """Wait for the other threads, whatever became of their work."""
        if self._ahead is not None:
            wait([self._ahead])
        if self._behind is not None:
            wait([self._behind])
        self._ahead = self._behind = None


def _only_time(records: Records) -> int | None:
    """Give the time that all records have; None where they have several."""
    times = records.times
    return int(times[0]) if (times == times[0]).all() else None


def joined(pieces: Sequence[Records]) -> Records:
    """Put records of one partition one behind the other."""
    if len(pieces) == 1:
        return pieces[0]
    return Records(
        pieces[0].partition,
        pa.concat_arrays([one.payloads for one in pieces]),
        pa.concat_arrays([one.positions for one in pieces]),
        np.concatenate([one.times for one in pieces]),
    )
