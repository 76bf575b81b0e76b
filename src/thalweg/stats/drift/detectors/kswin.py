"""KSWIN: the last values beside some drawn from those before, by the test of Kolmogorov-Smirnov."""

from __future__ import annotations

import random
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from thalweg.stats.drift.detectors.base import SEED, Detector, damaged, river_drift, taken


@final
class Kswin(Detector):
    """A sliding window of 100 values (Raab, Heusinger & Schleif 2020), as River computes it.

    It sees a change of the distribution where the mean holds, but only one that shows in 30 values:
    error rates of .10 and .25 are the same to it. It takes some thousand values a second only.

    Parameters
    ----------
    alpha
        The significance of one test. A test is made at every value: River's own .005 gives 29 false
        alarms in 20,000 values that do not change, .0001 one.

    Examples
    --------
    >>> some = Kswin()
    >>> some.take(np.repeat([0.0, 1.0], 200))
    [216]
    >>> some.stretch
    183
    """

    name: ClassVar[str] = "kswin"

    def __init__(self, alpha: float = 0.0001) -> None:
        self._make = river_drift().KSWIN
        self._river = self._make(alpha=alpha, seed=SEED)
        self._since = 0

    def take(self, values: NDArray[np.float64]) -> list[int]:
        """Take values in; see `Detector.take`."""
        found, self._since = taken(self._river, values, self._since)
        return found

    @property
    def stretch(self) -> int:
        """The values since the last drift."""
        return self._since

    def state(self) -> dict[str, Any]:
        """Give everything that it is as plain JSON."""
        version, words, _ = self._river._rng.getstate()
        return {
            "name": self.name,
            "alpha": self._river.alpha,
            "since": self._since,
            "drifted": bool(self._river.drift_detected),
            "count": self._river.n,
            "window": list(self._river.window),
            "random": [version, list(words)],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Be what `state` gave; see `Detector.restore`."""
        try:
            if state["name"] != self.name:
                raise ValueError(state["name"])
            window = [float(value) for value in state["window"]]
            made = self._make(alpha=float(state["alpha"]), seed=SEED, window=window)
            made._drift_detected = bool(state["drifted"])
            made.n = int(state["count"])
            version, words = state["random"]
            drawn = random.Random(SEED)  # noqa: S311 - River draws from one such
            drawn.setstate((version, tuple(words), None))
            made._rng = drawn
            since = int(state["since"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self.name, error) from None
        self._river, self._since = made, since
