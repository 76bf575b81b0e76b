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
from thalweg.serving.stream.lessons import Came, Learned
from thalweg.serving.stream.oddness import Oddness
from thalweg.serving.stream.rows import (
    TRACE,
    Piece,
    Rows,
    any_cell,
    letters_of,
    stacked,
)
from thalweg.serving.stream.vigil import Vigil
from thalweg.sources.streams.base import Records
from thalweg.stats.moments import NO_TIME, read_moments
from thalweg.stats.parsing import FORMATS
from thalweg.stats.windows import Windows
from thalweg.stats.windows.spec import WindowSpec
from thalweg.stats.windows.watermark import Watermark

if TYPE_CHECKING:
    from thalweg.models.compiled import CompiledModel
    from thalweg.models.model import Model
    from thalweg.serving.stream.learning import Learning
    from thalweg.training.online.record import Standing

ROWS: Final = "rows"
WINDOWS: Final = "windows"
LATE: Final = "late"
DEAD: Final = "dead"
ALERTS: Final = "alerts"
"""The names of what comes out."""

LABELS: Final = "labels/"
"""What the names of partitions with labels alone begin with."""

_NOWHERE: Final = "none of the model's columns is there"
_NAMELESS: Final = "a label without the event that it is of, or without what it says"


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
    events
        How many rows there are to predict.
    unreadable
        Column -> cells taken as missing.
    """

    tables: dict[str, pa.RecordBatch] = field(default_factory=dict)
    rows: int = 0
    dead: int = 0
    late: int = 0
    events: int = 0
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
    learning
        Predicts and learns; None: the model predicts as it is.
    labels
        Reads payloads of partitions with labels alone.
    vigil
        Watches for drift; None for nobody.
    looked
        The model whose embedding is watched too; None: columns alone are.
    oddness
        Says anew what is odd; None: the model's own threshold does.
    keep
        Whether a row's own columns come before its prediction.
    """

    def __init__(
        self,
        decoder: Decoder,
        clockwork: Clockwork,
        model: Model | CompiledModel | None = None,
        windows: WindowSpec | None = None,
        partitions: Sequence[str] = (),
        *,
        learning: Learning | None = None,
        labels: Decoder | None = None,
        vigil: Vigil | None = None,
        looked: Model | None = None,
        oddness: Oddness | None = None,
        keep: bool = True,
    ) -> None:
        self._decoder = decoder
        self._learning = learning
        self._labels = labels
        self._vigil = vigil
        self._looked = looked
        self._oddness = oddness
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

    def warm_up(self) -> None:
        """Predict a row of nothing, so that no event waits for what a first prediction loads."""
        if self._model is not None:
            names = self._model.schema.names
            self._model.predict(pa.record_batch({name: pa.nulls(1) for name in names}))

    def take(self, records: Records) -> Taken:
        """Read records; this alone may be done ahead, by another thread."""
        own = self._labels if records.partition.startswith(LABELS) else None
        return Taken(records, (own or self._decoder).decode(records.payloads))

    @property
    def figures(self) -> dict[str, float]:
        """What is worth showing of what is learned."""
        return {} if self._learning is None else self._learning.figures

    @property
    def standing(self) -> Standing | None:
        """How good the predictions were that labels came for."""
        return None if self._learning is None else self._learning.scores.standing()

    @property
    def version(self) -> int | None:
        """Which version predicts."""
        return None if self._learning is None else self._learning.learner.version

    def ordered(self) -> tuple[int, int] | None:
        """Look for an order of a person that is to be followed with the next batch."""
        return None if self._learning is None else self._learning.ordered()

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
        """How much memory windows, windowed features and what waits for labels take."""
        windows = 0 if self._windows is None else self._windows.nbytes
        learned = 0 if self._learning is None else self._learning.nbytes
        return windows + learned + (0 if self._engine is None else self._engine.nbytes)

    def process(self, batch: Batch, taken: Sequence[Taken]) -> Output:
        """Work on a batch: see the class."""
        output = Output()
        dead: list[pa.RecordBatch] = []
        if batch.woken:
            self._watermark.wake(batch.clock)
            for name in self._partitions:
                self._watermark.expect(name, batch.clock)
        if self._learning is not None and batch.order is not None:
            self._learning.follow(batch.order)
        events = [one for one in taken if not one.records.partition.startswith(LABELS)]
        came: list[Came] = []  # each with its place among all events before it
        pieces = [self._piece(one, batch.clock, output, dead, came) for one in events]
        came += self._came(taken, pieces, output, dead)
        mark = self._watermark.advance(batch.clock)
        rows = Rows.of(pieces) if pieces else None
        if self._engine is not None:
            rows = self._featured(self._engine, rows, mark, final=batch.final)
        if rows is None and came:
            rows = self._nothing()
        if rows is not None:
            self._collect(self._predicted(rows, came, batch.clock, output, dead), output)
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
        for name, one in self._remembering().items():
            facts[name], tables = one.state()
            parts |= {(name, own): table for own, table in tables.items()}
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
        parts: dict[str, dict[str, pa.Table]] = {
            name: {} for name in ("windows", "features", "order", *self._remembering())
        }
        for place, (part, name) in facts["tables"].items():
            parts[part][name] = tables[place]
        for name, one in self._remembering().items():
            one.restore(facts[name], parts[name])
        if self._windows is not None:
            self._windows = Windows.from_state(facts["windows"], parts["windows"])
        if self._engine is not None:
            self._engine = Engine.from_state(self._engine.features, parts["features"])
            self._order = Reorder.from_state(parts["order"])

    def _piece(
        self,
        one: Taken,
        clock: int,
        output: Output,
        dead: list[pa.RecordBatch],
        came: list[Came],
    ) -> Piece:
        """Set aside what cannot be read and labels that came alone; find the time of each row."""
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
        alone = np.zeros(len(times), dtype=bool)
        inputs = self._inputs
        if inputs is not None:
            bad[_NOWHERE] = ~any_cell(rows, inputs)
            if self._learning is not None:
                alone = bad[_NOWHERE] & self._learning.lessons.are_labels(rows)
        wrong = alone.copy()
        for reason, found in bad.items():
            fresh = found & ~wrong
            if fresh.any():
                each = rows.filter(pa.array(fresh)) if self._decoder.many else None
                dead.append(letters_of(records, places[fresh], reason, each))
                wrong |= fresh
        if alone.any() and self._learning is not None:
            before = output.events + np.cumsum(~wrong)[alone]
            said = rows.filter(pa.array(alone))
            came.append(self._learning.lessons.came(said, records.times[places[alone]], before))
        output.events += int((~wrong).sum())
        if wrong.any():
            stays = pa.array(~wrong)
            rows, places, times = rows.filter(stays), places[~wrong], times[~wrong]
        late = self._lateness(records.partition, times, clock)
        return Piece(records, rows, places, times, late, self._decoder.many)

    def _remembering(self) -> dict[str, Learning | Vigil | Oddness]:
        """Name what else remembers."""
        found: dict[str, Learning | Vigil | Oddness | None] = {
            "learning": self._learning,
            "vigil": self._vigil,
            "oddness": self._oddness,
        }
        return {name: one for name, one in found.items() if one is not None}

    @property
    def _inputs(self) -> list[str] | None:
        """The columns of which a row must have one to be predicted; None: nothing predicts."""
        if self._learning is not None:
            return self._learning.columns
        return None if self._model is None else self._model.schema.raw

    def _came(
        self,
        taken: Sequence[Taken],
        pieces: Sequence[Piece],
        output: Output,
        dead: list[pa.RecordBatch],
    ) -> list[Came]:
        """Take labels out of partitions of their own: each after the events that came before it."""
        if self._learning is None:
            return []
        found: list[Came] = []
        arrived = [piece.records.times[piece.places] for piece in pieces]
        order = np.maximum.accumulate(np.concatenate([*arrived, np.zeros(0, np.int64)]))
        for one in taken:
            records, decoded = one.records, one.decoded
            if not records.partition.startswith(LABELS):
                continue
            output.unreadable.update(decoded.unreadable)
            if decoded.refused:
                gone = np.fromiter(decoded.refused, np.int64, len(decoded.refused))
                dead.append(letters_of(records, gone, list(decoded.refused.values())))
            said, places = decoded.rows, decoded.places
            whole = self._learning.lessons.are_labels(said)
            if not whole.all():
                each = said.filter(pa.array(~whole)) if self._decoder.many else None
                dead.append(letters_of(records, places[~whole], _NAMELESS, each))
                said, places = said.filter(pa.array(whole)), places[whole]
            times = records.times[places]
            before = np.searchsorted(order, np.maximum.accumulate(times), side="right")
            found.append(self._learning.lessons.came(said, times, before))
        return found

    def _nothing(self) -> Rows:
        """Give no rows at all: labels may come without them."""
        none = pa.RecordBatch.from_pylist([], self._held)
        ready = Rows.untraced(none, np.zeros(0, np.int64))
        if self._engine is None:
            return ready
        features = self._engine.compute(ready.rows, ready.times, self._watermark.value)
        return Rows(
            answered(ready.rows, features), ready.times, ready.late, ready.letters, ready.traces
        )

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

    def _predicted(
        self,
        rows: Rows,
        came: Sequence[Came],
        clock: int,
        output: Output,
        dead: list[pa.RecordBatch],
    ) -> Rows:
        """Put the predictions beside the rows, and set aside those that get none."""
        answers = self._answers(rows, came, clock)
        if answers is None:
            return rows
        prediction = answers.prediction
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
        if self._vigil is not None:
            vectors = answers.vectors
            if vectors is not None and dropped.any():
                vectors = vectors[~dropped]
            alerts = self._vigil.take(given, answers.drifts, clock, self.version or 0, vectors)
            if alerts.num_rows:
                output.tables[ALERTS] = alerts
        if not self._keep:
            given = given.select(prediction.columns.schema.names)
        if given.num_rows:
            output.tables[ROWS] = given
        return joined

    def _answers(self, rows: Rows, came: Sequence[Came], clock: int) -> Learned | None:
        """Predict rows, and learn where that is asked for; None where nothing predicts."""
        if self._learning is not None:
            return self._learning.take(rows.rows, rows.times, came, clock)
        model = self._model
        if model is None or not len(rows.times):
            return None
        vectors = None if self._looked is None else self._looked.embedded(rows.rows)
        prediction = model.predict(rows.rows)
        if self._oddness is not None:
            prediction = self._oddness.take(prediction)
        return Learned(prediction, (), vectors)

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
