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
from numpy.typing import NDArray

from thalweg.kinds.classes import decide
from thalweg.models.model import Model, Prediction
from thalweg.monitor.pending import Pending
from thalweg.monitor.versions import Versions
from thalweg.serving.stream.lessons import (
    BEFORE,
    PLACE,
    Came,
    Learned,
    Lesson,
    Lessons,
    Order,
    met_here,
)
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
        lesson = self._lesson(rows, times, came)
        heard = self._run(lesson)
        self._place += events
        drifts = list(heard.drifts)
        if self.lessons.key is not None:
            alone = ~heard.dropped[:events]
            alone[lesson.taught[lesson.taught < events]] = False
            keys = rows.column(self.lessons.key)
            drifts += self._let_wait(lesson, heard, np.flatnonzero(alone), keys)
            # By the events' own time: a stream that is read again is old by the clock.
            self._newest = max(self._newest, int(times.max(initial=self._newest)))
            self._pending.expire(self._newest)
        vectors = None if heard.vectors is None else heard.vectors[:events]
        return Learned(self._prediction(heard, events), drifts, vectors)

    def _lesson(
        self, rows: pa.RecordBatch, times: NDArray[np.int64], came: Sequence[Came]
    ) -> Lesson:
        """Put what happens in a batch in order."""
        target, names = self.lessons.target, self._learner.schema.names
        targets = np.full(rows.num_rows, np.nan)
        if target in rows.schema.names:
            targets = self._learner.read(rows.column(target))
        order = Order(rows.select([n for n in names if n in rows.schema.names]), targets, times)
        for one in came:
            found = self._pending.take(one.keys)
            if len(found.places):
                met = one.take(found.places)
                order.add(found, met, self._learner.read(met.cells))
            here, labels = met_here(rows.column(self.lessons.key), one, found.missed)
            fresh = order.unlabelled(here)
            if fresh.any():
                met = one.take(labels[fresh])
                order.meet(here[fresh], met, self._learner.read(met.cells))
            early = np.setdiff1d(found.missed, labels)
            if len(early):
                rest = one.take(early)
                self._pending.put_label(rest.keys, rest.cells, rest.times)
        return order.lesson(self._known, self._place)

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
            weights=self._learner.weights,
        )
        return heard

    def _let_wait(
        self, lesson: Lesson, heard: Heard, left: NDArray[np.int64], keys: pa.Array
    ) -> Sequence[int]:
        """Let events wait for their labels; those whose label came before them teach now."""
        rows = lesson.rows.take(pa.array(left))
        noted = pa.RecordBatch.from_arrays(
            [*rows.columns, pa.array(lesson.known[left]), pa.array(lesson.places[left])],
            [*rows.schema.names, BEFORE, PLACE],
        )
        said, answers = heard.said[left], heard.answers[left]
        names = keys.take(pa.array(left))
        early = self._pending.put(names, lesson.times[left], noted, said, answers)
        if not len(early.places):
            return ()
        own, rows = left[early.places], rows.take(pa.array(early.places))
        again = Lesson(
            rows,
            self._learner.read(early.cells),
            ~np.arange(len(own)),
            lesson.times[own],
            lesson.times[own],
            lesson.known[own],
            lesson.places[own],
            heard.said[own],
            heard.answers[own],
        )
        return self._run(again).drifts

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
