"""What every scorer is: rows that are sorted and counted once, to be measured many times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Scorer(ABC):
    """Rows that are sorted and counted once, to be measured many times."""

    @abstractmethod
    def measure(self, counts: Floats, names: Sequence[str] | None = None) -> dict[str, Floats]:
        """Measure resamples.

        Parameters
        ----------
        counts
            [resamples, N]: how often each resample holds each row.
        names
            The metrics wanted; all by default.

        Returns
        -------
        dict
            Metric -> [resamples]; NaN where a resample does not define it.
        """

    @abstractmethod
    def proportions(self) -> dict[str, tuple[int, int]]:
        """Name the metrics that are a share of rows: how many there are, out of how many."""


@final
class Ranking:
    """Rows in order of a score, sorted once: the higher, the likelier positive.

    Parameters
    ----------
    scores
        [N].
    positive
        Bool [N].
    """

    def __init__(self, scores: Floats, positive: NDArray[np.bool_]) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._positive = positive[self._order].astype(np.float64)
        # Rows of equal score are one step of the curve.
        self._steps = np.flatnonzero(np.diff(scores[self._order], prepend=np.nan))

    def measure(self, counts: Floats) -> tuple[Floats, Floats]:
        """Give the area under the ROC curve and the average precision of resamples [resamples, N].

        Returns
        -------
        tuple
            Two arrays [resamples], NaN where a resample lacks one of the classes.
        """
        seen = np.take(counts, self._order, axis=1)
        hits = seen * self._positive
        if len(self._steps) < len(self._order):
            seen, hits = (np.add.reduceat(rows, self._steps, axis=1) for rows in (seen, hits))
        passed = np.cumsum(hits, axis=1)
        # Mann and Whitney: before how many positives does a negative row come? Those of its own
        # step count half.
        area = (
            np.einsum("ij,ij->i", seen, passed)
            - np.einsum("ij,ij->i", hits, passed)
            - np.einsum("ij,ij->i", seen - hits, hits) / 2
        )
        total = np.cumsum(seen, axis=1)
        positives = passed[:, -1].copy()
        negatives = total[:, -1] - positives
        # Rows that a resample lacks may stand first, where nothing has been seen yet.
        np.divide(passed, np.maximum(total, 1), out=passed)
        precision = np.einsum("ij,ij->i", hits, passed)
        defined = (positives > 0) & (negatives > 0)
        nothing = np.full(len(counts), np.nan)
        return (
            np.divide(area, positives * negatives, out=nothing.copy(), where=defined),
            np.divide(precision, positives, out=nothing, where=defined),
        )


def mean_over(values: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Average [resamples, classes] over the classes of a mask; NaN where there is none."""
    count = mask.sum(axis=1)
    total = np.where(mask, values, 0).sum(axis=1)
    found: Floats = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return found
