"""Scores of a stream that is predicted first and learned from later, beside what costs nothing.

Gama, Sebastião & Rodrigues 2013, "On evaluating stream learning algorithms" (fading, windows);
Bifet et al. 2015, "Efficient online evaluation of big data stream classifiers" (kappa M); Žliobaitė
et al. 2015, "Evaluation methods and decision theory for classification of streaming data with
temporal dependence" (kappa T).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np

from thalweg.training.online.course import (
    Floats,
    Numbers,
    Points,
    Recoveries,
    Spread,
    packed,
    unpacked,
)
from thalweg.training.online.record import Change, Course, Delays, Standing

MODEL: Final = "learner"
NO_CHANGE: Final = "no change"
MAJORITY: Final = "majority"
MEAN: Final = "mean so far"
"""Who is scored: the learner's answers, the last label known, the commonest class, the mean."""

_CHEAP: Final = 3  # the learner and the two that cost nothing come first, then the experts
_LEAST: Final = float(
    np.finfo(np.float64).eps
)  # the least probability, as in the metrics of tables
_CELLS: Final = 1 << 20  # counts of classes held at once

# What sums hold: of labels their number, of the first three their errors and losses, and of the
# labels themselves the sum and the sum of squares.
_COUNT, _ERRORS, _LOSSES, _SUM, _SQUARES = 0, slice(1, 4), slice(4, 7), 7, 8
_SUMS: Final = 9


@final
class Scores:
    """Takes labels with what was answered before they came, in order.

    All figures over the whole stream are the same to the last bit however it is cut.

    Parameters
    ----------
    numbers
        Whether numbers are predicted; else classes.
    experts
        Their names: each is scored beside the answers. More may come behind them.
    window
        So many labels are the latest ones.
    fade
        How much of its weight a label keeps with each that follows.
    points
        How many points curves have at most.

    Examples
    --------
    >>> scores = Scores(numbers=False)
    >>> sure = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    >>> scores.predicted(5)
    >>> scores.take(sure, np.array([0.0, 1.0, 1.0, 1.0]), np.array([np.nan, 0.0, 1.0, 1.0]))
    >>> standing = scores.standing()
    >>> standing.metrics["accuracy"], standing.baselines["no change"]["accuracy"], standing.seen
    (0.75, 0.5, 0.8)
    """

    def __init__(
        self,
        *,
        numbers: bool,
        experts: Sequence[str] = (),
        window: int = 1000,
        fade: float = 0.999,
        points: int = 400,
    ) -> None:
        self.numbers = numbers
        self.experts = tuple(experts)
        self._window = window
        self._fade = fade
        self._events = self._labels = self._silent = 0
        self._overall = _Sums()
        self._faded = _Sums()
        self._latest: Floats = np.zeros((0, _SUMS))
        self._pairs: Floats = np.zeros((0, 2))  # of the latest labels: the class, and the answer's
        self._each: Floats = np.zeros((0, 3))  # of each expert: labels, errors, losses
        self._known: Floats = np.zeros(0)  # how often each class came; or number, first and sum
        self._points = Points(points)
        self._recoveries = Recoveries(window)
        self._late = Spread()
        self._late_spans = Spread()

    @property
    def labels(self) -> int:
        """How many labels have come."""
        return self._labels

    def predicted(self, events: int) -> None:
        """Count events that were predicted, whether their label will come or not."""
        self._events += events

    def mark(self, at: int, kind: Change = "confirmed") -> None:
        """Note a change after so many labels, before those behind it are taken."""
        self._recoveries.mark(at, kind)

    def take(
        self,
        answers: Floats,
        targets: Floats,
        before: Floats,
        delays: Numbers | None = None,
        *,
        spans: Numbers | None = None,
        said: Floats | None = None,
        weights: Floats | None = None,
    ) -> None:
        """Take labels.

        Parameters
        ----------
        answers
            float64 [N, W]: what was answered; NaN where nothing was.
        targets
            float64 [N]: what came; rows with NaN are passed over.
        before
            float64 [N]: the last label that was known when the row was predicted; NaN for none.
        delays
            int64 [N]: how many events later the label came.
        spans
            int64 [N]: how many microseconds later.
        said
            float64 [N, E, W]: what each expert said.
        weights
            float64 [E]: what each expert counts now; or with each label that is no NaN, [L, E].
        """
        there = ~np.isnan(targets)
        if not there.all():
            answers, targets, before = answers[there], targets[there], before[there]
            said = None if said is None else said[there]
            delays = None if delays is None else delays[there]
            spans = None if spans is None else spans[there]
        if not len(targets):
            return
        if delays is not None:
            self._late.add(delays)
        if spans is not None:
            self._late_spans.add(spans)
        judged = self._numbers if self.numbers else self._classes
        errors, losses, pairs = judged(answers, targets, before)
        silent = np.isnan(answers).any(axis=1)
        self._silent += int(silent.sum())
        self._labels += len(targets)
        self._add(errors, losses, pairs, targets)
        more, costs = np.zeros((len(targets), 0)), np.zeros((len(targets), 0))
        if said is not None:
            more, costs = self._experts(said, targets)
        curves = np.stack(
            [np.concatenate([errors, more], 1), np.concatenate([losses, costs], 1)], axis=2
        )
        self._points.add(curves.reshape(len(targets), -1), weights)
        self._recoveries.add(errors[:, 0])

    def _classes(
        self, answers: Floats, targets: Floats, before: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Judge classes: errors [N, 3], losses [N, 3] and pairs of class and answer [N, 2]."""
        codes = targets.astype(np.int64)
        # How many classes were known with each label, however many a batch brings.
        classes = np.maximum.accumulate(np.maximum(codes + 1, len(self._known)))
        commonest, costs = self._majority(codes)
        wrong, loss, guess = _judged(answers, codes, classes)
        errors = np.stack([wrong, before != targets, commonest != codes], axis=1)
        losses = np.stack([loss, np.full(len(codes), np.nan), costs], axis=1)
        return errors.astype(np.float64), losses, np.stack([targets, guess], axis=1)

    def _majority(self, codes: Numbers) -> tuple[Numbers, Floats]:
        """Say which class was the commonest before each label, and what its share cost.

        It knows every label before, however late labels come: the baseline has it easier.
        """
        self._known = _longer(self._known, int(codes.max()) + 1)
        commonest, costs = np.zeros(len(codes), np.int64), np.zeros(len(codes))
        size = max(1, _CELLS // len(self._known))
        for start in range(0, len(codes), size):
            some = codes[start : start + size]
            counts = np.zeros((len(some) + 1, len(self._known)))
            counts[0] = self._known
            counts[np.arange(1, len(some) + 1), some] += 1
            np.cumsum(counts, axis=0, out=counts)
            self._known = counts[-1].copy()
            counts = counts[:-1]
            commonest[start : start + size] = counts.argmax(axis=1)
            own, whole = counts[np.arange(len(some)), some], counts.sum(axis=1)
            classes = np.maximum((counts > 0).sum(axis=1) + (own == 0), 2)
            costs[start : start + size] = -np.log((own + 1) / (whole + classes))
        return commonest, costs

    def _numbers(
        self, answers: Floats, targets: Floats, before: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Judge numbers: as `_classes`. All three are judged on the labels that all can answer."""
        if not len(self._known):
            self._known = np.array([0.0, targets[0], 0.0])
        count, first, total = self._known
        sums = np.add.accumulate(np.concatenate([[total], targets - first]))
        counts = count + np.arange(len(targets))
        means = first + sums[:-1] / np.maximum(counts, 1)
        self._known = np.array([count + len(targets), first, sums[-1]])
        guesses = np.stack([answers[:, 0], before, means], axis=1)
        errors = np.abs(guesses - targets[:, None])
        errors[~np.isfinite(errors).all(axis=1) | (counts < 1)] = np.nan
        return errors, errors**2, np.zeros((len(targets), 2))

    def _experts(self, said: Floats, targets: Floats) -> tuple[Floats, Floats]:
        """Judge each expert: errors and losses [N, E], NaN where it said nothing."""
        rows, experts, width = said.shape
        self._each = np.concatenate([self._each, np.zeros((max(0, experts - len(self._each)), 3))])
        if self.numbers:
            errors = np.abs(said[:, :, 0] - targets[:, None])
            losses = errors**2
        else:
            codes = np.repeat(targets.astype(np.int64), experts)
            flat = said.reshape(rows * experts, width)
            wrong, loss, _ = _judged(flat, codes, codes + 1)  # the silent ones are left out below
            errors, losses = wrong.reshape(rows, experts), loss.reshape(rows, experts)
            silent = np.isnan(said).any(axis=2)
            errors, losses = np.where(silent, np.nan, errors), np.where(silent, np.nan, losses)
        known = ~np.isnan(errors)
        for place, values in enumerate((known, errors, losses)):
            column = self._each[None, :experts, place]
            added = np.concatenate([column, np.where(known, values, 0.0)])
            self._each[:experts, place] = np.add.accumulate(added, axis=0)[-1]
        return errors, losses

    def _add(self, errors: Floats, losses: Floats, pairs: Floats, targets: Floats) -> None:
        """Take what was judged into the sums."""
        rows = np.zeros((len(targets), _SUMS))
        rows[:, _COUNT] = ~np.isnan(errors[:, 0])
        rows[:, _ERRORS], rows[:, _LOSSES] = errors, losses
        if self.numbers:
            centred = targets - self._known[1]
            rows[:, _SUM], rows[:, _SQUARES] = centred, centred**2
        rows[rows[:, _COUNT] == 0] = 0.0
        np.nan_to_num(rows, copy=False)
        weights: Floats = self._fade ** np.arange(len(rows) - 1.0, -1.0, -1.0)
        self._overall.add(rows, pairs, None)
        self._faded.fade(self._fade ** len(rows))
        self._faded.add(rows, pairs, weights)
        self._latest = np.concatenate([self._latest, rows])[-self._window :]
        self._pairs = np.concatenate([self._pairs, pairs])[-self._window :]

    def recent(self) -> dict[str, float]:
        """Give the metrics of the latest labels, the leading one first."""
        latest = _Sums()
        latest.add(self._latest, self._pairs, None)
        return self._measured(latest)

    def standing(self) -> Standing:
        """Say how good it is by now; what the labels do not define is left out."""
        names = (NO_CHANGE, MEAN if self.numbers else MAJORITY)
        baselines = {
            name: self._simple(*self._overall.of(place)) for place, name in enumerate(names, 1)
        }
        told = self._experts_told(len(self._each))
        experts = {name: self._simple(*sums) for name, sums in zip(told, self._each, strict=True)}
        return Standing(
            numbers=self.numbers,
            events=max(self._events, self._labels),
            labels=self._labels,
            silent=self._silent,
            delays=self._delays(),
            metrics=self._measured(self._overall),
            fading=self._measured(self._faded),
            recent=self.recent(),
            baselines=baselines,
            experts=experts,
            course=self._course((MODEL, *names)),
            marks=self._recoveries.marks,
        )

    def _measured(self, sums: _Sums) -> dict[str, float]:
        """Give the learner's metrics, those against the baselines among them."""
        found = self._simple(*sums.of(0))
        if not found:
            return {}
        if self.numbers:
            count, _, squared = sums.of(0)
            spread = sums.main[_SQUARES] - sums.main[_SUM] ** 2 / count
            found |= _kept("r2", 1 - _ratio(squared, spread))
            found |= _kept("r2_no_change", 1 - _ratio(squared, sums.of(1)[2]))
            found |= _kept("mae_no_change", _ratio(sums.of(0)[1], sums.of(1)[1]))
            return found
        count, wrong, _ = sums.of(0)
        chance = float(sums.truths @ sums.guesses) / count**2
        found |= _kept("kappa", 1 - _ratio(wrong / count, 1 - chance))
        found |= _kept("kappa_t", 1 - _ratio(wrong, sums.of(1)[1]))
        found |= _kept("kappa_m", 1 - _ratio(wrong, sums.of(2)[1]))
        return found

    def _simple(self, count: float, error: float, loss: float) -> dict[str, float]:
        """Give the metrics that anyone has."""
        if not count:
            return {}
        if self.numbers:
            return {"mae": float(error / count), "rmse": float(np.sqrt(loss / count))}
        found = {"accuracy": float((count - error) / count)}
        # A class that is said without a probability has no log loss.
        return found | ({"log_loss": float(loss / count)} if loss else {})

    def _delays(self) -> Delays | None:
        if np.isnan(self._late.mean):
            return None
        spans = self._late_spans
        timed = not np.isnan(spans.mean)
        return Delays(
            median=self._late.median,
            mean=self._late.mean,
            median_seconds=spans.median / 1e6 if timed else None,
            mean_seconds=spans.mean / 1e6 if timed else None,
        )

    def _course(self, cheap: Sequence[str]) -> Course:
        """Give the curves."""
        means = self._points.means()
        if not len(means):
            return Course()
        means = means.reshape(len(means), -1, 2)
        who = [*cheap, *self._experts_told(max(0, means.shape[1] - _CHEAP))]
        lines: dict[str, dict[str, list[float | None]]] = {}
        names = ("mae", "rmse") if self.numbers else ("accuracy", "log_loss")
        for place, name in enumerate(names):
            values = means[:, :, place]
            if self.numbers and place:
                values = np.sqrt(values)
            elif not self.numbers and not place:
                values = 1 - values
            drawn = {one: _told(values[:, at]) for at, one in enumerate(who)}
            lines[name] = {one: line for one, line in drawn.items() if set(line) != {None}}
        told = self._points.told()
        weights = {
            name: _told(told[:, place])
            for place, name in enumerate(self._experts_told(told.shape[1]))
        }
        return Course(
            at=self._points.ends.tolist(),
            rows=self._points.rows.tolist(),
            lines=lines,
            weights=weights,
        )

    def _experts_told(self, count: int) -> list[str]:
        """Name so many experts, those too that were not named."""
        return [
            *self.experts,
            *(f"expert {place + 1}" for place in range(len(self.experts), count)),
        ][:count]

    def state(self) -> dict[str, Any]:
        """Give all of it as plain JSON, of a size that does not grow with the labels."""
        return {
            "numbers": self.numbers,
            "experts": list(self.experts),
            "counts": [self._events, self._labels, self._silent],
            "overall": self._overall.state(),
            "faded": self._faded.state(),
            "arrays": [packed(one) for one in (self._latest, self._pairs, self._each, self._known)],
            "points": self._points.state(),
            "recoveries": self._recoveries.state(),
            "late": self._late.state(),
            "spans": self._late_spans.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be what `state` gave."""
        self.numbers, self.experts = state["numbers"], tuple(state["experts"])
        self._events, self._labels, self._silent = state["counts"]
        self._overall.restore(state["overall"])
        self._faded.restore(state["faded"])
        arrays = [unpacked(one) for one in state["arrays"]]
        self._latest, self._pairs, self._each, self._known = arrays
        self._points.restore(state["points"])
        self._recoveries.restore(state["recoveries"])
        self._late.restore(state["late"])
        self._late_spans.restore(state["spans"])


@final
class _Sums:
    """Sums over labels, of which all metrics are made."""

    def __init__(self) -> None:
        self.main: Floats = np.zeros(_SUMS)
        self.truths: Floats = np.zeros(0)  # labels of each class
        self.guesses: Floats = np.zeros(0)  # answers of each class

    def of(self, place: int) -> tuple[float, float, float]:
        """Give the labels, errors and losses of one of the first three."""
        main = self.main
        return float(main[_COUNT]), float(main[1 + place]), float(main[4 + place])

    def add(self, rows: Floats, pairs: Floats, weights: Floats | None) -> None:
        """Take rows [N, S] in: one after the other, or weighted."""
        if not len(rows):
            return
        if weights is None:
            self.main = np.add.accumulate(np.concatenate([self.main[None], rows]), axis=0)[-1]
        else:
            self.main = self.main + weights @ rows
        classes = max(int(pairs.max()) + 1, len(self.truths))
        self.truths = _counted(self.truths, pairs[:, 0], weights, classes)
        self.guesses = _counted(self.guesses, pairs[:, 1], weights, classes)

    def fade(self, by: float) -> None:
        """Let all that came count less."""
        self.main, self.truths, self.guesses = self.main * by, self.truths * by, self.guesses * by

    def state(self) -> list[Any]:
        """Give all of it as plain JSON."""
        return [packed(one) for one in (self.main, self.truths, self.guesses)]

    def restore(self, state: Sequence[Any]) -> None:
        """Be what `state` gave."""
        self.main, self.truths, self.guesses = map(unpacked, state)


def _judged(answers: Floats, codes: Numbers, classes: Numbers) -> tuple[Floats, Floats, Floats]:
    """Judge probabilities [N, W]: wrong [N], log loss [N], and the likeliest class, -1 for none."""
    silent = np.isnan(answers).any(axis=1)
    guess = np.where(silent, -1, np.nan_to_num(answers).argmax(axis=1))
    inside = codes < answers.shape[1]
    given = np.zeros(len(codes))
    given[inside] = answers[np.flatnonzero(inside), codes[inside]]
    loss = -np.log(np.clip(given, _LEAST, 1.0))
    loss = np.where(silent, np.log(np.maximum(classes, 2)), loss)
    return (guess != codes).astype(np.float64), loss, guess.astype(np.float64)


def _counted(counts: Floats, codes: Floats, weights: Floats | None, classes: int) -> Floats:
    """Add how often each class comes."""
    some = codes.astype(np.int64) + 1  # what said nothing is before the first
    return _longer(counts, classes) + np.bincount(some, weights, classes + 1)[1:]


def _longer(counts: Floats, size: int) -> Floats:
    return np.concatenate([counts, np.zeros(max(0, size - len(counts)))])


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def _kept(name: str, value: float) -> dict[str, float]:
    return {name: float(value)} if np.isfinite(value) else {}


def _told(values: Floats) -> list[float | None]:
    """Write a line without what JSON cannot say."""
    return [float(one) if np.isfinite(one) else None for one in values]
