"""Whether vectors, such as a network's embeddings, still lie as they did: all columns at once."""

from __future__ import annotations

from typing import Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import ArtifactError, SourceError
from thalweg.stats.codec import State

FEATURES: Final = 256
"""How many random features stand for the kernel."""

_VERSION: Final = 1
_LOOKED: Final = 1000  # so many vectors tell the median distance
_SPLIT: Final = 10_000  # so many are split again and again
_SPLITS: Final = 500
_BLOCK: Final = 1 << 12

Floats = NDArray[np.float64]


@final
class Embedding:
    """What vectors looked like: the mean of their random features, and how it varies by luck.

    The distance is the maximum mean discrepancy (Gretton, Borgwardt, Rasch, Schölkopf & Smola
    2012) under a Gaussian kernel as wide as the median distance, by random Fourier features (Rahimi
    & Recht 2007): linear in the rows. What it is by luck is known from splitting the reference into
    halves at random, scaled to the number of rows.

    Made by `fit`.

    Attributes
    ----------
    rows : int
        How many vectors it was made of.
    bandwidth : float
        The kernel's width.

    Examples
    --------
    >>> drawn = np.random.default_rng(0).normal(size=(3, 1000, 4))
    >>> some = Embedding.fit(drawn[0], seed=0)
    >>> some.compare(drawn[1])[1] > 0.05, some.compare(drawn[2] + 0.5)[1] < 0.01
    (True, True)
    """

    def __init__(
        self,
        rows: int,
        bandwidth: float,
        frequencies: Floats,
        phases: Floats,
        mean: Floats,
        luck: Floats,
    ) -> None:
        self.rows = rows
        self.bandwidth = bandwidth
        self._frequencies = frequencies  # [D, F]
        self._phases = phases  # [F]
        self._mean = mean  # [F]
        self._luck = luck  # [S], ascending: squared distances by luck, for 1/n + 1/m = 1

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return len(self._frequencies)

    @classmethod
    def fit(cls, vectors: ArrayLike, seed: int) -> Embedding:
        """Take vectors as the reference.

        Parameters
        ----------
        vectors
            Numbers [N, D]; those that are not finite are left out.
        seed
            Of the features and the splits: the same vectors and seed give the same.

        Raises
        ------
        SourceError
            Where there are fewer than two vectors.
        """
        drawn = np.random.default_rng(seed)
        known = _finite(vectors)
        if len(known) < 2:
            raise SourceError(f"{len(known)} vectors", "two or more", "Give more rows.")
        bandwidth = _median_distance(known[drawn.permutation(len(known))[:_LOOKED]])
        frequencies = drawn.normal(size=(known.shape[1], FEATURES)) / bandwidth
        phases = drawn.uniform(0, 2 * np.pi, FEATURES)
        made = cls(len(known), bandwidth, frequencies, phases, np.zeros(0), np.zeros(0))
        made._mean = made._mean_features(known)
        some = known[np.sort(drawn.permutation(len(known))[:_SPLIT])]
        made._luck = np.sort(made._split(some, drawn))
        return made

    def compare(self, vectors: ArrayLike) -> tuple[float, float]:
        """Compare vectors [M, D] with the reference.

        Returns
        -------
        tuple[float, float]
            The distance, from 0 to about 1.4, and how likely one as large is by luck: 1/501 at
            least. Of no vectors: 0 and 1.

        Raises
        ------
        SourceError
            Where the vectors are not as wide as the reference's.
        """
        known = _finite(vectors)
        if not len(known):
            return 0.0, 1.0
        if known.shape[1] != self.width:
            raise SourceError(
                f"vectors of {known.shape[1]} numbers",
                f"{self.width}, as the reference has",
                "Compare what the same network gives.",
            )
        gap = self._mean_features(known) - self._mean
        squared = float(gap @ gap)
        scaled = squared / (1 / self.rows + 1 / len(known))
        as_large = len(self._luck) - int(np.searchsorted(self._luck, scaled, side="left"))
        return float(np.sqrt(squared)), (1 + as_large) / (1 + len(self._luck))

    def usual(self, rows: int, share: float = 0.99) -> float:
        """Give the distance that so many rows exceed by luck in so few cases as ``1 - share``."""
        scaled = float(np.quantile(self._luck, share))
        return float(np.sqrt(scaled * (1 / self.rows + 1 / max(rows, 1))))

    def state(self) -> State:
        """Give everything that it is."""
        return State(
            {"version": _VERSION, "rows": self.rows, "bandwidth": self.bandwidth},
            {
                "frequencies": self._frequencies.ravel(),
                "phases": self._phases,
                "mean": self._mean,
                "luck": self._luck,
            },
        )

    @classmethod
    def from_state(cls, state: State) -> Embedding:
        """Make one of its state.

        Raises
        ------
        ArtifactError
            Where it is of another version, or damaged.
        """
        try:
            if state.values["version"] != _VERSION:
                raise ValueError(state.values["version"])
            phases, mean, luck = (
                np.asarray(state.arrays[name], dtype=np.float64)
                for name in ("phases", "mean", "luck")
            )
            frequencies = np.asarray(state.arrays["frequencies"], dtype=np.float64)
            return cls(
                int(state.values["rows"]),
                float(state.values["bandwidth"]),
                frequencies.reshape(-1, len(phases)),
                phases,
                mean,
                luck,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the state of an embedding's reference is damaged ({error})",
                f"version {_VERSION}, as it was written",
                "Make the reference anew.",
            ) from None

    def _features(self, vectors: Floats) -> Floats:
        """Give the random features of vectors [N, D]: [N, F]."""
        found: Floats = np.cos(vectors @ self._frequencies + self._phases)
        found *= np.sqrt(2 / len(self._phases))
        return found

    def _mean_features(self, vectors: Floats) -> Floats:
        """Give the mean of the features of vectors [N, D]: [F]."""
        total = np.zeros(len(self._phases))
        for start in range(0, len(vectors), _BLOCK):
            total += self._features(vectors[start : start + _BLOCK]).sum(axis=0)
        return total / len(vectors)

    def _split(self, vectors: Floats, drawn: np.random.Generator) -> Floats:
        """Give the squared distances of halves of the vectors, for many splits at random."""
        half = len(vectors) // 2
        signs = np.repeat([1.0, -1.0], half)
        splits = drawn.permuted(np.tile(signs, (_SPLITS, 1)), axis=1)
        sums = np.zeros((_SPLITS, len(self._phases)))
        for start in range(0, 2 * half, _BLOCK):
            stop = min(start + _BLOCK, 2 * half)
            sums += splits[:, start:stop] @ self._features(vectors[start:stop])
        gaps = sums / half
        # Halves of `half` rows: 1/n + 1/m is 2 / half.
        found: Floats = (gaps * gaps).sum(axis=1) * half / 2
        return found


def _finite(vectors: ArrayLike) -> Floats:
    """Give the vectors that are numbers throughout, as float64 [N, D]."""
    found = np.asarray(vectors, dtype=np.float64)
    if found.ndim != 2:
        raise SourceError(f"vectors of shape {found.shape}", "rows and columns", "Stack them.")
    there = np.isfinite(found).all(axis=1)
    return found if there.all() else found[there]


def _median_distance(vectors: Floats) -> float:
    """Give the median distance of pairs of vectors; 1 where most are the same."""
    squares = (vectors * vectors).sum(axis=1)
    squared = squares[:, None] + squares - 2 * vectors @ vectors.T
    pairs = squared[np.triu_indices(len(vectors), 1)]
    found = float(np.sqrt(max(float(np.median(pairs)), 0.0)))
    return found if found > 0 else 1.0
