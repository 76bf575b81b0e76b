"""Calibration: what turns a network's answers into honest probabilities, intervals and decisions.

Everything is fitted on rows that the weights were not fitted on, and is a few plain numbers that
are saved with the model. These rows are a validation part; where there is none, they are the
training rows, each answered by the members of the network that held it out.
"""

from __future__ import annotations

import math
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from thalweg.core.errors import OptionError
from thalweg.kinds.base import Task
from thalweg.models.record import Plain
from thalweg.models.thresholds import (
    OBJECTIVES,
    Costs,
    fit_label_thresholds,
    fit_threshold,
    read_threshold,
)
from thalweg.stats.tails import TailFit

__all__ = [
    "OBJECTIVES",
    "Calibration",
    "fit_scaling",
    "fit_threshold",
    "read_share",
    "read_threshold",
]

Floats = NDArray[np.floating[Any]]
LEAST: Final = 1e-30
"""The least probability: float32 holds it, and its logarithm is finite."""

FALSE_ALARMS: Final = 0.01
"""The share of ordinary rows that are called odd, where nobody says another."""

_MOST_CELLS: Final = 2_000_000
"""How many of many rows' labels tell the temperature."""

_SHARPEST: Final = 20.0
"""The largest inverse temperature; its inverse is the least."""


@final
class Calibration(Plain):
    """What was learned on the validation rows, or on held-out folds.

    Parameters
    ----------
    temperature
        What logits are divided by (Guo et al. 2017). 1 leaves probabilities as they are.
    bias
        What is added to each class's logit after that (Platt 1999 for two classes; Alexandari et
        al. 2020); empty for nothing. Undoes what weighted or resampled training rows did to the
        shares of the classes.
    threshold
        With two classes: the second is predicted from this calibrated probability on. None: the
        likelier class is predicted. With several labels a row: one for each label.
    labels
        Whether each answer is the probability of a label of its own, so that a row may have
        several; else those of a row's classes add up to 1.
    radius
        Regression: the interval's half width, in units of ``spread + floor`` where ``floor`` is
        set, else of the target as it was fitted. None: no intervals.
    floor
        What is added to the members' spread, so that no interval vanishes. None: the spread is
        not used.
    level
        The share of unseen rows that an interval is to hold. Default 0.9.
    usual
        Of a table without a target: the mean surprise of each column, which is none.
    tail
        Of a table without a target: how the scores of ordinary rows are spread. A row is odd where
        a score so high is no likelier than ``threshold``.

    Examples
    --------
    >>> bold = np.array([[0.99, 0.01]] * 8 + [[0.01, 0.99]] * 8)
    >>> truth = np.array([0] * 6 + [1] * 8 + [0] * 2)
    >>> learned = Calibration.fit("binary", bold, truth)
    >>> bool(learned.temperature > 1)
    True
    """

    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    bias: tuple[float, ...] = ()
    threshold: float | tuple[float, ...] | None = None
    labels: bool = False
    radius: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    floor: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    level: float = Field(default=0.9, gt=0, lt=1)
    tail: TailFit | None = None
    usual: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls,
        task: Task,
        answers: Floats,
        truth: NDArray[Any],
        *,
        spread: Floats | None = None,
        threshold: str | float | Costs = "f1",
        bias: bool = False,
        level: float = 0.9,
    ) -> Self:
        """Learn from validation rows.

        Parameters
        ----------
        task
            What the answers are answers to.
        answers
            Numbers [N] or [N, 1] in any one unit, or probabilities [N, classes] or [N, labels];
            or, without a target, each column's surprise [N, columns].
        truth
            The same rows' numbers [N] in that unit, class codes [N], or labels [N, labels] as 0
            and 1.
        spread
            Regression: the standard deviation [N] of the members' answers. With it intervals are
            wider where the members disagree.
        threshold
            With two classes or several labels: see `read_threshold`. Without a target: see
            `read_share`.
        bias
            Classes: whether each class's logit may be moved as well. Worth it where training rows
            were weighted or resampled; else a temperature is enough and cannot change the
            likeliest class.
        level
            Regression: the share of unseen rows that an interval is to hold.

        Raises
        ------
        OptionError
            Where the threshold is none that is known.
        """
        if task == "anomaly":
            usual = answers.mean(axis=0, dtype=np.float64)
            tail = TailFit.of((answers - usual).sum(axis=1))
            share = read_share(threshold)
            return cls(threshold=share, tail=tail, usual=tuple(usual.tolist()))
        wanted = read_threshold(threshold)
        if task == "regression":
            radius, floor = fit_radius(answers.reshape(len(truth)), truth, spread, level)
            return cls(radius=radius, floor=floor, level=level)
        if task == "multilabel":
            learned = cls(temperature=fit_label_scaling(answers, truth), labels=True, level=level)
            chosen = fit_label_thresholds(learned.probabilities(answers), truth == 1, wanted)
            return learned.model_copy(update={"threshold": chosen})
        temperature, biases = fit_scaling(answers, truth, bias=bias)
        learned = cls(temperature=temperature, bias=biases, level=level)
        if task == "multiclass":
            return learned
        least = fit_threshold(learned.probabilities(answers)[:, 1], truth == 1, wanted)
        return learned.model_copy(update={"threshold": least})

    def probabilities(self, answers: Floats) -> NDArray[np.float64]:
        """Calibrate probabilities [N, classes or labels]; without a bias their order stays."""
        if self.temperature == 1 and not self.bias:
            return answers.astype(np.float64)
        if self.labels:
            odds = _logits(answers) - _logits(1 - answers.astype(np.float64))
            from scipy.special import expit

            return np.asarray(expit(odds / self.temperature), np.float64)
        logits = _logits(answers) / self.temperature
        return _softmax(logits + np.array(self.bias) if self.bias else logits)

    def interval(
        self, answers: Floats, spread: Floats | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Give the bounds (low, high) of each row's interval, float64 [N]; None without a radius.

        Parameters
        ----------
        answers
            [N] or [N, 1], in the unit of the fit.
        spread
            [N], needed where the fit had one.
        """
        if self.radius is None:
            return None
        centre = answers.reshape(len(answers)).astype(np.float64)
        width = np.full(len(centre), self.radius)
        if self.floor is not None:
            if spread is None:
                raise AssertionError
            width *= spread.astype(np.float64) + self.floor
        return centre - width, centre + width


def read_share(given: str | float | Costs | None) -> float:
    """Read the share of ordinary rows that may be called odd: 0.01 by default.

    Raises
    ------
    OptionError
        Where it is no share.

    Examples
    --------
    >>> read_share("0.001"), read_share(None)
    (0.001, 0.01)
    """
    if given is None:
        return FALSE_ALARMS
    try:
        share = float(given)  # type: ignore[arg-type] # what is no number raises
    except (TypeError, ValueError):
        share = math.nan
    if not 0 < share < 1:
        raise OptionError(
            f"the threshold is {given!r} and there is no target",
            "the share of ordinary rows that may be called odd, above 0 and below 1",
            f"Leave it out for {FALSE_ALARMS:g}.",
        )
    return share


def fit_scaling(
    answers: Floats, truth: NDArray[Any], *, bias: bool = False
) -> tuple[float, tuple[float, ...]]:
    """Find the temperature, and the biases if wanted, with the least log loss (Guo et al. 2017).

    Parameters
    ----------
    answers
        Probabilities [N, classes].
    truth
        Class codes [N].
    bias
        Whether to look for a bias [classes] as well.

    Returns
    -------
    tuple
        The temperature, from 1/20 to 20, and the biases (empty without). ``(1.0, ())`` where
        nothing is better, so the log loss on these rows never grows. Labels are smoothed by one
        imagined row (after Platt 1999), and biases are drawn to 0 as much: a few rows that happen
        to be all right do not make a model certain.
    """
    if len(truth) == 0:
        return 1.0, ()
    logits = _logits(answers)
    rows, classes = logits.shape
    labels = np.full(logits.shape, 1 / (rows + classes) / classes)
    labels[np.arange(rows), truth] += 1 - 1 / (rows + classes)

    def objective(dials: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scaled = dials[0] * logits + dials[1:] if bias else dials[0] * logits
        top = scaled.max(axis=1, keepdims=True)
        powers = np.exp(scaled - top)
        total = powers.sum(axis=1, keepdims=True)
        surplus = powers / total - labels
        loss = np.log(total) + top - (labels * scaled).sum(axis=1, keepdims=True)
        slopes = np.concatenate([[(surplus * logits).sum()], surplus.sum(axis=0)[: len(dials) - 1]])
        slopes[1:] += dials[1:]
        return float(loss.sum() + (dials[1:] ** 2).sum() / 2) / rows, slopes / rows

    start = np.concatenate([[1.0], np.zeros(classes if bias else 0)])
    bounds = [(1 / _SHARPEST, _SHARPEST)] + [(None, None)] * (len(start) - 1)
    from scipy.optimize import minimize

    # The loss is convex in the inverse temperature and the biases: what is found is the least.
    found = minimize(objective, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    temperature, biases = float(1 / found[0]), tuple(found[1:].tolist())
    moved = _softmax(logits / temperature + np.array(biases) if biases else logits / temperature)
    if _log_loss(moved, truth) < _log_loss(_softmax(logits), truth):
        return temperature, biases
    return 1.0, ()


def fit_label_scaling(answers: Floats, truth: NDArray[Any]) -> float:
    """Find the one temperature of all labels with the least log loss; see `fit_scaling`.

    Parameters
    ----------
    answers
        Probabilities [N, labels].
    truth
        0 or 1, [N, labels].
    """
    step = max(1, -(-answers.size // _MOST_CELLS))
    likely = answers[::step].reshape(-1, 1).astype(np.float64)
    pairs = np.concatenate([1 - likely, likely], axis=1)
    return fit_scaling(pairs, truth[::step].reshape(-1).astype(np.int64))[0]


def fit_radius(
    answers: Floats, truth: Floats, spread: Floats | None, level: float
) -> tuple[float | None, float | None]:
    """Find the half width of split-conformal intervals (Vovk et al. 2005, Lei et al. 2018).

    Parameters
    ----------
    answers, truth
        Numbers [N].
    spread
        The members' standard deviations [N], or None.
    level
        The share of unseen rows to be held.

    Returns
    -------
    tuple
        The radius and the floor. The radius is the ``ceil((N + 1) level)``-th smallest of
        ``|truth - answer| / (spread + floor)``; the floor is the median spread. On exchangeable
        rows of a separate validation part such an interval holds at least ``level`` of unseen
        ones, whatever the model. On held-out folds that is no guarantee but an approximation,
        in the manner of cross-conformal prediction (Vovk 2015): each row is answered by single
        members, which err more than all together, so intervals tend to hold more. With
        fewer than ``level / (1 - level)`` rows no finite interval promises that: the largest
        error is taken, which holds N / (N + 1). No rows, no interval.
    """
    rows = len(truth)
    if rows == 0:
        return None, None
    errors = np.abs(truth.astype(np.float64) - answers.astype(np.float64))
    floor = 0.0 if spread is None else float(np.median(spread))
    if spread is not None and floor > 0:
        errors = errors / (spread.astype(np.float64) + floor)
    rank = min(math.ceil((rows + 1) * level), rows)
    radius = float(np.partition(errors, rank - 1)[rank - 1])
    return radius, floor if floor > 0 else None


def _log_loss(probabilities: NDArray[np.float64], truth: NDArray[Any]) -> float:
    """Give the mean log loss of probabilities [N, classes]."""
    return -float(_logits(probabilities)[np.arange(len(truth)), truth].mean())


def _logits(probabilities: Floats) -> NDArray[np.float64]:
    """Give the logarithms of probabilities [N, classes], never infinite."""
    return np.log(np.clip(probabilities.astype(np.float64), LEAST, None))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give probabilities [N, classes] that add up to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares
