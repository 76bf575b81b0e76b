"""A stream replayed from a table: each row is predicted first, and learned from later.

Dawid 1984, "Statistical theory: the prequential approach"; Grzenda, Gomes & Bifet 2019, "Delayed
labelling evaluation for data streams". Labels come a fixed number of rows after their row: with
delay 0 before the next row is predicted, with delay d only after d further ones were.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import ColumnError, OptionError, SourceError, near
from thalweg.core.progress import Progress
from thalweg.data.features.order import joined
from thalweg.lab.opponents import Records, River, require_rivals
from thalweg.sources.base import Source
from thalweg.stats.moments import NO_TIME, read_moments
from thalweg.training.online.record import Flow, Opponent
from thalweg.training.online.scores import Scores

BATCH: Final = 4096
"""So many rows are predicted and learned from in one go; the order is exact all the same."""

FROZEN: Final = "frozen"
"""The expert that never learns."""

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


class Told(Protocol):
    """What a learner gives back: see `thalweg.training.online.learner.Heard`."""

    @property
    def answers(self) -> Floats:
        """float64 [N, width]."""

    @property
    def said(self) -> Floats:
        """float64 [N, experts, width]."""

    @property
    def dropped(self) -> NDArray[np.bool_]:
        """Bool [N]: rows that were neither predicted nor learned."""

    @property
    def drifts(self) -> Sequence[int]:
        """After how many labels changes were confirmed."""

    @property
    def weights(self) -> Floats | None:
        """float64 [L, experts]: what each expert counted as each label came."""


class Pupil(Protocol):
    """What learns from a stream: see `thalweg.training.online.learner.Learner`."""

    @property
    def experts(self) -> tuple[str, ...]:
        """The names of the experts."""

    @property
    def weights(self) -> Floats:
        """How much each counts now."""

    @property
    def numbers(self) -> bool:
        """Whether numbers are predicted, not classes."""

    @property
    def classes(self) -> list[str]:
        """The classes seen so far, by code."""

    def read(self, cells: pa.Array) -> Floats:
        """Read labels [N]; NaN where there is none."""

    def run(
        self,
        rows: pa.RecordBatch,
        targets: Floats,
        steps: Numbers,
        said: Floats | None = None,
        answers: Floats | None = None,
    ) -> Told:
        """Take steps: ``r`` predicts row r, ``~r`` learns from row r."""


def prequential(
    learner: Pupil,
    source: Source,
    target: str,
    delay: int,
    progress: Progress,
    rivals: Sequence[str] = (),
    *,
    when: str | None = None,
    changes: Sequence[int] = (),
    seed: int = 0,
) -> Flow:
    """Judge a learner on a stream, as it learns.

    Parameters
    ----------
    learner
        What is judged; it has learned from the stream when this is over.
    source
        The rows, in the order in which they came.
    target
        The column that is predicted.
    delay
        So many rows are predicted between a row and its label.
    progress
        Told of every batch.
    rivals
        Some of ``forest`` and ``hoeffding tree``: River's learners on the same rows.
    when
        The column with the rows' times, by which they must be in order.
    changes
        Before which rows the stream is known to change, from 0.
    seed
        Draws the forest.

    Returns
    -------
    Flow
        Scores beside those of the last label, of the commonest class or the mean, and of the
        rivals; all were judged with the same delay.

    Raises
    ------
    ColumnError
        Where a column is not there, or times go back.
    OptionError
        Where the delay or a rival cannot be, or River is not installed.
    SourceError
        Where there are no rows.
    """
    names = source.schema().names
    for name in (target, *([when] if when else [])):
        if name not in names:
            raise ColumnError(
                f"{source.uri} has no column {name!r}", "one of its columns", near(name, names)
            )
    if delay < 0:
        raise OptionError(f"the delay is {delay}", "a number of rows, 0 or more")
    require_rivals(rivals)
    run = _Run(learner, delay, rivals, sorted(changes), seed)
    progress.start("learn", source.length(), "rows")
    for rows, moments in _read(source, when):
        run.take(rows, target, moments)
        figures = dict(list(run.recent().items())[:1])
        progress.advance(rows.num_rows, figures)
    progress.stop()
    if not run.events:
        raise SourceError(f"{source.uri} has no rows", "a stream of them", "Give another source.")
    return run.finish(target)


def _read(source: Source, when: str | None) -> Iterator[tuple[pa.RecordBatch, Numbers | None]]:
    """Give batches of rows and their times, which must not go back."""
    newest, done = NO_TIME, 0
    for batch in source.batches(size=BATCH):
        rows = batch.rows
        if not rows.num_rows:
            continue
        moments = None
        if when is not None:
            moments = read_moments(rows.column(when))
            back = np.flatnonzero(moments < np.concatenate([[newest], moments[:-1]]))
            if len(back):
                raise ColumnError(
                    f"column {when!r} goes back in time at row {done + int(back[0]) + 1:,}",
                    "rows in the order in which they came",
                    f"Sort them by {when!r}, or leave the time out: then the order of rows counts.",
                )
            newest = int(moments[-1])
        done += rows.num_rows
        yield rows, moments


@final
@dataclass(slots=True)
class _Held:
    """Rows that were predicted, and whose label is yet to come."""

    rows: pa.RecordBatch | None
    targets: Floats
    before: Floats
    said: Floats
    answers: Floats
    moments: Numbers | None

    @property
    def count(self) -> int:
        return len(self.targets)


@final
class _Rival:
    """One of River's learners, and how good it is."""

    def __init__(self, river: River, scores: Scores) -> None:
        self.river = river
        self.scores = scores
        self._answers: Floats = np.zeros((0, 1))

    def run(self, records: Sequence[dict[str, object]], targets: Floats, width: int) -> None:
        """Predict rows [N], and learn from those whose label comes meanwhile."""
        fresh = self.river.run(records, targets, width)
        self._answers = np.concatenate([_wide(self._answers, width), fresh])
        self.scores.predicted(len(records))

    def judge(self, learned: int, targets: Floats, before: Floats, delays: Numbers) -> None:
        """Score the first rows that are not scored yet."""
        answers, self._answers = self._answers[:learned], self._answers[learned:]
        self.scores.take(answers, targets, before, delays)

    def opponent(self) -> Opponent:
        """Give what is reported."""
        rate = self.river.events / max(self.river.seconds, 1e-9)
        return Opponent(standing=self.scores.standing(), events_per_second=rate)


@final
class _Run:
    """A learner and its rivals on their way through a stream."""

    def __init__(
        self, learner: Pupil, delay: int, rivals: Sequence[str], changes: Sequence[int], seed: int
    ) -> None:
        self._learner = learner
        self._delay = delay
        self._changes = list(changes)
        self._scores = Scores(numbers=learner.numbers, experts=learner.experts)
        self._records = Records()
        numbers = learner.numbers
        self._rivals = {
            name: _Rival(
                River(name, numbers=numbers, delay=delay, seed=seed), Scores(numbers=numbers)
            )
            for name in dict.fromkeys(rivals)
        }
        none = np.zeros(0)
        self._held = _Held(None, none, none, np.zeros((0, 0, 1)), np.zeros((0, 1)), None)
        self._known: Floats = np.full(delay + 1, np.nan)  # the last label by each of the last rows
        self._labels = 0
        self._learned = 0
        self._dropped = 0
        self.events = 0
        self._seconds: list[tuple[int, float]] = []

    def recent(self) -> dict[str, float]:
        """Give the metrics of the latest labels, the leading one first."""
        return self._scores.recent()

    def take(self, rows: pa.RecordBatch, target: str, moments: Numbers | None) -> None:
        """Take rows [n]: predict them, and learn from those whose label comes meanwhile."""
        count = rows.num_rows
        begun = time.perf_counter()
        targets = self._learner.read(rows.column(target))
        reading = time.perf_counter() - begun
        rows = rows.drop_columns([target])
        before = self._before(targets)
        self.events += count
        self._scores.predicted(count)
        held = self._held
        whole = held.count + count
        learned = max(0, whole - self._delay)
        # Only rows that are predicted or learned now are given; those between them wait.
        cut = min(learned, held.count)
        early = [] if held.rows is None else [held.rows.slice(0, cut)]
        given = joined([*early, rows])
        predicted = cut + np.arange(count)
        learns = np.arange(held.count, whole) - self._delay
        learns = np.where(learns < held.count, learns, learns - (held.count - cut))
        steps = np.stack([predicted, ~learns], axis=1).ravel()
        steps = steps[np.stack([np.ones(count, bool), learns >= 0], axis=1).ravel()]
        heard = self._run(given, np.concatenate([held.targets[:cut], targets]), steps, cut, reading)
        width = heard.answers.shape[1]
        said, answers = _wide(held.said, width), _wide(held.answers, width)
        if not held.count:
            said = np.zeros((0, *heard.said.shape[1:]))
        targets = np.concatenate([held.targets, np.where(heard.dropped[cut:], np.nan, targets)])
        self._dropped += int(heard.dropped[cut:].sum())
        self._held = _Held(
            rows if held.rows is None else joined([held.rows, rows]),
            targets,
            np.concatenate([held.before, before]),
            np.concatenate([said, heard.said[cut:]]),
            np.concatenate([answers, heard.answers[cut:]]),
            _behind(held.moments, moments),
        )
        records = self._records.of(rows) if self._rivals else []
        for rival in self._rivals.values():
            rival.run(records, targets[held.count :], width)
        self._judge(learned, heard.drifts, heard.weights)

    def _run(
        self, rows: pa.RecordBatch, targets: Floats, steps: Numbers, cut: int, reading: float
    ) -> Told:
        """Let the learner take the steps; the first rows were predicted earlier."""
        held = self._held
        fresh = rows.num_rows - cut
        begun = time.perf_counter()
        if cut:
            pad = np.full((fresh, *held.said.shape[1:]), np.nan)
            said = np.concatenate([held.said[:cut], pad])
            answers = np.concatenate(
                [held.answers[:cut], pad[:, 0] if pad.shape[1] else pad.sum(1)]
            )
            heard = self._learner.run(rows, targets, steps, said, answers)
        else:
            heard = self._learner.run(rows, targets, steps)
        self._seconds.append((fresh, reading + time.perf_counter() - begun))
        return heard

    def _judge(self, learned: int, drifts: Sequence[int], weights: Floats | None) -> None:
        """Score the first rows that wait, and let go of them."""
        held = self._held
        targets, before = held.targets[:learned], held.before[:learned]
        labels = np.cumsum(~np.isnan(targets))
        while self._changes and self._changes[0] < self._learned + learned:
            at = self._changes.pop(0) - self._learned
            self._scores.mark(self._labels + (int(labels[at - 1]) if at > 0 else 0), "given")
        for at in drifts:
            self._scores.mark(at)
        self._labels += int(labels[-1]) if learned else 0
        late = np.minimum(self._delay, self.events - 1 - self._learned - np.arange(learned))
        spans = None
        if held.moments is not None:
            spans = held.moments[np.arange(learned) + late] - held.moments[:learned]
        self._scores.take(
            held.answers[:learned],
            targets,
            before,
            late,
            spans=spans,
            said=held.said[:learned],
            weights=weights,
        )
        for rival in self._rivals.values():
            rival.judge(learned, targets, before, late)
        self._learned += learned
        self._held = _Held(
            None if held.rows is None else held.rows.slice(learned),
            held.targets[learned:],
            held.before[learned:],
            held.said[learned:],
            held.answers[learned:],
            None if held.moments is None else held.moments[learned:],
        )

    def _before(self, targets: Floats) -> Floats:
        """Give for each new row the last label that is known when it is predicted."""
        line = np.concatenate([self._known[-1:], targets])
        last = np.maximum.accumulate(np.where(np.isnan(line), 0, np.arange(len(line))))
        known = np.concatenate([self._known, line[last][1:]])
        self._known = known[len(targets) :]
        before: Floats = known[: len(targets)]
        return before

    def finish(self, target: str) -> Flow:
        """Learn from the labels that are still to come, and report."""
        held = self._held
        if held.rows is not None and held.count:
            steps = ~np.arange(held.count)
            heard = self._learner.run(held.rows, held.targets, steps, held.said, held.answers)
            self._judge(held.count, heard.drifts, heard.weights)
        # What is compiled is compiled with the first batch.
        timed = self._seconds[1:] or self._seconds
        events, seconds = (sum(column) for column in zip(*timed, strict=True))
        warnings = []
        if self._dropped:
            warnings.append(
                f"{self._dropped:,} rows were set aside by the trained network: they were neither "
                "predicted nor scored."
            )
        return Flow(
            target=target,
            delay=self._delay,
            standing=self._scores.standing(),
            events_per_second=events / max(seconds, 1e-9),
            seconds=sum(one for _, one in self._seconds),
            rivals={name: rival.opponent() for name, rival in self._rivals.items()},
            classes=[] if self._learner.numbers else self._learner.classes,
            frozen=FROZEN if FROZEN in self._learner.experts else "",
            warnings=warnings,
        )


def _wide(array: Floats, width: int) -> Floats:
    """Give probabilities [..., W] for more classes: 0 for those that came since, or all NaN."""
    if array.shape[-1] == width:
        return array
    made = np.zeros((*array.shape[:-1], width))
    made[..., : array.shape[-1]] = array
    made[np.isnan(made).any(axis=-1)] = np.nan
    return made


def _behind(some: Numbers | None, more: Numbers | None) -> Numbers | None:
    return more if some is None or more is None else np.concatenate([some, more])
