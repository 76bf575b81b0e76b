"""Metrics of several labels a row.

``micro_f1`` counts every label of every row alike; ``macro_f1`` is the mean of the labels' own F1
(over those that appear in truth or prediction), ``mean_average_precision`` that of their average
precisions (over those that some rows have and others have not). ``log_loss`` is the mean over rows
and labels, ``hamming_loss`` the share of all rows' labels that are wrong, and ``subset_accuracy``
the share of rows of which none is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.kinds.base import Threshold
from thalweg.kinds.labels import decide_labels
from thalweg.lab.scorer import Floats, Ranking, Scorer, mean_over
from thalweg.models.record import Label

_LEAST: Final = float(np.finfo(np.float64).eps)
_BLOCK: Final = 64
"""How many labels are counted at once."""


@final
class LabelScorer(Scorer):
    """The metrics of labels.

    Parameters
    ----------
    truth
        0 or 1, [N, labels].
    prediction
        Probabilities [N, labels].
    threshold
        See `thalweg.kinds.labels.decide_labels`.
    """

    def __init__(self, truth: NDArray[Any], prediction: NDArray[Any], threshold: Threshold) -> None:
        self._truth = truth.astype(np.bool_)
        self._prediction = prediction
        self._chosen = decide_labels(prediction, threshold)
        self._wrong = (self._chosen != self._truth).sum(axis=1).astype(np.float64)
        self._labels = prediction.shape[1]

    @cached_property
    def _rankings(self) -> list[Ranking]:
        """The rows in order of each label's probability: sorted only where they are looked at."""
        return [
            Ranking(self._prediction[:, at].astype(np.float64), self._truth[:, at])
            for at in range(self._labels)
        ]

    def measure(self, counts: Floats, names: Sequence[str] | None = None) -> dict[str, Floats]:
        """Measure resamples; see `Scorer`."""
        rows = counts.sum(axis=1)
        found: dict[str, Floats] = {}
        if names is None or "micro_f1" in names:
            sums = [
                counts @ flags.sum(axis=1).astype(np.float64)
                for flags in (self._truth & self._chosen, self._truth, self._chosen)
            ]
            found["micro_f1"] = _f1(*sums)
        if names is None or "macro_f1" in names:
            hits, support, chosen = self.counted(counts)
            found["macro_f1"] = mean_over(_f1(hits, support, chosen), (support + chosen) > 0)
        if names is None or "mean_average_precision" in names:
            own = np.stack([ranking.measure(counts)[1] for ranking in self._rankings], axis=1)
            found["mean_average_precision"] = mean_over(own, ~np.isnan(own))
        if names is None or "log_loss" in names:
            found["log_loss"] = counts @ label_losses(self._truth, self._prediction) / rows
        if names is None or "subset_accuracy" in names:
            found["subset_accuracy"] = counts @ (self._wrong == 0) / rows
        if names is None or "hamming_loss" in names:
            found["hamming_loss"] = counts @ self._wrong / (rows * self._labels)
        return found

    def proportions(self) -> dict[str, tuple[int, int]]:
        """Name the shares; see `Scorer`."""
        return {"subset_accuracy": (int((self._wrong == 0).sum()), len(self._wrong))}

    def counted(self, counts: Floats) -> tuple[Floats, Floats, Floats]:
        """Count for each label the rows that are found, that have it and that are given it.

        Parameters
        ----------
        counts
            [resamples, N].

        Returns
        -------
        tuple
            Three arrays [resamples, labels].
        """
        found = np.empty((3, len(counts), self._labels))
        for start in range(0, self._labels, _BLOCK):
            block = slice(start, start + _BLOCK)
            truth, chosen = self._truth[:, block], self._chosen[:, block]
            for place, flags in enumerate((truth & chosen, truth, chosen)):
                found[place, :, block] = counts @ flags.astype(np.float64)
        return found[0], found[1], found[2]

    def labels(self, names: Sequence[str], threshold: Threshold) -> list[Label]:
        """Say how each label fares.

        Parameters
        ----------
        names
            The labels.
        threshold
            As it was given.
        """
        once = np.ones((1, len(self._truth)))
        hits, support, chosen = (one[0] for one in self.counted(once))
        precision, recall = (
            np.divide(hits, whole, out=np.zeros_like(hits), where=whole > 0)
            for whole in (chosen, support)
        )
        f1 = np.nan_to_num(_f1(hits, support, chosen))
        ranked = [float(ranking.measure(once)[1][0]) for ranking in self._rankings]
        least = np.broadcast_to(0.5 if threshold is None else np.asarray(threshold), len(names))
        return [
            Label(
                name=name,
                support=int(support[at]),
                precision=float(precision[at]),
                recall=float(recall[at]),
                f1=float(f1[at]),
                average_precision=ranked[at] if np.isfinite(ranked[at]) else None,
                threshold=float(least[at]),
            )
            for at, name in enumerate(names)
        ]


def label_losses(truth: NDArray[Any], prediction: NDArray[Any]) -> Floats:
    """Give each row's mean log loss over its labels [N].

    Examples
    --------
    >>> label_losses(np.array([[1, 0]]), np.array([[0.5, 0.5]])).round(3).tolist()
    [0.693]
    """
    likely = np.where(truth.astype(np.bool_), prediction, 1 - prediction).astype(np.float64)
    found: Floats = -np.log(np.clip(likely, _LEAST, 1)).mean(axis=1)
    return found


def _f1(hits: Floats, support: Floats, chosen: Floats) -> Floats:
    """Give F1 from counts; NaN where nothing is there or chosen."""
    whole = support + chosen
    found: Floats = np.divide(2 * hits, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return found
