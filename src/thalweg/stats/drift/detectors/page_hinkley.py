"""Page-Hinkley: a sum of deviations from the mean that leaves its lowest or highest point."""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from thalweg.stats.drift.detectors.base import Detector, damaged, river_drift, taken


@final
class PageHinkley(Detector):
    """The test of Page (1954) with forgetting, both ways, as River computes it.

    Parameters
    ----------
    threshold
        How far the sum must have gone, in the unit of the values.

    Examples
    --------
    >>> some = PageHinkley()
    >>> some.take(np.repeat([0.0, 1.0], 500))
    [553]
    >>> some.stretch
    446
    """

    name: ClassVar[str] = "page-hinkley"

    def __init__(self, threshold: float = 50.0) -> None:
        self._make = river_drift().PageHinkley
        self._river = self._make(threshold=threshold)
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
        river = self._river
        lowest = river._min_increase
        return {
            "name": self.name,
            "threshold": river.threshold,
            "since": self._since,
            "drifted": bool(river.drift_detected),
            "count": river._x_mean.n,
            "mean": river._x_mean.get(),
            "increase": river._sum_increase,
            "decrease": river._sum_decrease,
            "lowest": lowest if math.isfinite(lowest) else None,
            "highest": river._max_decrease,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Be what `state` gave; see `Detector.restore`."""
        try:
            if state["name"] != self.name:
                raise ValueError(state["name"])
            made = self._make(threshold=float(state["threshold"]))
            made._drift_detected = bool(state["drifted"])
            made._x_mean.n = float(state["count"])
            made._x_mean._mean = float(state["mean"])
            made._sum_increase = float(state["increase"])
            made._sum_decrease = float(state["decrease"])
            lowest = state["lowest"]
            made._min_increase = math.inf if lowest is None else float(lowest)
            made._max_decrease = float(state["highest"])
            since = int(state["since"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self.name, error) from None
        self._river, self._since = made, since
