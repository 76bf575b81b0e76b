"""Learning on a stream: predict, wait for labels, score, learn.

One order holds: that of the stream. A label that comes with its event is learned from before the
next event is predicted; one that comes later, on the same stream or another, when it comes, from
the event as it was when it was predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.kinds.classes import decide
from thalweg.models.decoder import Prediction
from thalweg.models.model import Model
from thalweg.monitor.pending import Pending, keys_of
from thalweg.monitor.versions import Versions
from thalweg.serving.stream.lessons import (
    BEFORE,
    PLACE,
    Came,
    Learned,
    Lesson,
    Lessons,
    Order,
)
from thalweg.serving.stream.meetings import Met, joined_cells, meet
from thalweg.training.online.base import State
from thalweg.training.online.learner import Heard, Learner, Promotion
from thalweg.training.online.scores import Scores
from thalweg.training.online.start import Beginning, cold, warm

LEARNED: Final = "learned.safetensors"
NETWORK: Final = "model"
"""What a version's folder holds: all that was learned, and the trained network, if there is one."""


@final
class Learning:
    """A learner on a stream, with everything that it remembers.

    Parameters
    ----------
    lessons
        What is learned.
    folder
        The lane's folder: what waits for labels is spilled there.
    versions
        The registry of versions.
    model
        The trained model; None for a cold start.
    beginning
        What the columns are, of a cold start.
    """

    def __init__(
        self,
        lessons: Lessons,
        folder: Path,
        versions: Versions,
        model: Model | None,
        beginning: Beginning | None,
    ) -> None:
        self.lessons = lessons
        self._versions = versions
        self._model = model
        if model is not None:
            self._learner = warm(model, lessons.wishes, self._keep)
        elif beginning is not None:
            self._learner = cold(beginning, lessons.wishes, self._keep)
        else:
            raise AssertionError
        self._pending = Pending(lessons.wait, folder / "pending")
        self.scores = Scores(numbers=self._learner.numbers, experts=self._learner.experts)
        self._known = np.nan  # the last label that came
        self._place = 0  # how many events have come
        self._clock = 0
        self._newest = 0  # the latest time of an event
        self._followed = 0  # how many orders of a person
        numbers = self._learner.numbers
        self._classes = [] if model is None or numbers else model.classes

    @property
    def learner(self) -> Learner:
        """Who learns."""
        return self._learner

    @property
    def columns(self) -> list[str]:
        """The columns of which an event must have one."""
        return self._learner.schema.raw

    @property
    def waiting(self) -> int:
        """How many events wait for their label."""
        return self._pending.waiting

    @property
    def counts(self) -> Mapping[str, int]:
        """What became of labels and of those who wait for them."""
        return self._pending.counts

    @property
    def nbytes(self) -> int:
        """How much memory those take that wait."""
        return self._pending.nbytes

    @property
    def figures(self) -> dict[str, float]:
        """What is worth showing while it works."""
        metric = "mae" if self._learner.numbers else "accuracy"
        found = {"version": float(self._learner.version), "waiting": float(self.waiting)}
        recent = self.scores.recent()
        return found | ({metric: recent[metric]} if metric in recent else {})

    def ordered(self) -> tuple[int, int] | None:
        """Look for an order of a person that was not followed: its number and the version."""
        count, version = self._versions.order
        return None if count <= self._followed else (count, version)

    def follow(self, order: tuple[int, int]) -> None:
        """Go back to a version, and to what was learned by then."""
        self._followed, version = order
        folder = self._versions.load_folder(version)
        state = State.from_bytes((folder / LEARNED).read_bytes())
        self._learner.go_back(state, version, self._network(folder))

    def take(
        self,
        rows: pa.RecordBatch,
        times: NDArray[np.int64],
        came: Sequence[Came],
        clock: int,
    ) -> Learned:
        """Predict events and learn from labels.

        Parameters
        ----------
        rows
            The events [N], in order.
        times
            int64 [N]: when they were, in microseconds since 1970.
        came
            The labels that came by themselves.
        clock
            What the clock said when the batch began.

        Returns
        -------
        Learned
            What to put beside the events, and what changed.
        """
        if not self._clock:
            self._clock = clock
            self._keep(Promotion(1, None, "what it began with", {}))
        self._clock = clock
        events = rows.num_rows
        lesson, waits = self._lesson(rows, times, came)
        heard = self._run(lesson)
        self._place += events
        if self.lessons.key is not None:
            self._let_wait(lesson, heard, np.flatnonzero(waits & ~heard.dropped[:events]), rows)
            # By the events' own time: a stream that is read again is old by the clock.
            self._newest = max(self._newest, int(times.max(initial=self._newest)))
            self._pending.expire(self._newest)
        vectors = None if heard.vectors is None else heard.vectors[:events]
        return Learned(self._prediction(heard, events), heard.drifts, vectors)

    def _lesson(
        self, rows: pa.RecordBatch, times: NDArray[np.int64], came: Sequence[Came]
    ) -> tuple[Lesson, NDArray[np.bool_]]:
        """Put what happens in a batch in order, and say which events [N] wait for their label."""
        target, names = self.lessons.target, self._learner.schema.names
        there = np.zeros(rows.num_rows, dtype=bool)
        if target in rows.schema.names:
            there = self._learner.there(rows.column(target))
        own = np.flatnonzero(there)
        said = [rows.column(target).take(pa.array(own))] if len(own) else []
        ranks, turns = [4 * own + 1], [np.zeros(len(own), np.int64)]
        met = self._meet(rows, times, came, there)
        if met is not None:
            said += [met.own.cells, met.late.cells]
            ranks += [np.maximum(4 * met.own.places - 1, 4 * met.here + 2), 4 * met.late.places - 1]
            turns += [met.own_turns, met.turns]
        # Classes get their codes in the order in which labels are learned from.
        order = np.lexsort((np.concatenate(turns), np.concatenate(ranks)))
        codes = np.empty(len(order))
        codes[order] = self._learner.read(joined_cells(said).take(pa.array(order)))
        parts = np.split(codes, np.cumsum([len(one) for one in ranks])[:-1])
        targets = np.full(rows.num_rows, np.nan)
        targets[own] = parts[0]
        script = Order(rows.select([n for n in names if n in rows.schema.names]), targets, times)
        if met is None:
            return script.lesson(self._known, self._place), ~there
        if len(met.here):
            script.meet(met.here, met.own, parts[1], met.own_turns)
        if len(met.turns):
            script.add(met.found, met.late, parts[2], met.turns)
        return script.lesson(self._known, self._place), met.waits & ~there

    def _meet(
        self,
        rows: pa.RecordBatch,
        times: NDArray[np.int64],
        came: Sequence[Came],
        there: NDArray[np.bool_],
    ) -> Met | None:
        """Let labels meet their events; None where no label comes by itself."""
        if self.lessons.key is None:
            return None
        names = keys_of(rows.column(self.lessons.key))
        names = pc.if_else(pa.array(there), pa.scalar(None, names.type), names)
        return meet(self._pending, names, times, Came.joined(came))

    def _run(self, lesson: Lesson) -> Heard:
        """Let the learner do it, and keep the scores."""
        forgotten = self.scores.labels - self._learner.seen  # by going back to a version
        heard = self._learner.run(
            lesson.rows, lesson.targets, lesson.steps, lesson.said, lesson.answers
        )
        taught, passed = lesson.taught, lesson.passed
        if len(taught):  # of rows that are set aside too: their labels are known all the same
            self._known = float(lesson.targets[taught[-1]])
        stay = ~heard.dropped[taught]
        taught, passed = taught[stay], passed[stay]
        for drift in heard.drifts:
            self.scores.mark(drift + forgotten)
        self.scores.predicted(int((lesson.steps >= 0).sum()))
        self.scores.take(
            heard.answers[taught],
            lesson.targets[taught],
            lesson.known[taught],
            passed - lesson.places[taught] - 1,
            spans=lesson.moments[taught] - lesson.times[taught],
            said=heard.said[taught],
            weights=heard.weights,
        )
        return heard

    def _let_wait(
        self, lesson: Lesson, heard: Heard, left: NDArray[np.int64], given: pa.RecordBatch
    ) -> None:
        """Let events of a batch wait for their labels, and note those whose label is there."""
        keys = keys_of(given.column(self.lessons.key))
        met = lesson.met[~heard.dropped[lesson.met]]
        self._pending.note(keys.take(pa.array(met)), lesson.times[met])
        rows = lesson.rows.take(pa.array(left))
        noted = pa.RecordBatch.from_arrays(
            [*rows.columns, pa.array(lesson.known[left]), pa.array(lesson.places[left])],
            [*rows.schema.names, BEFORE, PLACE],
        )
        names, times = keys.take(pa.array(left)), lesson.times[left]
        self._pending.put(names, times, noted, heard.said[left], heard.answers[left])

    def _prediction(self, heard: Heard, events: int) -> Prediction:
        """Put answers of the events into the user's own terms."""
        answers, dropped = heard.answers[:events], heard.dropped[:events]
        silent = dropped | np.isnan(answers).any(axis=1)
        columns: dict[str, pa.Array] = {}
        if self._learner.numbers:
            columns["prediction"] = pa.array(answers[:, 0], mask=silent)
        else:
            threshold = None if self._model is None else self._model.calibration.threshold
            codes = decide(answers, threshold)
            likely = answers[np.arange(events), codes]
            columns["prediction"] = self._learner.named(np.where(silent, -1, codes))
            columns["probability"] = pa.array(likely, mask=silent)
            for code, name in enumerate(self._classes):
                columns[f"probability_{name}"] = pa.array(answers[:, code], mask=silent)
        columns["version"] = pa.array(heard.versions[:events])
        unreadable = {name: cells[:events] for name, cells in heard.unreadable.items()}
        refused = {reason: rows[:events] for reason, rows in heard.refused.items()}
        return Prediction(pa.RecordBatch.from_pydict(columns), dropped, unreadable, refused)

    def _keep(self, promotion: Promotion) -> None:
        """Keep what was learned up to the moment at which a version begins."""
        champion, number = self._learner.model, promotion.version

        def write(folder: Path) -> None:
            (folder / LEARNED).write_bytes(self._learner.state().to_bytes())
            if champion is not None:
                champion.save(folder / NETWORK)

        self._versions.add(
            number,
            write,
            promotion.because,
            promotion.evidence,
            made=self._clock,
            parent=promotion.parent,
        )

    def _network(self, folder: Path) -> Model | None:
        """Load the trained network of a version."""
        return None if self._model is None else Model.load(folder / NETWORK)

    def state(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Give all that it remembers: plain JSON, and tables by name."""
        waiting, tables = self._pending.state()
        learned = self._learner.state().to_bytes()
        facts = {
            "pending": waiting,
            "scores": self.scores.state(),
            "known": None if np.isnan(self._known) else self._known,
            "place": self._place,
            "clock": self._clock,
            "newest": self._newest,
            "followed": self._followed,
        }
        table = pa.table({"learned": pa.array([learned], pa.large_binary())})
        return facts, {**{f"pending-{n}": one for n, one in tables.items()}, "learned": table}

    def restore(self, facts: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> None:
        """Remember what `state` gave."""
        waiting = {
            name.removeprefix("pending-"): one
            for name, one in tables.items()
            if name.startswith("pending-")
        }
        self._pending.restore(facts["pending"], waiting)
        self.scores.restore(facts["scores"])
        state = State.from_bytes(tables["learned"].column(0)[0].as_py())
        version = int(state.facts["version"])
        # The network that answers changes with the version alone.
        network = self._network(self._versions.load_folder(version)) if version > 1 else None
        self._learner.restore(state, network)
        self._known = np.nan if facts["known"] is None else facts["known"]
        self._place, self._clock = facts["place"], facts["clock"]
        self._newest = facts["newest"]
        self._followed = facts["followed"]
