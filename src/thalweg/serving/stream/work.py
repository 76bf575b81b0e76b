"""What is done with a batch of a stream: read, predict, take into windows; a function of its past.

What comes out depends on the records, the batch's clock and what came before, and on nothing else:
no clock of its own, no chance. So work that was lost with a process is done again to the same end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import OptionError
from thalweg.data.features.engine import Engine
from thalweg.data.features.order import Reorder
from thalweg.data.schema import CLEANED
from thalweg.serving.stream.decoding import Decoded, Decoder
from thalweg.serving.stream.ledger import Batch
from thalweg.sources.streams.base import Records
from thalweg.stats.parsing import read_numbers, read_times
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

DEAD_SCHEMA: Final = pa.schema(
    [
        ("partition", pa.string()),
        ("position", pa.string()),
        ("time", pa.timestamp("us", "UTC")),
        ("reason", pa.string()),
        ("payload", pa.large_binary()),
    ]
)

_TRACE: Final = pa.schema(
    [
        *(
            pa.field(f" {field.name}", field.type)
            for field in DEAD_SCHEMA
            if field.name != "reason"
        ),
        pa.field(" late", pa.bool_()),
    ]
)
"""What goes along with rows that are held back: where each came from, for a dead letter."""

_NOWHERE: Final = "none of the model's columns is there"
_SECONDS: Final = 1e11  # numbers below are seconds, below a thousand times that milliseconds ...


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
        self._order = Reorder(clockwork.lateness)
        self._held = pa.schema([*decoder.schema, *_TRACE])  # of rows that are held back
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
        rows = _Rows.of(pieces) if pieces else None
        if self._engine is not None:
            rows = self._featured(self._engine, rows, mark, final=batch.final)
        if rows is not None:
            self._collect(self._predicted(rows, output, dead), output)
        if self._windows is not None:
            results = self._windows.close(None if batch.final else mark)
            if results.num_rows:
                output.tables[WINDOWS] = results
        if dead:
            output.tables[DEAD] = _stacked(dead)
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

    def _piece(self, one: Taken, clock: int, output: Output, dead: list[pa.RecordBatch]) -> _Piece:
        """Set aside what cannot be read, and find the time of each row."""
        records, decoded = one.records, one.decoded
        output.unreadable.update(decoded.unreadable)
        if decoded.refused:
            gone = np.fromiter(decoded.refused, np.int64, len(decoded.refused))
            dead.append(_letters(records, gone, list(decoded.refused.values())))
        rows, places = decoded.rows, decoded.places
        times = records.times[places]
        bad: dict[str, NDArray[np.bool_]] = {}
        if self._clockwork.column is not None:
            times, readable = event_times(rows.column(self._clockwork.column))
            bad[f"column {self._clockwork.column!r} holds no time"] = ~readable
            far = readable & ~self._watermark.credible(times, clock)
            hours = self._clockwork.ahead / 3_600_000_000
            bad[f"its time is more than {hours:g} hours ahead of the clock"] = far
        if self._model is not None:
            bad[_NOWHERE] = ~_any_cell(rows, self._model.schema.raw)
        wrong = np.zeros(len(times), dtype=bool)
        for reason, found in bad.items():
            fresh = found & ~wrong
            if fresh.any():
                dead.append(_letters(records, places[fresh], reason))
                wrong |= fresh
        if wrong.any():
            stays = pa.array(~wrong)
            rows, places, times = rows.filter(stays), places[~wrong], times[~wrong]
        return _Piece(records, rows, places, times, self._lateness(records.partition, times, clock))

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
        self, engine: Engine, rows: _Rows | None, mark: int, *, final: bool
    ) -> _Rows | None:
        """Put rows in order of time and compute their windowed features; some are held back."""
        if rows is not None:
            found, times = self._order.take(rows.traced(), rows.times, mark)
        elif self._order.held:
            none = pa.RecordBatch.from_pylist([], self._held)
            found, times = self._order.take(none, np.zeros(0, np.int64), mark)
        else:
            return None
        if final and (rest := self._order.flush()) is not None:
            found, times = _stacked([found, rest[0]]), np.concatenate([times, rest[1]])
        ready = _Rows.untraced(found, times)
        features = engine.compute(ready.rows, times, mark)
        return _Rows(beside(ready.rows, features), times, ready.late, ready.letters, ready.traces)

    def _predicted(self, rows: _Rows, output: Output, dead: list[pa.RecordBatch]) -> _Rows:
        """Put the predictions beside the rows, and set aside those that get none."""
        if self._model is None or not len(rows.times):
            return rows
        prediction = self._model.predict(rows.rows)
        for name, cells in prediction.unreadable.items():
            output.unreadable[name] += int(cells.sum())
        joined = _Rows(
            beside(rows.rows, prediction.columns), rows.times, rows.late, rows.letters, rows.traces
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

    def _collect(self, rows: _Rows, output: Output) -> None:
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


@final
@dataclass(frozen=True, slots=True)
class _Piece:
    """The rows of one partition, the payload that each came in, its time and whether it is late."""

    records: Records
    rows: pa.RecordBatch
    places: NDArray[np.int64]
    times: NDArray[np.int64]
    late: NDArray[np.bool_]


@final
@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows [N] on their way, and what knows where each came from.

    ``letters`` writes dead letters of some rows; ``traces`` gives what it would write of all.
    """

    rows: pa.RecordBatch
    times: NDArray[np.int64]
    late: NDArray[np.bool_]
    letters: Callable[[NDArray[np.int64], str], pa.RecordBatch]
    traces: Callable[[], pa.RecordBatch]

    @classmethod
    def of(cls, pieces: Sequence[_Piece]) -> _Rows:
        """Put pieces together."""
        starts = np.cumsum([0, *(len(piece.places) for piece in pieces)])

        def letters(rows: NDArray[np.int64], reason: str) -> pa.RecordBatch:
            parts = []
            for piece, start in zip(pieces, starts, strict=False):
                own = rows[(rows >= start) & (rows < start + len(piece.places))] - start
                parts.append(_letters(piece.records, piece.places[own], reason))
            return _stacked(parts)

        return cls(
            _stacked([piece.rows for piece in pieces]),
            np.concatenate([piece.times for piece in pieces]),
            np.concatenate([piece.late for piece in pieces]),
            letters,
            lambda: letters(np.arange(starts[-1]), ""),
        )

    def kept(self, stays: NDArray[np.bool_]) -> _Rows:
        """Give some of the rows, which are not asked any more where they came from."""
        rows = self.rows.filter(pa.array(stays))
        return _Rows(rows, self.times[stays], self.late[stays], self.letters, self.traces)

    def traced(self) -> pa.RecordBatch:
        """Give the rows with where they came from beside them."""
        trace = self.traces().drop_columns(["reason"])
        columns = [*self.rows.columns, *trace.columns, pa.array(self.late)]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*self.rows.schema, *_TRACE]))

    @classmethod
    def untraced(cls, traced: pa.RecordBatch, times: NDArray[np.int64]) -> _Rows:
        """Take apart what `traced` gave, or some of it in another order."""
        trace = traced.select(_TRACE.names)

        def letters(rows: NDArray[np.int64], reason: str) -> pa.RecordBatch:
            partition, position, time, payload, _ = trace.take(pa.array(rows)).columns
            reasons = pa.array([reason] * len(rows), pa.string())
            columns = [partition, position, time, reasons, payload]
            return pa.RecordBatch.from_arrays(columns, schema=DEAD_SCHEMA)

        late = trace.column(" late").to_numpy(zero_copy_only=False)
        rows = traced.drop_columns(_TRACE.names)
        return cls(rows, times, late, letters, lambda: letters(np.arange(len(times)), ""))


def event_times(array: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Read times in microseconds since 1970: dates and times as text, or numbers since then.

    A number is taken for seconds, milli-, micro- or nanoseconds by its size.

    Returns
    -------
    tuple
        int64 [N], 0 where there is none; and bool [N].

    Examples
    --------
    >>> event_times(pa.array(["1970-01-01T00:00:01Z", "1700000000", "soon"]))[0].tolist()
    [1000000, 1700000000000000, 0]
    """
    seconds, readable = read_times(array)
    if not readable.all():
        numbers, counted = read_numbers(array)
        size = np.abs(numbers)
        scale = np.select(
            [size < _SECONDS, size < 1e3 * _SECONDS, size < 1e6 * _SECONDS], [1.0, 1e3, 1e6], 1e9
        )
        seconds = np.where(readable, seconds, numbers / scale)
        readable = readable | counted
    micros = np.where(readable, np.rint(seconds * 1e6), 0.0)
    inside = np.abs(micros) < 2.0**62
    return np.where(inside, micros, 0.0).astype(np.int64), readable & inside


def beside(rows: pa.RecordBatch, answers: pa.RecordBatch) -> pa.RecordBatch:
    """Put answers after the rows' own columns.

    Raises
    ------
    OptionError
        Where both have a column of one name.
    """
    for name in answers.schema.names:
        if name in rows.schema.names:
            raise OptionError(
                f"the rows have a column {name!r} of their own",
                "columns of other names than the prediction's",
                "Leave the rows' own columns out with --no-keep (keep=False), or rename it.",
            )
    return pa.RecordBatch.from_arrays(
        [*rows.columns, *answers.columns], schema=pa.schema([*rows.schema, *answers.schema])
    )


def _any_cell(rows: pa.RecordBatch, names: Sequence[str]) -> NDArray[np.bool_]:
    """Say which rows [N] have a cell in one of some columns."""
    found = np.zeros(rows.num_rows, dtype=bool)
    for name in names:
        array = rows.column(name)
        if not array.null_count:
            return np.ones(rows.num_rows, dtype=bool)
        found |= array.is_valid().to_numpy(zero_copy_only=False)
    return found


def _letters(
    records: Records, places: NDArray[np.int64], reasons: str | Sequence[str]
) -> pa.RecordBatch:
    """Write dead letters: some records as they came, each with the reason."""
    rows = pa.array(places, pa.int64())
    count = len(rows)
    why = pa.repeat(reasons, count) if isinstance(reasons, str) else pa.array(reasons, pa.string())
    return pa.RecordBatch.from_arrays(
        [
            pa.repeat(records.partition, count),
            pc.cast(records.positions.take(rows), pa.string()),
            pa.array(records.times[places]).cast(pa.timestamp("us", "UTC")),
            why,
            records.payloads.take(rows).cast(pa.large_binary()),
        ],
        schema=DEAD_SCHEMA,
    )


def _stacked(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Put batches of one schema one behind the other."""
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).combine_chunks()
    found = table.to_batches()
    return found[0] if found else batches[0]
