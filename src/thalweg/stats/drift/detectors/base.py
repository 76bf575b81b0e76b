"""The contract of detectors: numbers go in one after the other, places of change come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError, not_installed

SEED: Final = 0
"""Of the one detector that draws at random: the same values give the same drifts."""


class Detector(ABC):
    """Watches one row of numbers, such as the errors of a model, for a change.

    What it finds depends on the values so far alone: how they were cut into pieces does not matter.
    Values that are not finite are passed over, as if they had not come.

    Attributes
    ----------
    name : str
        The word that people choose it by.
    """

    name: ClassVar[str]

    @abstractmethod
    def take(self, values: NDArray[np.float64]) -> list[int]:
        """Take values in; after a drift it begins anew.

        Parameters
        ----------
        values
            float64 [N], the oldest first.

        Returns
        -------
        list[int]
            The places in ``values`` at which a drift was confirmed, ascending.

        Raises
        ------
        OptionError
            Where the detector is not made for such values; then none of them was taken in.
        """

    @property
    @abstractmethod
    def stretch(self) -> int:
        """How many of the last values it takes for one stretch without change.

        Those since the last drift: 0 at a drift itself. Values from before it was confirmed may be
        from after the change already; how many is not known.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Give everything that it is as plain JSON."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Be what `state` gave, down to the last bit.

        Raises
        ------
        ArtifactError
            Where it is of another detector, or damaged; the detector stays as it was.
        """


def river_drift() -> Any:
    """Give River's module of detectors.

    Raises
    ------
    OptionError
        Where River is not installed.
    """
    try:
        from river import drift
    except ImportError:
        raise not_installed("a detector of drift", "river", "online") from None
    return drift


def taken(river: Any, values: NDArray[np.float64], since: int) -> tuple[list[int], int]:
    """Let one of River's detectors take values in, one by one: it knows no other way.

    Parameters
    ----------
    river
        River's detector; it begins anew after a drift.
    values
        float64 [N]; those that are not finite are passed over.
    since
        How many values it took since its last drift.

    Returns
    -------
    tuple
        The places of drifts in ``values``, and how many values were taken since the last one.
    """
    found: list[int] = []
    for place in np.flatnonzero(np.isfinite(values)).tolist():
        river.update(float(values[place]))
        since += 1
        if river.drift_detected:
            found.append(place)
            since = 0
    return found, since


def damaged(name: str, found: object) -> ArtifactError:
    """Say that a state cannot be that of a detector."""
    return ArtifactError(
        f"the state of the detector {name} is damaged ({found})",
        f"what {name} gave, with this version of River",
        "Start the detector anew.",
    )
