"""DDM: an error rate that has risen by some of its standard deviations above its lowest."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import OptionError
from thalweg.stats.drift.detectors.base import Detector, damaged, river_drift, taken


@final
class Ddm(Detector):
    """The drift detection method (Gama, Medas, Castillo & Rodrigues 2004), as River computes it.

    It is for errors between 0 and 1 and sees them rise only. After a time without any error the
    first one is a drift to it.

    Examples
    --------
    >>> some = Ddm()
    >>> some.take(np.tile([0.0, 0.0, 0.0, 1.0], 100))
    []
    >>> some.take(np.ones(100)), some.stretch
    ([23], 76)
    """

    name: ClassVar[str] = "ddm"

    def __init__(self) -> None:
        self._make = river_drift().binary.DDM
        self._river = self._make()
        self._since = 0

    def take(self, values: NDArray[np.float64]) -> list[int]:
        """Take values in; see `Detector.take`."""
        values = np.asarray(values, dtype=np.float64)
        outside = np.isfinite(values) & ((values < 0) | (values > 1))
        if outside.any():
            raise OptionError(
                f"the detector ddm was given {values[outside][0]:g}",
                "errors between 0 and 1",
                "Use adwin, page-hinkley or kswin.",
            )
        found, self._since = taken(self._river, values, self._since)
        return found

    @property
    def stretch(self) -> int:
        """The values since the last drift."""
        return self._since

    def state(self) -> dict[str, Any]:
        """Give everything that it is as plain JSON."""
        river = self._river
        return {
            "name": self.name,
            "since": self._since,
            "drifted": bool(river.drift_detected),
            "warned": bool(river.warning_detected),
            "count": river._p.n,
            "rate": river._p.get(),
            "lowest": None if river._p_min is None else [river._p_min, river._s_min],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Be what `state` gave; see `Detector.restore`."""
        try:
            if state["name"] != self.name:
                raise ValueError(state["name"])
            made = self._make()
            made._drift_detected = bool(state["drifted"])
            made._warning_detected = bool(state["warned"])
            made._p.n, made._p._mean = float(state["count"]), float(state["rate"])
            if state["lowest"] is not None:
                made._p_min, made._s_min = map(float, state["lowest"])
                made._ps_min = made._p_min + made._s_min
            since = int(state["since"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self.name, error) from None
        self._river, self._since = made, since
