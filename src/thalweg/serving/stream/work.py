"""What is done with a batch of a stream: read, predict, take into windows; a function of its past.

What comes out depends on the records, the batch's clock and what came before, and on nothing else:
no clock of its own, no chance. So work that was lost with a process is done again to the same end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.data.features.engine import Engine
from thalweg.data.features.order import Reorder
from thalweg.data.schema import CLEANED
from thalweg.serving.answers import answered
from thalweg.serving.stream.decoding import Decoded, Decoder
from thalweg.serving.stream.ledger import Batch
from thalweg.serving.stream.rows import (
    TRACE,
    Piece,
    Rows,
    any_cell,
    letters_of,
    stacked,
)
from thalweg.sources.streams.base import Records
from thalweg.stats.moments import NO_TIME, read_moments
from thalweg.stats.parsing import FORMATS
from thalweg.stats.windows import Windows
from thalweg.stats.windows.spec import WindowSpec
from thalweg.stats.windows.watermark import Watermark

if TYPE_CHECKING:
    from thalweg.models.model import Model

ROWS: Final = "rows"
WINDOWS: Final = "windows"
LATE: Final = "late"
DEAD: Final = "dead"
"""The names of what comes out."""

_NOWHERE: Final = "none of the model's columns is there"


@final
@dataclass(frozen=True, slots=True)
class Clockwork:
    """How event time is told. All durations in microseconds.

    Parameters
    ----------
    column
        The column that holds it; None: when the stream took the record.
    lateness
        How far behind the newest row of its partition a row may come and still be in time.
    idle
        After how long of silence a partition is not waited for.
    ahead
        How far beyond the wall clock a row's time is believed.
    """

    column: str | None = None
    lateness: int = 0
    idle: int = 5_000_000
    ahead: int = 3_600_000_000


@final
@dataclass(slots=True)
class Output:
    """What came of a batch: every record's rows are in ``rows`` of the tables or ``dead``.

    Parameters
    ----------
    tables
        Rows by the name of what they are; only what there is.
    rows
        How many rows were taken in and are not dead.
    dead
        How many records, or rows of them, were set aside.
    late
        How many rows came too late for windows.
    unreadable
        Column -> cells taken as missing.
    """

    tables: dict[str, pa.RecordBatch] = field(default_factory=dict)
    rows: int = 0
    dead: int = 0
    late: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)


@final
@dataclass(frozen=True, slots=True)
class Taken:
    """Records and what they hold."""

    records: Records
    decoded: Decoded


@final
class Work:
    """Works on batches, and remembers what must be remembered.

    Parameters
    ----------
    decoder
        Reads payloads.
    clockwork
        How event time is told.
    model
        Predicts; without one rows go into windows alone.
    windows
        Which windows; None for none.
    partitions
        Where records come from: windows wait for all of them.
    keep
        Whether a row's own columns come before its prediction.
    """

    def __init__(
        self,
        decoder: Decoder,
        clockwork: Clockwork,
        model: Model | None = None,
        windows: WindowSpec | None = None,
        partitions: Sequence[str] = (),
        *,
        keep: bool = True,
    ) -> None:
        self._decoder = decoder
        self._clockwork = clockwork
        self._model = model
        self._keep = keep
        self._spec = windows
        self._windows = None if windows is None else Windows(windows)
        self._watermark = Watermark(clockwork.lateness, clockwork.idle, clockwork.ahead)
        self._partitions = tuple(partitions)
        features = None if model is None else model.schema.features
        self._engine = None if features is None else Engine(features)
        # What the table's dates were read as, those of its stream are.
        self._formats = FORMATS if features is None else features.formats
        self._order = Reorder(clockwork.lateness)
        self._held = pa.schema([*decoder.schema, *TRACE])  # of rows that are held back
        self._timed = windows is not None or features is not None
        self._newest: dict[str, int] = {}  # partition -> the latest event time

    def take(self, records: Records) -> Taken:
        """Read records; this alone may be done ahead, by another thread."""
        return Taken(records, self._decoder.decode(records.payloads))

    @property
    def open(self) -> int:
        """How many windows are open, and rows held back."""
        windows = 0 if self._windows is None else self._windows.open
        return windows + self._order.held

    @property
    def _end(self) -> int:
        """When the last window with any rows ends at the latest."""
        size = 0 if self._spec is None else self._spec.size
        return max(self._newest.values(), default=0) + size

    @property
    def nbytes(self) -> int:
        """How much memory windows and windowed features take."""
        windows = 0 if self._windows is None else self._windows.nbytes
        return windows + (0 if self._engine is None else self._engine.nbytes)

    def process(self, batch: Batch, taken: Sequence[Taken]) -> Output:
        """Work on a batch: see the class."""
        output = Output()
        dead: list[pa.RecordBatch] = []
        if batch.woken:
            self._watermark.wake(batch.clock)
            for name in self._partitions:
                self._watermark.expect(name, batch.clock)
        pieces = [self._piece(one, batch.clock, output, dead) for one in taken]
        mark = self._watermark.advance(batch.clock)
        rows = Rows.of(pieces) if pieces else None
        if self._engine is not None:
            rows = self._featured(self._engine, rows, mark, final=batch.final)
        if rows is not None:
            self._collect(self._predicted(rows, output, dead), output)
        if self._windows is not None:
            results = self._windows.close(max(mark, self._end) if batch.final else mark)
            if results.num_rows:
                output.tables[WINDOWS] = results
        if dead:
            output.tables[DEAD] = stacked(dead)
            output.dead = output.tables[DEAD].num_rows
        return output

    def state(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Give all that is remembered: plain JSON, and tables by name."""
        parts: dict[tuple[str, str], pa.Table] = {}
        facts: dict[str, Any] = {
            "watermark": self._watermark.to_json(),
            "newest": dict(self._newest),
        }
        if self._windows is not None:
            facts["windows"], tables = self._windows.state()
            parts |= {("windows", name): table for name, table in tables.items()}
        if self._engine is not None:
            parts |= {("features", name): one for name, one in self._engine.state().items()}
            parts |= {("order", name): one for name, one in self._order.state().items()}
        # A part's name may hold what no file's name can.
        facts["tables"] = {f"table-{place}": list(name) for place, name in enumerate(parts)}
        return facts, {f"table-{place}": one for place, one in enumerate(parts.values())}

    def restore(self, facts: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> None:
        """Remember what `state` gave."""
        if not facts:
            return
        self._watermark = Watermark.from_json(facts["watermark"])
        self._newest = dict(facts["newest"])
        parts: dict[str, dict[str, pa.Table]] = {"windows": {}, "features": {}, "order": {}}
        for place, (part, name) in facts["tables"].items():
            parts[part][name] = tables[place]
        if self._windows is not None:
            self._windows = Windows.from_state(facts["windows"], parts["windows"])
        if self._engine is not None:
            self._engine = Engine.from_state(self._engine.features, parts["features"])
            self._order = Reorder.from_state(parts["order"])

    def _piece(self, one: Taken, clock: int, output: Output, dead: list[pa.RecordBatch]) -> Piece:
        """Set aside what cannot be read, and find the time of each row."""
        records, decoded = one.records, one.decoded
        output.unreadable.update(decoded.unreadable)
        if decoded.refused:
            gone = np.fromiter(decoded.refused, np.int64, len(decoded.refused))
            dead.append(letters_of(records, gone, list(decoded.refused.values())))
        rows, places = decoded.rows, decoded.places
        times = records.times[places]
        bad: dict[str, NDArray[np.bool_]] = {}
        if self._clockwork.column is not None:
            times = read_moments(rows.column(self._clockwork.column), self._formats)
            readable = times != NO_TIME
            bad[f"column {self._clockwork.column!r} holds no time"] = ~readable
            far = readable & ~self._watermark.credible(times, clock)
            hours = self._clockwork.ahead / 3_600_000_000
            bad[f"its time is more than {hours:g} hours ahead of the clock"] = far
        if self._model is not None:
            bad[_NOWHERE] = ~any_cell(rows, self._model.schema.raw)
        wrong = np.zeros(len(times), dtype=bool)
        for reason, found in bad.items():
            fresh = found & ~wrong
            if fresh.any():
                alone = rows.filter(pa.array(fresh)) if self._decoder.many else None
                dead.append(letters_of(records, places[fresh], reason, alone))
                wrong |= fresh
        if wrong.any():
            stays = pa.array(~wrong)
            rows, places, times = rows.filter(stays), places[~wrong], times[~wrong]
        late = self._lateness(records.partition, times, clock)
        return Piece(records, rows, places, times, late, self._decoder.many)

    def _lateness(self, partition: str, times: NDArray[np.int64], clock: int) -> NDArray[np.bool_]:
        """Say which rows [N] came too late: too far behind the newest one before them.

        That is told by the rows before them alone, so it does not matter how they are cut into
        batches.
        """
        if not self._timed:
            return np.zeros(len(times), dtype=bool)
        if not len(times):
            self._watermark.observe(partition, None, clock)
            return np.zeros(0, dtype=bool)
        before = self._newest.get(partition, int(times[0]))
        newest = np.maximum.accumulate(np.concatenate(([before], times)))
        self._newest[partition] = int(newest[-1])
        self._watermark.observe(partition, int(newest[-1]), clock)
        # Only what stands before a row counts; years 1 and 9999 stay within int64 by far.
        return times < newest[:-1] - self._clockwork.lateness

    def _featured(
        self, engine: Engine, rows: Rows | None, mark: int, *, final: bool
    ) -> Rows | None:
        """Put rows in order of time and compute their windowed features; some are held back."""
        if rows is not None:
            found, times = self._order.take(rows.traced(), rows.times, mark)
        elif self._order.held:
            none = pa.RecordBatch.from_pylist([], self._held)
            found, times = self._order.take(none, np.zeros(0, np.int64), mark)
        else:
            return None
        if final and (rest := self._order.flush()) is not None:
            found, times = stacked([found, rest[0]]), np.concatenate([times, rest[1]])
        ready = Rows.untraced(found, times)
        features = engine.compute(ready.rows, times, mark)
        return Rows(answered(ready.rows, features), times, ready.late, ready.letters, ready.traces)

    def _predicted(self, rows: Rows, output: Output, dead: list[pa.RecordBatch]) -> Rows:
        """Put the predictions beside the rows, and set aside those that get none."""
        if self._model is None or not len(rows.times):
            return rows
        prediction = self._model.predict(rows.rows)
        for name, cells in prediction.unreadable.items():
            output.unreadable[name] += int(cells.sum())
        joined = Rows(
            answered(rows.rows, prediction.columns),
            rows.times,
            rows.late,
            rows.letters,
            rows.traces,
        )
        dropped = prediction.dropped
        if dropped.any():
            told = np.zeros(len(dropped), dtype=bool)
            for reason, mask in [*prediction.refused.items(), (CLEANED, dropped)]:
                fresh = np.flatnonzero(mask & ~told)
                if len(fresh):
                    dead.append(rows.letters(fresh, reason))
                    told[fresh] = True
            joined = joined.kept(~dropped)
        given = joined.rows
        if not self._keep:
            given = given.select(prediction.columns.schema.names)
        if given.num_rows:
            output.tables[ROWS] = given
        return joined

    def _collect(self, rows: Rows, output: Output) -> None:
        """Take rows into the windows; those that are too late go aside."""
        output.rows += len(rows.times)
        if self._windows is None:
            return
        late = rows.late
        timely = rows.kept(~late) if late.any() else rows
        missed = self._windows.take(timely.rows, timely.times)
        if missed.any():  # windows that silence closed
            late = late.copy()
            late[np.flatnonzero(~late)[missed]] = True
        output.late = int(late.sum())
        if output.late:
            output.tables[LATE] = rows.rows.filter(pa.array(late))
