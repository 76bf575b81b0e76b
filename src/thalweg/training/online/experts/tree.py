"""A Hoeffding tree: River's, which is quick where a rule decides and rests where it does not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import not_installed
from thalweg.training.online import graph
from thalweg.training.online.base import Expert, Inputs, News, Script, State

LEAST_WEIGHT: Final = 0.3
"""Below this share of the hedge's weight, on average, it is not worth its time."""

PATIENCE: Final = 4
"""Over about how many settles that average reaches; it begins with a half."""

CELLS: Final = 100
"""With more columns, multiplied by classes, an event costs a millisecond: then it sleeps."""

REST: Final = 4
LONGEST: Final = 6
"""For so many settles it sleeps at least, and twice as long each time after, so many times: streams
whose errors come in runs seem to change all the time."""

TRIAL: Final = 2048
"""For how many labels a tree that was begun after a change may try to be better."""

PROVED: Final = 256
"""After how many it may take the place of the one that went on."""

FADING: Final = 0.998
"""How much of the loss is kept from label to label where the two are compared."""

COUNTS: Final = 1 << 16
"""So many counts (leaves, columns and classes multiplied) are enough for a tree of classes."""

SLOTS: Final = 512
"""So many leaves and columns, multiplied, are enough for one of numbers: each holds many counts."""

LEAVES: Final = (8, 512)
"""The least and the most leaves at which a tree grows no more: what is saved has a bound."""

RADIUS: Final = 0.25
"""How finely numbers are told apart where a number is predicted, in standard deviations."""

SIGHTED: Final = 200
"""How many values of a column must have come before its scale is fixed, for numbers."""

_HUGE: Final = 1e60
_SURE: Final = 0.99


@final
class Tree(Expert):
    """A Hoeffding tree (Domingos and Hulten 2000) of the library River, one record at a time.

    Where a change was confirmed another tree begins beside it; the better one of the two stays (so
    Bifet and Gavalda 2009, of the whole tree). It costs a hundred microseconds an event, so it
    rests while few hear it: with less than three tenths of the hedge's weight over some settles it
    says and learns nothing, until a change is confirmed, when a fresh one tries again; each time it
    sleeps twice as long at least. Where columns and classes are many it soon sleeps for good.

    Parameters
    ----------
    numbers
        Whether numbers are predicted, and no classes.

    Attributes
    ----------
    weight
        The share of the hedge's weight that it has; to be set before each `settle`.

    Raises
    ------
    OptionError
        Where River is not installed.
    """

    name: ClassVar[str] = "tree"

    def __init__(self, *, numbers: bool) -> None:
        if find_spec("river") is None:
            raise not_installed("the expert tree", "river", "online")
        self.weight = 1.0
        self._numbers = numbers
        self._main: Any = self._fresh()
        self._other: Any = None
        self._losses = [0.0, 0.0]
        self._age = 0
        self._heard = 0.5
        self._asleep = False
        self._columns = 0
        self._classes: set[int] = set()  # those that it learned from
        self._sleeps = 0  # how often it fell asleep, and for how many settles it has by now
        self._rested = 0
        # For each column how many values came, their mean and squared deviations, and the scale.
        self._scales = np.zeros((4, 0))

    def run(self, script: Script, said: NDArray[np.float64]) -> None:
        """See `Expert.run`."""
        steps = script.steps
        if self._asleep:
            said[steps[steps >= 0]] = np.nan
            return
        self._columns = script.inputs.numbers.shape[1] + script.inputs.units.shape[1]
        if not self._numbers:
            learned = script.targets[~steps[steps < 0]]
            self._classes.update(learned[~np.isnan(learned)].astype(int).tolist())
        rows, places = np.unique(np.where(steps < 0, ~steps, steps), return_inverse=True)
        cells = _cells(script.inputs, rows)
        targets = np.clip(script.targets[rows], -_HUGE, _HUGE).tolist()  # their squares are finite
        # River knows trees by the record alone.
        for step, place in zip(steps.tolist(), places.tolist(), strict=True):
            if step >= 0:
                said[step] = self._answer(self._main, self._seen(cells[place]), script.width)
            elif not math.isnan(targets[place]):
                self._learn(cells[place], targets[place])

    def settle(self, news: News) -> None:
        """Sleep, wake, or let the better one of two trees stay."""
        if self._asleep:
            self._rested += 1
            if (
                not self._large
                and news.drift
                and self._rested >= REST << min(self._sleeps - 1, LONGEST)
            ):
                self._asleep, self._heard, self._main = False, 0.5, self._fresh()
            return
        self._heard += (self.weight - self._heard) / PATIENCE
        if self._other is not None:
            if self._age >= PROVED and self._losses[1] < self._losses[0]:
                self._main, self._other = self._other, None
            elif self._age >= TRIAL:
                self._other = None
        if news.drift and self._other is None:
            self._other, self._losses, self._age = self._fresh(), [0.0, 0.0], 0
        if self._heard < LEAST_WEIGHT or self._large:
            self._asleep, self._main, self._other = True, None, None
            self._sleeps, self._rested = self._sleeps + 1, 0

    @property
    def _large(self) -> bool:
        """Whether an event costs too much."""
        return self._columns * len(self._classes) > CELLS

    def state(self) -> State:
        """See `Expert.state`."""
        facts = {
            "columns": self._columns,
            "classes": sorted(self._classes),
            "heard": self._heard,
            "asleep": self._asleep,
            "sleeps": self._sleeps,
            "rested": self._rested,
            "age": self._age,
            "losses": list(self._losses),
            "main": None if self._main is None else graph.dump(self._main),
            "other": None if self._other is None else graph.dump(self._other),
        }
        return State(facts, {"scales": self._scales.copy()})

    def restore(self, state: State) -> None:
        """See `Expert.restore`.

        Raises
        ------
        ArtifactError
            Where the trees are not River's.
        """
        facts: Mapping[str, Any] = state.facts
        self._heard, self._asleep = facts["heard"], facts["asleep"]
        self._sleeps, self._rested = facts["sleeps"], facts["rested"]
        self._columns, self._classes = facts["columns"], set(facts["classes"])
        self._age, self._losses = facts["age"], list(facts["losses"])
        self._main = None if facts["main"] is None else graph.load(facts["main"])
        self._other = None if facts["other"] is None else graph.load(facts["other"])
        self._scales = state.arrays["scales"].copy()

    def _fresh(self) -> Any:
        """Begin a tree. Grace, delta and splits: the best of nine on Elec2 and Agrawal."""
        if not self._numbers:
            from thalweg.training.online.nominal import Classifier

            return Classifier(grace_period=50, delta=1e-2)
        from river.tree import HoeffdingTreeRegressor
        from river.tree.splitter import QOSplitter

        made = HoeffdingTreeRegressor(
            grace_period=50, delta=1e-2, leaf_prediction="mean", splitter=QOSplitter(RADIUS)
        )
        made.leaf_model = None  # leaves give means; a line on raw numbers runs away
        return made

    def _answer(self, tree: Any, cells: dict[int, Any], width: int) -> NDArray[np.float64]:
        """Give probabilities [width], or one number; NaN while it has seen nothing."""
        said = np.zeros(width)
        if self._numbers:
            said[0] = tree.predict_one(cells) if tree._root is not None else np.nan
            return said if np.isfinite(said[0]) else np.full(width, np.nan)
        found = tree.predict_proba_one(cells)
        if not found:
            return np.full(width, np.nan)
        known = [code for code in found if code < width]
        said[known] = [found[code] for code in known]
        said[~np.isfinite(said)] = 0
        total = said.sum()
        # Naive Bayes in the leaves is surer of itself than it should be.
        said *= _SURE / total if total > 0 else 0.0
        said[known] += (1 - said.sum()) / max(1, len(known))
        return said

    def _learn(self, cells: dict[int, Any], target: float) -> None:
        if self._numbers:
            self._look(cells)
        cells = self._seen(cells)
        label: Any = target if self._numbers else int(target)
        if self._other is not None:
            for number, tree in enumerate((self._main, self._other)):
                loss = self._loss(tree, cells, label)
                self._losses[number] = FADING * self._losses[number] + (1 - FADING) * loss
            self._other.learn_one(cells, label)
            self._age += 1
        self._main.learn_one(cells, label)
        for tree in (self._main, self._other):
            if tree is not None and tree._growth_allowed:
                self._bound(tree, len(cells))

    def _bound(self, tree: Any, columns: int) -> None:
        """Let a tree grow no more that is large enough, by River's own switches."""
        enough = SLOTS if self._numbers else COUNTS // max(1, len(tree.classes))
        least, most = LEAVES
        if tree._n_active_leaves <= min(most, max(least, enough // max(1, columns))):
            return
        tree._growth_allowed = False
        if self._numbers:  # means need no counts by column
            for leaf in tree._find_leaves():
                leaf.deactivate()

    def _loss(self, tree: Any, cells: dict[int, Any], label: Any) -> float:
        if self._numbers:
            said = float(tree.predict_one(cells)) if tree._root is not None else 0.0
            return abs(said - float(label))
        found: dict[int, float] = tree.predict_proba_one(cells)
        return float(not found or max(found, key=lambda code: found[code]) != label)

    def _seen(self, cells: dict[int, Any]) -> dict[int, Any]:
        """Give a row as the tree reads it: for numbers in units of each column's fixed scale."""
        if not self._numbers:
            return cells
        scales = self._scales[3].tolist()
        return {
            key: value / scales[key] if key >= 0 else value
            for key, value in cells.items()
            if key < 0 or (key < len(scales) and scales[key] > 0)
        }

    def _look(self, cells: dict[int, Any]) -> None:
        """Learn the scales of columns from a row (Welford 1962), until they are fixed."""
        widest = max(cells, default=-1) + 1
        if widest > self._scales.shape[1]:
            more = widest - self._scales.shape[1]
            self._scales = np.concatenate([self._scales, np.zeros((4, more))], axis=1)
        open_ones = [key for key in cells if key >= 0 and self._scales[3, key] == 0]
        for key in open_ones:
            count, mean, spread, _ = self._scales[:, key]
            apart = cells[key] - mean
            mean += apart / (count + 1)
            spread += apart * (cells[key] - mean)
            scale = 0.0
            if count + 1 >= SIGHTED:
                scale = np.sqrt(spread / count) if spread > 0 else 1.0
            self._scales[:, key] = count + 1, mean, spread, scale


def _cells(inputs: Inputs, rows: NDArray[np.int64]) -> list[dict[int, Any]]:
    """Give rows [M] as River reads them: numbers by place, categories as text by place from -1."""
    numbers = np.clip(inputs.numbers[rows], -_HUGE, _HUGE)
    units = inputs.units[rows].tolist()
    return [
        {place: cell for place, cell in enumerate(own) if not math.isnan(cell)}
        | {~place: str(unit) for place, unit in enumerate(codes) if unit >= 0}
        for own, codes in zip(numbers.tolist(), units, strict=True)
    ]
