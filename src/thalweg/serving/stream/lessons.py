"""What is learned from a stream: where labels come from, and in which order a batch is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.monitor.pending import Found, keys_of
from thalweg.serving.stream.rows import stacked
from thalweg.stats.arrays import plain
from thalweg.stats.parsing import is_missing_text
from thalweg.training.online.wishes import Wishes

if TYPE_CHECKING:
    from thalweg.models.decoder import Prediction

BEFORE: Final = " before"
PLACE: Final = " place"
"""Columns that wait beside a predicted row: the last label that was known, which row it was."""

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Lessons:
    """What is learned from a stream, and where labels come from.

    Parameters
    ----------
    target
        The column that labels come in, of events and of label records.
    key
        The column that names an event, so that its label can come later; None: it comes with it.
    labels
        The stream that labels come on, where that is another one.
    wait
        How long a prediction waits for its label, in microseconds.
    wishes
        What the user says of the learner.
    """

    target: str
    key: str | None = None
    labels: str | None = None
    wait: int = 7 * 86_400_000_000
    wishes: Wishes = field(default_factory=Wishes)

    def to_json(self) -> dict[str, Any]:
        """Give what may not change from one run to the next."""
        return {
            "target": self.target,
            "key": self.key,
            "labels": self.labels,
            "detector": self.wishes.detector,
            "experts": None if self.wishes.experts is None else list(self.wishes.experts),
            "seed": self.wishes.seed,
            "columns": dict(self.wishes.columns or {}),
            "drop": list(self.wishes.drop),
        }

    def are_labels(self, rows: pa.RecordBatch) -> NDArray[np.bool_]:
        """Say which rows [N] name an event and hold its label."""
        if self.key is None:
            return np.zeros(rows.num_rows, dtype=bool)
        there = pc.and_(pc.is_valid(rows.column(self.key)), pc.is_valid(rows.column(self.target)))
        found: NDArray[np.bool_] = there.to_numpy(zero_copy_only=False)
        return found & ~is_missing_text(rows.column(self.target))

    def came(self, rows: pa.RecordBatch, times: Numbers, places: Numbers) -> Came:
        """Take labels out of rows [M] that hold nothing else; see `Came`."""
        if self.key is None:
            raise AssertionError
        return Came(rows.column(self.key), rows.column(self.target), times, places)


@final
@dataclass(frozen=True, slots=True)
class Came:
    """Labels that came by themselves.

    Parameters
    ----------
    keys, cells
        Which events [M] they are of, and what they say.
    times
        int64 [M]: when they came, in microseconds since 1970.
    places
        int64 [M]: how many events of the batch came before each.
    """

    keys: pa.Array
    cells: pa.Array
    times: Numbers
    places: Numbers

    @classmethod
    def joined(cls, some: Sequence[Came]) -> Came:
        """Put labels of several partitions in the order in which they came."""
        if not some:
            none = np.zeros(0, np.int64)
            return cls(pa.array([], pa.large_binary()), pa.array([], pa.string()), none, none)
        places = np.concatenate([one.places for one in some])
        order = np.argsort(places, kind="stable")
        return cls(
            pa.concat_arrays([keys_of(one.keys) for one in some]),
            pa.concat_arrays([plain(one.cells) for one in some]),
            np.concatenate([one.times for one in some]),
            places,
        ).take(order)

    def take(self, places: Numbers) -> Came:
        """Choose some of them."""
        some = pa.array(places)
        return Came(
            self.keys.take(some), self.cells.take(some), self.times[places], self.places[places]
        )


@final
@dataclass(frozen=True, slots=True)
class Learned:
    """What came of a batch.

    Parameters
    ----------
    prediction
        What to put beside the events.
    drifts
        After how many labels a change of the error was confirmed.
    vectors
        float32 [N, D]: the embedding of the events; None where there is none.
    """

    prediction: Prediction
    drifts: Sequence[int]
    vectors: NDArray[np.float32] | None = None


@final
@dataclass(frozen=True, slots=True)
class Lesson:
    """The rows of a batch, new ones before old ones whose label has come, and what is done when.

    Parameters
    ----------
    rows
        What is learned from, [N].
    targets
        float64 [N]: what their labels say; NaN where none came.
    steps
        See `thalweg.training.online.base.Script`.
    times, moments
        int64 [N]: when the events were, and when their labels came.
    known
        float64 [N]: the last label that was known when each was predicted.
    places
        int64 [N]: which event of the stream each is, from 0.
    said, answers
        What was said of each when it was predicted, [N, experts, width] and [N, width]; None where
        all are new.
    met
        The new rows [K] whose label came by itself.
    begin
        How many events of the stream came before them all.
    """

    rows: pa.RecordBatch
    targets: Floats
    steps: Numbers
    times: Numbers
    moments: Numbers
    known: Floats
    places: Numbers
    said: Floats | None = None
    answers: Floats | None = None
    met: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    begin: int = 0

    @property
    def taught(self) -> Numbers:
        """The rows that are learned from, in order."""
        learned = ~self.steps[self.steps < 0]
        return learned[~np.isnan(self.targets[learned])]

    @property
    def passed(self) -> Numbers:
        """How many events were predicted before each of `taught` was learned from."""
        predicts = self.steps >= 0
        passed = self.begin + np.cumsum(predicts)
        learns = ~predicts
        taught = ~np.isnan(self.targets[~self.steps[learns]])
        found: Numbers = passed[learns][taught]
        return found


@final
class Order:
    """Puts what happens in a batch in order: an event, its own label, the labels that came then.

    Parameters
    ----------
    rows
        The events [N], in order, with the columns that are learned from.
    targets
        float64 [N]: their own labels; NaN where they came without.
    times
        int64 [N]: when they were.
    """

    def __init__(self, rows: pa.RecordBatch, targets: Floats, times: Numbers) -> None:
        own = np.flatnonzero(~np.isnan(targets))
        self._events = rows.num_rows
        self._rows = [rows]
        self._targets = targets.copy()
        self._turns = [np.zeros(self._events + len(own), np.int64)]
        self._old: list[Floats] = []
        self._met = np.zeros(0, np.int64)
        self._times, self._moments = [times], [times.copy()]
        self._said: list[tuple[Floats, Floats]] = []
        # An event at 4n, its own label behind it, labels that came before it at 4n - 1.
        self._steps = [np.arange(self._events), ~own]
        self._ranks = [4 * np.arange(self._events), 4 * own + 1]

    def add(self, found: Found, came: Came, targets: Floats, turns: Numbers | None = None) -> None:
        """Learn from events of earlier batches, when their labels [H] came.

        ``turns`` [H] say which of several labels between the same two events was the first.
        """
        begin = sum(part.num_rows for part in self._rows)
        self._rows.append(found.rows)
        self._old.append(targets)
        self._times.append(found.times)
        self._moments.append(came.times)
        self._said.append((found.said, found.answers))
        self._steps.append(~np.arange(begin, begin + len(targets)))
        self._ranks.append(4 * came.places - 1)
        self._turns.append(np.zeros(len(targets), np.int64) if turns is None else turns)

    def meet(
        self, here: Numbers, came: Came, targets: Floats, turns: Numbers | None = None
    ) -> None:
        """Learn from events [K] of this batch, when their labels came and no sooner than they."""
        self._targets[here] = targets
        self._met = np.concatenate([self._met, here])
        self._moments[0][here] = came.times
        self._steps.append(~here)
        self._ranks.append(np.maximum(4 * came.places - 1, 4 * here + 2))
        self._turns.append(np.zeros(len(here), np.int64) if turns is None else turns)

    def lesson(self, known: float, place: int) -> Lesson:
        """Give what is to be done.

        Parameters
        ----------
        known
            The last label that was known before the batch; NaN for none.
        place
            How many events there were before it.
        """
        order = np.lexsort((np.concatenate(self._turns), np.concatenate(self._ranks)))
        steps = np.concatenate(self._steps)[order].astype(np.int64)
        targets = np.concatenate([self._targets, *self._old])
        last = np.full(len(targets), np.nan)
        places = np.zeros(len(targets), dtype=np.int64)
        last[: self._events] = _last_known(steps, targets, known)
        places[: self._events] = place + np.arange(self._events)
        if not self._said:
            rows = self._rows[0]
            moved = self._moved()
            return Lesson(rows, targets, steps, *moved, last, places, met=self._met, begin=place)
        old = stacked(self._rows[1:])
        last[self._events :] = old.column(BEFORE).to_numpy(zero_copy_only=False)
        places[self._events :] = old.column(PLACE).to_numpy(zero_copy_only=False)
        rows = stacked([self._rows[0], old.select(self._rows[0].schema.names)])
        said, answers = self._spoken()
        moved = self._moved()
        return Lesson(rows, targets, steps, *moved, last, places, said, answers, self._met, place)

    def _moved(self) -> tuple[Numbers, Numbers]:
        return np.concatenate(self._times), np.concatenate(self._moments)

    def _spoken(self) -> tuple[Floats, Floats]:
        """Put what was said of old rows behind nothing for the new ones."""
        width = max(said.shape[2] for said, _ in self._said)
        experts = max(said.shape[1] for said, _ in self._said)
        everything = [np.full((self._events, experts, width), np.nan)]
        answers = [np.full((self._events, width), np.nan)]
        for said, answer in self._said:
            wider = [(0, 0), (0, 0), (0, width - said.shape[2])]
            everything.append(np.pad(said, wider))
            answers.append(np.pad(answer, [(0, 0), (0, width - answer.shape[1])]))
        return np.concatenate(everything), np.concatenate(answers)


def _last_known(steps: Numbers, targets: Floats, known: float) -> Floats:
    """Give the last label that was known when each row was predicted, in the rows' order."""
    learns = np.flatnonzero(steps < 0)
    values = targets[~steps[learns]]
    there = ~np.isnan(values)
    learns, values = learns[there], np.concatenate([[known], values[there]])
    predicts = np.flatnonzero(steps >= 0)
    found = np.empty(len(predicts))
    found[steps[predicts]] = values[np.searchsorted(learns, predicts)]
    return found
