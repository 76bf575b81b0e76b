"""Metrics: how good predictions are, on rows given once or any number of times.

One definition serves both the figure and its bootstrap interval: a `Scorer` sorts the rows once
and then measures any number of resamples of them as one matrix. Classes are codes from 0; with
two classes the second is the positive one. ``precision``, ``recall`` and ``f1`` are macro
averages where there are more classes than two (over those that appear in truth or prediction),
``roc_auc`` and ``average_precision`` are macro averages of one class against the rest (over those
that appear in truth). ``calibration_error`` is of the positive class's probability, and of the
likeliest class's where there are more than two. For several labels a row see
`thalweg.lab.label_scorer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal, final

import numpy as np
from numpy.typing import NDArray

from thalweg.kinds.base import Task, Threshold
from thalweg.kinds.classes import decide
from thalweg.lab.label_scorer import LabelScorer, label_losses
from thalweg.lab.scorer import Floats, Ranking, Scorer, mean_over
from thalweg.models.record import Curve

METRICS: Final[Mapping[Task, tuple[str, ...]]] = MappingProxyType(
    {
        "regression": ("rmse", "mae", "r2", "coverage"),
        "binary": (
            "roc_auc",
            "average_precision",
            "log_loss",
            "accuracy",
            "precision",
            "recall",
            "f1",
            "calibration_error",
        ),
        "multiclass": (
            "log_loss",
            "accuracy",
            "precision",
            "recall",
            "f1",
            "roc_auc",
            "average_precision",
            "calibration_error",
        ),
        "multilabel": (
            "micro_f1",
            "macro_f1",
            "mean_average_precision",
            "log_loss",
            "subset_accuracy",
            "hamming_loss",
        ),
        "anomaly": (
            "roc_auc",
            "average_precision",
            "precision",
            "recall",
            "f1",
            "false_alarms",
            "flagged",
        ),
    }
)
"""The metrics of each task, the leading one first."""

LEADING: Final[Mapping[Task, str]] = MappingProxyType(
    {task: names[0] for task, names in METRICS.items()}
)
"""The metric that models of a task are compared by."""

_LOWER: Final = frozenset(
    ("rmse", "mae", "log_loss", "calibration_error", "hamming_loss", "surprise")
)
_LEAST: Final = float(np.finfo(np.float64).eps)
"""Probabilities are taken to be at least this: one row that was thought impossible costs 36."""


def better(metric: str) -> Literal["higher", "lower"]:
    """Say which values of a metric are better.

    Examples
    --------
    >>> better("rmse"), better("roc_auc")
    ('lower', 'higher')
    """
    return "lower" if metric in _LOWER else "higher"


def score(
    task: Task,
    truth: NDArray[Any],
    prediction: NDArray[Any],
    *,
    threshold: Threshold = None,
    bounds: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> dict[str, float]:
    """Measure predictions by every metric of their task.

    Parameters
    ----------
    task
        What was predicted.
    truth
        Numbers [N], class codes [N], or labels [N, labels] as 0 and 1.
    prediction
        Numbers [N], or probabilities [N, classes or labels].
    threshold
        With two classes: the probability from which the second is predicted; None: the likelier.
        With several labels a row: that from which each is given; None: 0.5.
    bounds
        Regression: the lower and the upper ends [N] of intervals, for ``coverage``.

    Returns
    -------
    dict
        Metric -> value. A metric that the rows do not define is left out: ``r2`` where the truth
        is constant; ``precision``, ``recall``, ``f1``, ``roc_auc`` and ``average_precision``
        where there is one class only; ``micro_f1`` and ``macro_f1`` where no label is given or
        there, ``mean_average_precision`` where no label tells rows apart. A precision of nothing
        is 0, as in scikit-learn.

    Examples
    --------
    >>> score("regression", np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 1.0]))["mae"]
    1.0
    >>> guesses = np.array([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3]])
    >>> score("binary", np.array([0, 1, 1]), guesses)["recall"]
    0.5
    """
    if len(truth) == 0:
        return {}
    measured = scorer(task, truth, prediction, threshold=threshold, bounds=bounds).measure(
        np.ones((1, len(truth)))
    )
    return {name: float(found[0]) for name, found in measured.items() if np.isfinite(found[0])}


def scorer(
    task: Task,
    truth: NDArray[Any],
    prediction: NDArray[Any],
    *,
    threshold: Threshold = None,
    bounds: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> Scorer:
    """Prepare rows for being measured many times; see `score`."""
    if task == "regression":
        return NumberScorer(truth, prediction, bounds)
    if task == "multilabel":
        return LabelScorer(truth, prediction, threshold)
    return ClassScorer(task, truth, prediction, threshold)


@final
class NumberScorer(Scorer):
    """Regression's metrics; see `score` for the parameters."""

    def __init__(
        self,
        truth: NDArray[Any],
        prediction: NDArray[Any],
        bounds: tuple[NDArray[Any], NDArray[Any]] | None,
    ) -> None:
        truth = truth.astype(np.float64)
        error = prediction.astype(np.float64) - truth
        # Centred, so that the variance does not drown in rounding when the mean is large.
        centred = truth - truth.mean()
        self._inside = None if bounds is None else (bounds[0] <= truth) & (truth <= bounds[1])
        inside = np.zeros(len(truth)) if self._inside is None else self._inside
        self._columns = np.stack([error**2, np.abs(error), centred**2, centred, inside], axis=1)
        self._constant = bool((truth == truth[0]).all())

    def measure(self, counts: Floats, names: Sequence[str] | None = None) -> dict[str, Floats]:
        """Measure resamples; see `Scorer`."""
        rows = counts.sum(axis=1)
        squared, absolute, variance, mean, inside = (counts @ self._columns / rows[:, None]).T
        variance = variance - mean**2
        known = np.full_like(variance, np.nan)
        if not self._constant:
            np.divide(squared, variance, out=known, where=variance > 0)
        found = {"rmse": np.sqrt(squared), "mae": absolute, "r2": 1 - known}
        if self._inside is not None:
            found["coverage"] = inside
        return {name: values for name, values in found.items() if names is None or name in names}

    def proportions(self) -> dict[str, tuple[int, int]]:
        """Name the shares; see `Scorer`."""
        if self._inside is None:
            return {}
        return {"coverage": (int(self._inside.sum()), len(self._inside))}


@final
class ClassScorer(Scorer):
    """The metrics of classes; see `score` for the parameters."""

    def __init__(
        self, task: Task, truth: NDArray[Any], prediction: NDArray[Any], threshold: Threshold
    ) -> None:
        probabilities = prediction.astype(np.float64)
        rows, classes = probabilities.shape
        self._names = METRICS[task]
        self._binary = task == "binary"
        self._chosen = decide(probabilities, threshold)
        self._truth = truth
        self._losses = losses(task, truth, probabilities)
        self._right = self._chosen == truth
        self._classes = classes
        happened = truth == 1 if self._binary else probabilities.argmax(axis=1) == truth
        claimed = probabilities[:, 1] if self._binary else probabilities.max(axis=1)
        self._bins = equal_bins(claimed, bins_for(rows))
        self._surplus = claimed - happened
        self._doubt = claimed * (1 - claimed)
        self._probabilities = probabilities

    @cached_property
    def _rankings(self) -> list[Ranking]:
        """The rows in order of each class's probability: sorted only where they are looked at."""
        return [
            Ranking(self._probabilities[:, code], self._truth == code)
            for code in ([1] if self._binary else range(self._classes))
        ]

    def measure(self, counts: Floats, names: Sequence[str] | None = None) -> dict[str, Floats]:
        """Measure resamples; see `Scorer`."""
        wanted = [name for name in self._names if names is None or name in names]
        rows = counts.sum(axis=1)
        found: dict[str, Floats] = {}
        if "log_loss" in wanted:
            found["log_loss"] = counts @ self._losses / rows
        if "accuracy" in wanted:
            found["accuracy"] = counts @ self._right / rows
        if {"precision", "recall", "f1"} & set(wanted):
            found |= self._agreement(counts)
        if "calibration_error" in wanted:
            surplus = _sums(counts * self._surplus, self._bins, int(self._bins.max()) + 1)
            found["calibration_error"] = np.abs(surplus).sum(axis=1) / rows
        if {"roc_auc", "average_precision"} & set(wanted):
            found |= self._ranking(counts)
        return {name: found[name] for name in wanted}

    def proportions(self) -> dict[str, tuple[int, int]]:
        """Name the shares; see `Scorer`."""
        shares = {"accuracy": (int(self._right.sum()), len(self._right))}
        if self._binary:
            hits = int((self._right & (self._truth == 1)).sum())
            shares["precision"] = hits, int((self._chosen == 1).sum())
            shares["recall"] = hits, int((self._truth == 1).sum())
        return shares

    def noise(self, resamples: int, random: np.random.Generator) -> Floats:
        """Draw the calibration errors [resamples] that calibrated claims would show by chance.

        Consistency resampling (Bröcker and Smith 2007), with normal sums instead of coin flips.
        """
        deviations = np.sqrt(np.bincount(self._bins, self._doubt))
        sums = random.normal(size=(resamples, len(deviations))) * deviations
        found: Floats = np.abs(sums).sum(axis=1) / len(self._bins)
        return found

    def _agreement(self, counts: Floats) -> dict[str, Floats]:
        """Measure how the chosen classes agree with the true ones."""
        support, chosen, hits = (
            _sums(weights, codes, self._classes)
            for weights, codes in (
                (counts, self._truth),
                (counts, self._chosen),
                (counts * self._right, self._truth),
            )
        )
        several = (support > 0).sum(axis=1) > 1
        present = (support + chosen) > 0
        found = {}
        for name, top, bottom in (
            ("precision", hits, chosen),
            ("recall", hits, support),
            ("f1", 2 * hits, support + chosen),
        ):
            values = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
            mean = values[:, 1] if self._binary else mean_over(values, present)
            found[name] = np.where(several, mean, np.nan)
        return found

    def _ranking(self, counts: Floats) -> dict[str, Floats]:
        """Measure how well the probabilities rank each class's rows before the others."""
        areas, precisions = zip(
            *(ranking.measure(counts) for ranking in self._rankings), strict=True
        )
        found = {}
        for name, columns in (("roc_auc", areas), ("average_precision", precisions)):
            values = np.stack(columns, axis=1)
            found[name] = mean_over(values, ~np.isnan(values))
        return found


def _sums(weights: Floats, codes: NDArray[Any], classes: int) -> Floats:
    """Add up weights [resamples, N] by code [N]: [resamples, classes]."""
    return np.stack([np.bincount(codes, row, classes) for row in weights])


def losses(task: Task, truth: NDArray[Any], prediction: NDArray[Any]) -> Floats:
    """Give each row's loss [N]: the squared error, or the (mean) log loss; see `score`."""
    if task == "regression":
        errors: Floats = prediction.astype(np.float64) - truth.astype(np.float64)
        return errors**2
    if task == "multilabel":
        return label_losses(truth, prediction)
    chosen = prediction[np.arange(len(truth)), truth].astype(np.float64)
    found: Floats = -np.log(np.clip(chosen, _LEAST, 1))
    return found


def confusion(truth: NDArray[Any], chosen: NDArray[Any], classes: int) -> list[list[int]]:
    """Count rows by true class (outer list) and chosen class (inner list).

    Examples
    --------
    >>> confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), classes=2)
    [[1, 0], [1, 1]]
    """
    cells = np.bincount(truth.astype(np.int64) * classes + chosen, minlength=classes**2)
    table: list[list[int]] = cells.reshape(classes, classes).tolist()
    return table


def bins_for(rows: int) -> int:
    """Say how many bins a calibration is measured in: 15, and fewer where one had under 20 rows."""
    return int(np.clip(rows // 20, 1, 15))


def equal_bins(values: Floats, bins: int) -> NDArray[np.int64]:
    """Put values [N] into at most ``bins`` bins of about equally many; equal ones stay together."""
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def reliability(happened: NDArray[np.bool_], probability: Floats, bins: int | None = None) -> Curve:
    """Compare claimed with observed shares: the reliability curve.

    Parameters
    ----------
    happened
        Bool [N].
    probability
        What was claimed, [N].
    bins
        The most bins, of about equally many rows each; see `bins_for` for the default.

    Returns
    -------
    Curve
        ``x``: mean claim, ``y``: observed share, ``weight``: rows, of each bin that has any.
    """
    places = equal_bins(probability, bins_for(len(probability)) if bins is None else bins)
    rows = np.bincount(places)
    held = rows > 0
    claims, shares = (
        (np.bincount(places, weights=values)[held] / rows[held]).tolist()
        for values in (probability, happened)
    )
    return Curve(x=claims, y=shares, weight=rows[held].astype(float).tolist())
