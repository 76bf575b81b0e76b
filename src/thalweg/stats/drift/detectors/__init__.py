"""Detectors of change in a row of numbers, such as a model's errors: one file for each.

To add one: write its file with a `Detector`, and add it to `DETECTORS`; the tests find it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from thalweg.core.errors import OptionError, near
from thalweg.stats.drift.detectors.adwin import Adwin
from thalweg.stats.drift.detectors.base import Detector
from thalweg.stats.drift.detectors.ddm import Ddm
from thalweg.stats.drift.detectors.kswin import Kswin
from thalweg.stats.drift.detectors.page_hinkley import PageHinkley

DEFAULT: Final = "adwin"

DETECTORS: Final[Mapping[str, type[Detector]]] = {
    one.name: one for one in (Adwin, PageHinkley, Kswin, Ddm)
}
"""Every detector by its name, the default first."""


def detector(name: str = DEFAULT) -> Detector:
    """Make a detector with its defaults.

    Raises
    ------
    OptionError
        Where there is none of that name, or River is not installed.

    Examples
    --------
    >>> detector("page-hinkley").stretch
    0
    """
    if name not in DETECTORS:
        raise OptionError(
            f"the detector {name!r}", f"one of {', '.join(DETECTORS)}", near(name, DETECTORS)
        )
    return DETECTORS[name]()
