"""Thresholds: from which probability on a class or a label is chosen, and what for."""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import OptionError, near

Floats = NDArray[np.floating[Any]]
Costs = tuple[float, float]
"""What a false positive and a false negative cost."""

Objective = Literal["f1", "accuracy", "balanced_accuracy"]
OBJECTIVES: Final = ("f1", "accuracy", "balanced_accuracy")

TRUSTED: Final = 50.0
"""How many rows must have a label for its own best threshold to count as much as that of all."""


def read_threshold(threshold: str | float | Costs) -> Objective | float | Costs:
    """Say where the line between two classes is to be drawn.

    Parameters
    ----------
    threshold
        ``f1`` (harmonic mean of precision and recall), ``accuracy``, ``balanced_accuracy`` (mean
        recall of both classes), a probability, or the costs of a false positive and a false
        negative, as a pair or as text (``"1:5"``).

    Raises
    ------
    OptionError
        Where it is none of these.

    Examples
    --------
    >>> read_threshold("f1"), read_threshold("0.3"), read_threshold("1:5")
    ('f1', 0.3, (1.0, 5.0))
    """
    for name in OBJECTIVES:
        if threshold == name:
            return name
    try:
        if isinstance(threshold, (int, float)):
            numbers = [float(threshold)]
        else:
            parts = threshold.split(":") if isinstance(threshold, str) else threshold
            numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and 0 <= numbers[0] <= 1:
        return numbers[0]
    if len(numbers) == 2 and all(math.isfinite(n) and n > 0 for n in numbers):
        return numbers[0], numbers[1]
    raise OptionError(
        f"threshold is {threshold!r}",
        f"{', '.join(OBJECTIVES)}, a number from 0 to 1, or two costs above 0 such as 1:5",
        near(threshold, OBJECTIVES) if isinstance(threshold, str) and not numbers else "",
    )


def fit_threshold(
    probability: Floats, positive: NDArray[np.bool_], objective: Objective | float | Costs
) -> float:
    """Find the threshold that serves an objective best.

    Parameters
    ----------
    probability
        The calibrated probability [N] of the second class.
    positive
        Bool [N]: whether the row is of that class.
    objective
        See `read_threshold`; a number is given back as it is.

    Returns
    -------
    float
        Halfway between two neighbouring scores, so rows of equal score are never told apart. Of
        the best thresholds the one in the middle. 0.5 where one class is all there is.

    Examples
    --------
    >>> scores = np.array([0.1, 0.2, 0.6, 0.9])
    >>> fit_threshold(scores, np.array([False, False, True, True]), "f1")
    0.4
    """
    if isinstance(objective, float):
        return objective
    if positive.all() or not positive.any():
        return 0.5
    scores, places = np.unique(probability.astype(np.float64), return_inverse=True)
    hits = np.bincount(places, weights=positive, minlength=len(scores))
    misses = np.bincount(places, minlength=len(scores)) - hits
    # Cut j lets the scores from j on be positive; the last cut lets none.
    true = np.append(np.cumsum(hits[::-1])[::-1], 0)
    false = np.append(np.cumsum(misses[::-1])[::-1], 0)
    worth = _worth(true, false, float(true[0]), float(false[0]), objective)
    best = np.flatnonzero(worth >= worth.max() - 1e-12)
    cut = int(best[(len(best) - 1) // 2])
    ends = np.concatenate([[min(0.0, scores[0])], scores, [max(1.0, scores[-1])]])
    below, above = float(ends[cut]), float(ends[cut + 1])
    middle = below + (above - below) / 2
    if cut == len(scores):
        # No score may reach a threshold that lets none through, though the score be 1.
        return max(middle, math.nextafter(below, math.inf))
    return middle if middle > below else above


def _worth(
    true: NDArray[np.float64],
    false: NDArray[np.float64],
    positives: float,
    negatives: float,
    objective: Objective | Costs,
) -> NDArray[np.float64]:
    """Say what each cut is worth, from its true and false positives [cuts]."""
    match objective:
        case "f1":
            return 2 * true / (true + false + positives)
        case "accuracy":
            return (true + negatives - false) / (positives + negatives)
        case "balanced_accuracy":
            return (true / positives + 1 - false / negatives) / 2
        case (false_positive, false_negative):
            cost = false_positive * false + false_negative * (positives - true)
            return -cost / (positives + negatives)


def fit_label_thresholds(
    probabilities: Floats, labels: NDArray[np.bool_], objective: Objective | float | Costs
) -> tuple[float, ...]:
    """Find a threshold for each label.

    For calibrated probabilities one threshold serves all labels best: half of the best micro-F1
    (Lipton et al. 2014). Each label is drawn from there towards what is best for it alone, the
    further the more rows have it: a rare label's best threshold is hardly more than chance.

    Parameters
    ----------
    probabilities
        Calibrated, [N, labels].
    labels
        Bool [N, labels].
    objective
        See `read_threshold`; a number is every label's threshold.

    Returns
    -------
    tuple
        One for each label.

    Examples
    --------
    >>> scores = np.array([[0.1, 0.2], [0.6, 0.3], [0.7, 0.9]])
    >>> fit_label_thresholds(scores, scores > 0.5, 0.25)
    (0.25, 0.25)
    """
    count = int(labels.shape[1])
    if isinstance(objective, float):
        return (objective,) * count
    together = fit_threshold(probabilities.reshape(-1), labels.reshape(-1), objective)
    alone = np.array(
        [fit_threshold(probabilities[:, at], labels[:, at], objective) for at in range(count)]
    )
    often = np.minimum(labels.sum(axis=0), (~labels).sum(axis=0))
    trust = often / (often + TRUSTED)
    ends = np.clip([together, *alone.tolist()], 1e-6, 1 - 1e-6)
    from scipy.special import expit, logit

    drawn = expit((1 - trust) * logit(ends[0]) + trust * logit(ends[1:]))
    found: list[float] = np.clip(drawn, 0.0, 1.0).tolist()
    return tuple(found)
