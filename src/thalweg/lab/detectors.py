"""Detectors: textbook ways to find odd rows, on the same rows as the network and judged like it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import OptionError, near
from thalweg.core.progress import Progress
from thalweg.core.seeds import derive
from thalweg.kinds.base import Design
from thalweg.lab.design import one_hot, ranks

Floats = NDArray[np.float64]

MOST_ROWS: Final = 100_000
"""How many rows a detector learns from, where there are more."""

MOST_WIDE: Final = 500
"""How many columns of numbers and levels a covariance is taken of."""


class Detector(ABC):
    """Scores rows by how odd they are beside others."""

    @abstractmethod
    def scores(self, train: Design, test: Design, seed: int) -> Floats:
        """Give the score of each test row [M]: the higher, the odder."""


@final
class IsolationForest(Detector):
    """How few random cuts set a row apart from the others (Liu et al. 2008): 100 trees."""

    def scores(self, train: Design, test: Design, seed: int) -> Floats:
        """See `Detector.scores`."""
        from sklearn.ensemble import IsolationForest as Forest

        rows, asked = plain(train, test)
        forest = Forest(n_estimators=100, random_state=seed).fit(rows)
        return -np.asarray(forest.score_samples(asked), np.float64)


@final
class Tails(Detector):
    """How far out a row's cells lie, each column by itself (ECOD, Li et al. 2022).

    The larger of the sums of both sides' tails, and of the sum that takes of each column the longer
    tail.
    """

    def scores(self, train: Design, test: Design, seed: int) -> Floats:
        """See `Detector.scores`."""
        del seed
        rows, asked = plain(train, test)
        ordered = np.sort(rows, axis=0)
        sides = np.empty((2, *asked.shape))
        for column in range(rows.shape[1]):
            below = np.searchsorted(ordered[:, column], asked[:, column], side="right")
            above = len(rows) - np.searchsorted(ordered[:, column], asked[:, column], side="left")
            sides[:, :, column] = -np.log(np.maximum([below, above], 0.5) / (len(rows) + 0.5))
        centred = rows - rows.mean(axis=0)
        longer = np.where((centred**3).mean(axis=0) < 0, sides[0], sides[1])
        found: Floats = np.maximum(sides.sum(axis=2).max(axis=0), longer.sum(axis=1))
        return found


@final
class Mahalanobis(Detector):
    """How far a row lies from the mean, in the units of the columns' covariance."""

    def scores(self, train: Design, test: Design, seed: int) -> Floats:
        """See `Detector.scores`."""
        del seed
        rows, asked = one_hot(train, test)
        wide = np.argsort(-np.asarray(rows.mean(axis=0)).ravel(), kind="stable")[:MOST_WIDE]
        seen = rows if rows.shape[1] <= MOST_WIDE else rows[:, np.sort(wide)]
        other = asked if rows.shape[1] <= MOST_WIDE else asked[:, np.sort(wide)]
        dense, far = seen.toarray(), other.toarray()
        mean = dense.mean(axis=0)
        covariance = np.atleast_2d(np.cov(dense.T)) + 1e-3 * np.eye(dense.shape[1])
        apart = far - mean
        found: Floats = np.einsum("ij,ij->i", apart, np.linalg.solve(covariance, apart.T).T)
        return found


DETECTORS: Final[Mapping[str, Detector]] = MappingProxyType(
    {"isolation_forest": IsolationForest(), "tails": Tails(), "mahalanobis": Mahalanobis()}
)
"""The detectors by name."""


@final
@dataclass(frozen=True, slots=True)
class Detected:
    """What a detector found.

    Parameters
    ----------
    scores
        float64 [M]: of the test rows.
    held
        float64 [K]: of the rows that its threshold is drawn by.
    seconds
        What fitting and scoring took.
    rows
        On how many rows it was fitted.
    """

    scores: Floats
    held: Floats
    seconds: float
    rows: int


def detect(
    train: Design,
    held: Design,
    test: Design,
    *,
    seed: int,
    names: Sequence[str] | None,
    progress: Progress,
) -> dict[str, Detected]:
    """Let detectors learn and score.

    Parameters
    ----------
    train, held, test
        What they learn from, what their thresholds are drawn by, what they score.
    seed
        Draws trees, and rows where there are too many.
    names
        Some of `DETECTORS`; None for all.
    progress
        Told of every detector.
    """
    if len(train) > MOST_ROWS:
        random = np.random.default_rng(derive(seed, "detectors"))
        train = train.take(np.sort(random.choice(len(train), MOST_ROWS, replace=False)))
    found = {}
    chosen = check_detectors(names)
    progress.start("baselines", len(chosen), "models")
    both = _joined(held, test)
    for name in chosen:
        began = time.monotonic()
        scores = DETECTORS[name].scores(train, both, derive(seed, name) % 2**31)
        seconds = time.monotonic() - began
        found[name] = Detected(scores[len(held) :], scores[: len(held)], seconds, len(train))
        progress.advance(1)
    progress.stop()
    return found


def check_detectors(names: Sequence[str] | None) -> list[str]:
    """Check the names of detectors.

    Examples
    --------
    >>> check_detectors(["tails"])
    ['tails']
    """
    for name in names or ():
        if name not in DETECTORS:
            raise OptionError(
                f"there is no baseline {name!r} for a table without a target",
                "some of " + ", ".join(DETECTORS),
                near(name, DETECTORS),
            )
    return list(DETECTORS) if names is None else list(dict.fromkeys(names))


def plain(train: Design, test: Design) -> tuple[Floats, Floats]:
    """Give numbers, gaps filled with the median, and codes by how common they are, [N, ...]."""
    gaps = np.isnan(train.numbers).all(axis=0)
    known = np.where(gaps, 0, train.numbers)
    fill = np.nan_to_num(np.nanmedian(known, axis=0)) if known.shape[1] else np.zeros(0)
    parts: list[Floats] = []
    for part, codes in zip((train, test), ranks(train, test), strict=True):
        numbers = np.where(np.isnan(part.numbers), fill, part.numbers)
        parts.append(np.concatenate([numbers, codes], axis=1).astype(np.float64))
    return parts[0], parts[1]


def _joined(one: Design, other: Design) -> Design:
    """Put rows after one another."""
    return Design(
        np.concatenate([one.numbers, other.numbers]), np.concatenate([one.codes, other.codes])
    )


def shares(scores: NDArray[Any]) -> Floats:
    """Give each score's rank as a share above 0 and below 1 [N]; equal scores share one.

    Examples
    --------
    >>> shares(np.array([5.0, 1.0, 5.0])).tolist()
    [0.75, 0.25, 0.75]
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    found: Floats = np.cumsum(counts)[places] / (len(scores) + 1)
    return found
