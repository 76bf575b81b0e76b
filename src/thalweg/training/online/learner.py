"""The learner: experts at several speeds, the hedge over them, and what is done when things change.

Everything happens in one exact order. What is done now and then (budgeted work, answers to drift,
one expert taking another's place) is done after every `SEGMENT` labels, wherever batches end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeVar, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError
from thalweg.data.arrays import Arrays
from thalweg.data.schema import Rows, Schema
from thalweg.models.decoder import unreadable_cells
from thalweg.models.model import Model
from thalweg.models.network import embed_all
from thalweg.stats.betting import Contest, Standing
from thalweg.stats.drift.detectors.base import Detector
from thalweg.training.online.base import Expert, News, Script, State
from thalweg.training.online.experts.challenger import Challenger
from thalweg.training.online.experts.champion import Champion
from thalweg.training.online.experts.fast import Fast
from thalweg.training.online.experts.frozen import Frozen
from thalweg.training.online.experts.slow import Slow
from thalweg.training.online.experts.tree import Tree
from thalweg.training.online.hedge import Hedge
from thalweg.training.online.inputs import Reader
from thalweg.training.online.labels import Labels

SEGMENT: Final = 256
"""So many labels lie between two looks at what is going on."""

LEAST: Final = 1e-6
"""The least probability whose logarithm is told to a head."""

BOUND: Final = 4.0
"""What the loss of one event can count at most in a contest."""

LONGEST: Final = 20_000
"""After so many events without proof a contest ends, and another begins."""

TRIAL: Final = 4_096
"""After so many a challenger is given up: it costs as much as the head that it would replace."""

HUGE: Final = 1e300
"""Larger errors of numbers count as so large."""

_Expert = TypeVar("_Expert", bound=Expert)


@final
@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a script.

    Parameters
    ----------
    answers
        float64 [N, width]: what the experts say together of each row that was predicted or given;
        NaN where nobody says anything.
    said
        float64 [N, experts, width]: what each of them says.
    versions
        int64 [N]: the version that answered; 0 for rows that were predicted before.
    dropped
        Bool [N]: rows that the trained network sets aside; they are neither predicted nor learned.
    drifts
        After how many labels a change was confirmed, ascending.
    unreadable, refused
        See `thalweg.models.model.Prediction`.
    vectors
        float32 [N, D]: the embedding of each row, where the trained network reads texts, pictures
        or the like; else None.
    weights
        float64 [L, experts]: what each expert counted at the last look before each label.
    """

    answers: NDArray[np.float64]
    said: NDArray[np.float64]
    versions: NDArray[np.int64]
    dropped: NDArray[np.bool_]
    drifts: tuple[int, ...] = ()
    unreadable: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    refused: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    vectors: NDArray[np.float32] | None = None
    weights: NDArray[np.float64] | None = None


@final
@dataclass(frozen=True, slots=True)
class Promotion:
    """One expert took another's place.

    Parameters
    ----------
    version
        The number of the version that begins.
    parent
        The version that it came from; None for none.
    because
        Why, in words.
    evidence
        What the test on paired losses found; plain JSON.
    """

    version: int
    parent: int | None
    because: str
    evidence: Mapping[str, Any]


@final
class Learner:
    """Predicts rows and learns from them when their labels come.

    Parameters
    ----------
    reader
        Reads rows for experts that learn record by record.
    labels
        Reads labels.
    experts
        Who is asked; with a `Challenger` among them a `Fast` too, with a `Slow` a `Champion` and a
        `Frozen`.
    detector
        Finds changes of the error.
    model
        The trained model that it began with, and whose network reads rows for some experts; None
        for a cold start.
    promoted
        Told of each promotion, at the very moment.
    """

    def __init__(
        self,
        reader: Reader,
        labels: Labels,
        experts: Sequence[Expert],
        detector: Detector,
        model: Model | None = None,
        promoted: Callable[[Promotion], None] = lambda _: None,
    ) -> None:
        self._reader = reader
        self._labels = labels
        self._experts = tuple(experts)
        self._detector = detector
        self._model = model
        self._promoted = promoted
        self._hedge = Hedge(len(self._experts), numbers=labels.numbers)
        self._weights = self._hedge.weights  # as they were at the last look
        self._counted: list[tuple[int, NDArray[np.float64]]] = []  # of the rows at hand
        self._pairs = self._rivals()
        self._contests = {
            name: _contest(name) for name in (Slow.name, Frozen.name, Challenger.name)
        }
        self._scale = 0.0  # of the errors of numbers: what the detector sees is relative to it
        self._apart: list[NDArray[np.float64]] = []  # these errors since the last look
        self._wide = model is not None and model.schema.wide
        self._vectors: NDArray[np.float32] | None = None  # of the rows at hand
        self.seen = 0
        """How many labels have come."""
        self.version = 1
        """Which version answers."""
        self._newest = 1
        self._drift = False

    @property
    def experts(self) -> tuple[str, ...]:
        """The names of the experts."""
        return tuple(one.name for one in self._experts)

    @property
    def weights(self) -> NDArray[np.float64]:
        """How much each expert counts now, [experts]."""
        return self._hedge.weights

    @property
    def numbers(self) -> bool:
        """Whether numbers are predicted, and no classes."""
        return self._labels.numbers

    @property
    def width(self) -> int:
        """How many numbers are said of a row: a probability for each class, or one number."""
        return 1 if self.numbers else max(1, len(self._labels.classes))

    @property
    def classes(self) -> list[str]:
        """The classes seen so far, by code."""
        return self._labels.classes

    @property
    def schema(self) -> Schema:
        """The columns that it reads."""
        return self._reader.schema

    @property
    def model(self) -> Model | None:
        """The trained network that answers now: the champion."""
        for one in self._experts:
            if isinstance(one, Champion):
                return one.model
        return self._model

    @property
    def stretch(self) -> int:
        """How many of the last labels are taken for one stretch without change."""
        return self._detector.stretch

    def read(self, cells: pa.Array) -> NDArray[np.float64]:
        """Read labels [N]: codes of classes or numbers, float64; NaN where there is none."""
        return self._labels.read(cells)

    def there(self, cells: pa.Array) -> NDArray[np.bool_]:
        """Say which cells [N] hold a label, and learn of no class by that."""
        return self._labels.there(cells)

    def named(self, codes: NDArray[np.int64]) -> pa.Array:
        """Give the classes of codes [N] as text; null for -1."""
        return self._labels.named(codes)

    def run(
        self,
        rows: pa.RecordBatch,
        targets: NDArray[np.float64],
        steps: NDArray[np.int64],
        said: NDArray[np.float64] | None = None,
        answers: NDArray[np.float64] | None = None,
    ) -> Heard:
        """Predict rows and learn from those whose labels have come, in order.

        Parameters
        ----------
        rows
            Rows [N] as they were when they were predicted.
        targets
            float64 [N]: what `read` gave; NaN where the label is not known.
        steps
            int64 [M]: ``r`` predicts row r, ``~r`` learns from row r. Rows without a label teach
            nothing.
        said, answers
            What was said of rows that were predicted earlier, [N, experts, width] and [N, width];
            NaN elsewhere. Narrower ones are taken too: classes came since.

        Returns
        -------
        Heard
            What is said of them now.
        """
        count, width = rows.num_rows, self.width
        versions = np.zeros(count, dtype=np.int64)
        whole_said = _widened(said, (count, len(self._experts), width))
        whole_answers = _widened(answers, (count, width))
        encoded = None if self._model is None else self._model.schema.encode(rows)
        dropped = np.zeros(count, dtype=bool) if encoded is None else encoded.dropped
        row = np.where(steps < 0, ~steps, steps)
        steps = steps[~dropped[row] & ((steps >= 0) | ~np.isnan(targets[row]))]
        versions[steps[steps >= 0]] = self.version
        drifts: list[int] = []
        if self.numbers or self._labels.classes:  # else no class was ever seen: nothing is said
            script = self._script(rows, encoded, targets, steps)
            for expert in self._experts:
                expert.prepare(script)
            self._go(script, whole_said, whole_answers, versions, drifts)
        unreadable, refused = {}, {}
        if encoded is not None and self._model is not None:
            unreadable = unreadable_cells(self._model.schema, encoded)
            refused = dict(encoded.refused)
        vectors, self._vectors = self._vectors, None
        weights = [np.tile(held, (labels, 1)) for labels, held in self._counted]
        self._counted.clear()
        return Heard(
            whole_answers,
            whole_said,
            versions,
            dropped,
            tuple(drifts),
            unreadable,
            refused,
            vectors,
            np.concatenate([*weights, np.zeros((0, len(self._experts)))]),
        )

    def _go(
        self,
        script: Script,
        said: NDArray[np.float64],
        answers: NDArray[np.float64],
        versions: NDArray[np.int64],
        drifts: list[int],
    ) -> None:
        """Take a script's steps, and stop after every `SEGMENT` labels to look around."""
        steps, start = script.steps, 0
        learns = np.flatnonzero(steps < 0)
        while start < len(steps):
            room = SEGMENT - self.seen % SEGMENT
            last = int(np.searchsorted(learns, start)) + room - 1
            whole = last < len(learns)
            stop = int(learns[last]) + 1 if whole else len(steps)
            part = script.part(start, stop)
            versions[part.steps[part.steps >= 0]] = self.version
            drifts += self._run(part, said, answers)
            start = stop
            if whole:
                self._settle()

    def _script(
        self,
        rows: pa.RecordBatch,
        encoded: Rows | None,
        targets: NDArray[np.float64],
        steps: NDArray[np.int64],
    ) -> Script:
        """Read rows for all experts."""
        classes = len(self._labels.classes)
        if encoded is None:
            return Script(rows, self._reader.read(rows), targets, steps, classes)
        if self._model is None:
            raise AssertionError
        arrays, first = Arrays(encoded.fields), None
        if self._wide:
            self._vectors = embed_all(self._model.network, arrays)
            seen = self._vectors.astype(np.float64)
        else:
            first = self._model.answers(arrays).prediction
            seen = self._told(first)
        inputs = self._reader.read(rows, seen)
        return Script(rows, inputs, targets, steps, classes, arrays, first)

    def _told(self, said: NDArray[np.float64]) -> NDArray[np.float64]:
        """Write what the trained model says of rows as numbers for heads, float64 [N, D].

        It is the model that was there at first: another one would mean something else by them.
        """
        if self.numbers:
            return said.reshape(len(said), 1)
        logs: NDArray[np.float64] = np.log(np.clip(said, LEAST, 1))
        return logs[:, 1:] - logs[:, :1]

    def _run(
        self, part: Script, said: NDArray[np.float64], answers: NDArray[np.float64]
    ) -> list[int]:
        """Take some steps between two settlings, and give where changes were confirmed."""
        for place, expert in enumerate(self._experts):
            expert.run(part, said[:, place])
        losses = self._hedge.run(part, said, answers)
        learned = ~part.steps[part.steps < 0]
        if not len(learned):
            return []
        losses = losses[part.steps < 0]
        for name, places in self._pairs.items():
            contest = self._contests[name]
            pairs = losses[:, list(places)]
            pairs = pairs[~np.isnan(pairs).any(axis=1)]
            contest.take(pairs[:, 0], pairs[:, 1])
        found = self._detector.take(self._errors(answers[learned], part.targets[learned]))
        drifts = [self.seen + place + 1 for place in found]
        self.seen += len(learned)
        self._counted.append((len(learned), self._weights))
        self._drift |= bool(found)
        return drifts

    def _errors(
        self, answers: NDArray[np.float64], targets: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Say how wrong answers were, [N] from 0 to 1: for classes 0 or 1."""
        if not self.numbers:
            said = np.nan_to_num(answers, nan=-1.0).argmax(axis=1)
            return np.asarray(said != targets, dtype=np.float64)
        apart: NDArray[np.float64] = np.minimum(np.abs(answers[:, 0] - targets), HUGE)
        self._apart.append(apart[np.isfinite(apart)])  # nothing was answered before any label
        if not self._scale:  # nothing to compare with yet
            return np.zeros(0)
        relative: NDArray[np.float64] = apart / (apart + self._scale)
        return relative

    def _settle(self) -> None:
        """Do what is done every `SEGMENT` labels."""
        self._weights = self._hedge.weights
        apart = np.concatenate([np.zeros(0), *self._apart])
        if len(apart):  # at the same labels, however they came in batches
            self._scale = float(np.median(apart))
        self._apart.clear()
        news = News(self.seen, self._detector.stretch, self._drift)
        self._drift = False
        for expert, weight in zip(self._experts, self._hedge.weights, strict=True):
            if isinstance(expert, Tree):
                expert.weight = float(weight)
            expert.settle(news)
        for name in list(self._pairs):
            standing = self._contests[name].standing()
            if standing.verdict is None:
                continue
            self._contests[name] = _contest(name)  # first: what is kept goes on with it
            if standing.verdict == "promote":
                self._promote(name, standing)
            elif name == Challenger.name:
                self._one(Challenger).end()

    def _promote(self, name: str, standing: Standing) -> None:
        """Let a challenger take its champion's place: a new version."""
        if name == Slow.name:
            self._one(Champion).become(self._one(Slow).promote())
            self._contests[Frozen.name] = _contest(Frozen.name)
            because = "the network that went on learning does better than the one before"
        elif name == Frozen.name:
            self._one(Champion).end()
            because = "the trained model does better than the network that took its place"
        else:
            challenger = self._one(Challenger)
            self._one(Fast).restore(challenger.state_of_head())
            challenger.end()
            because = "a head that began anew after a change does better than the one before"
        self._pairs = self._rivals()
        parent = self.version
        self._newest += 1
        self.version = self._newest
        self._promoted(Promotion(self.version, parent, because, asdict(standing)))

    def _rivals(self) -> dict[str, tuple[int, int]]:
        """Say whose losses are compared: challenger -> places of champion and challenger."""
        places = {expert.name: place for place, expert in enumerate(self._experts)}
        promoted = any(isinstance(one, Champion) and one.there for one in self._experts)
        rivals = {
            Slow.name: Champion.name if promoted else Frozen.name,
            Challenger.name: Fast.name,
        }
        if promoted:
            rivals[Frozen.name] = Champion.name
        return {
            one: (places[champion], places[one])
            for one, champion in rivals.items()
            if one in places and champion in places
        }

    def _one(self, wanted: type[_Expert]) -> _Expert:
        """Give the expert of a class; it is there."""
        return next(one for one in self._experts if isinstance(one, wanted))

    def state(self) -> State:
        """Give all that it has learned, but for the champion: see `model`."""
        parts = {expert.name: expert.state() for expert in self._experts}
        parts["hedge"] = self._hedge.state()
        facts = {
            "reader": self._reader.state(),
            "labels": self._labels.state(),
            "detector": self._detector.state(),
            "contests": {name: one.state() for name, one in self._contests.items()},
            "parts": {name: part.facts for name, part in parts.items()},
            "seen": self.seen,
            "version": self.version,
            "newest": self._newest,
            "drift": self._drift,
            "scale": self._scale,
        }
        arrays = {
            f"{name}/{key}": array
            for name, part in parts.items()
            for key, array in part.arrays.items()
        }
        apart = np.concatenate(self._apart) if self._apart else np.zeros(0)
        return State(facts, {**arrays, "apart": apart, "weights": self._weights.copy()})

    def go_back(self, state: State, version: int, champion: Model | None = None) -> None:
        """Be what `state` gave, but know the classes and categories that came since.

        What waits for its label was said in terms of them, and their numbers stay theirs.

        Parameters
        ----------
        state
            What this learner knew earlier.
        version
            The version that answers from now on.
        champion
            See `restore`.
        """
        reader, labels = self._reader, self._labels
        self.restore(state, champion)
        self._reader, self._labels, self.version = reader, labels, version

    def restore(self, state: State, champion: Model | None = None) -> None:
        """Be what `state` gave, down to the last bit.

        Parameters
        ----------
        state
            Of a learner of the same make.
        champion
            The trained network that answered then; None for the one that it began with.
        """
        facts = state.facts
        names = sorted(facts["parts"])
        if names != sorted([*self.experts, "hedge"]):
            raise ArtifactError(
                f"what was learned by {', '.join(names)}",
                f"what was learned by {', '.join(sorted([*self.experts, 'hedge']))}",
                "Use the same experts as before, or begin anew.",
            )
        parts: dict[str, dict[str, NDArray[Any]]] = {name: {} for name in names}
        for key, array in state.arrays.items():
            name, slash, own = key.partition("/")
            if slash:
                parts[name][own] = array
        for expert in self._experts:
            expert.restore(State(facts["parts"][expert.name], parts[expert.name]))
        self._hedge.restore(State(facts["parts"]["hedge"], parts["hedge"]))
        if champion is not None and facts["parts"].get(Champion.name, {}).get("there"):
            self._one(Champion).become(champion)
        self._pairs = self._rivals()
        self._reader = Reader.from_state(facts["reader"])
        target = None if self._model is None else self._model.schema.target
        self._labels = Labels.from_state(facts["labels"], target)
        self._detector.restore(facts["detector"])
        for name, contest in self._contests.items():
            contest.restore(facts["contests"][name])
        self.seen, self.version = facts["seen"], facts["version"]
        self._newest, self._drift = max(self._newest, facts["newest"]), facts["drift"]
        self._scale = facts["scale"]
        self._weights = state.arrays["weights"].copy()
        self._apart = [state.arrays["apart"].copy()] if len(state.arrays["apart"]) else []


def _widened(given: NDArray[np.float64] | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Give an array of a shape: what is given in its corner, 0 beside it, NaN where nothing is."""
    if given is None:
        return np.full(shape, np.nan)
    if given.shape == shape:
        return given
    made = np.zeros(shape)
    made[..., : given.shape[-1]] = given
    made[np.isnan(made).any(axis=-1)] = np.nan
    return made


def _contest(name: str) -> Contest:
    return Contest(BOUND, most=TRIAL if name == Challenger.name else LONGEST)
