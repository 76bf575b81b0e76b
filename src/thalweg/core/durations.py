"""Durations as people write them: ``250ms``, ``30s``, ``1m``, ``2h``, ``1d``, ``1w``."""

from __future__ import annotations

import re
from typing import Final

from thalweg.core.errors import OptionError

UNITS: Final = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
"""Microseconds in each unit."""

LONGEST: Final = 36_525 * UNITS["d"]
"""A century: all sums of times stay within int64."""

_WRITTEN: Final = re.compile(r"\s*(\d{1,18}|\d{0,18}\.\d{1,6})\s*(ms|s|m|h|d|w)\s*", re.ASCII)


def read_duration(text: str, name: str = "the duration") -> int:
    """Read a duration.

    Parameters
    ----------
    text
        A number and a unit.
    name
        How an error names it, such as ``--window``.

    Returns
    -------
    int
        Microseconds.

    Raises
    ------
    OptionError
        Where it is no duration, is no whole number of milliseconds or beyond a century.

    Examples
    --------
    >>> read_duration("1m"), read_duration("1.5s")
    (60000000, 1500000)
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise _no_duration(name, repr(text))
    whole, _, part = found[1].partition(".")
    micros = int((whole + part) or "0") * UNITS[found[2]]
    scale = 10 ** len(part)
    return checked(name, repr(text), micros // scale if micros % scale == 0 else -1)


def write_duration(microseconds: int) -> str:
    """Write a duration in its largest unit.

    Examples
    --------
    >>> write_duration(7_200_000_000), write_duration(604_800_000_000), write_duration(1_500_000)
    ('2h', '1w', '1500ms')
    """
    unit = max((u for u, size in UNITS.items() if microseconds % size == 0), key=UNITS.__getitem__)
    return f"{microseconds // UNITS[unit]}{unit}"


def checked(name: str, given: str, microseconds: int) -> int:
    """Refuse what is no whole number of milliseconds from one to a century."""
    if microseconds % 1_000 or not UNITS["ms"] <= microseconds <= LONGEST:
        raise _no_duration(name, given)
    return microseconds


def _no_duration(name: str, given: str) -> OptionError:
    return OptionError(
        f"{name} is {given}",
        "a number and a unit, from 1ms to a century",
        "Write it as 250ms, 30s, 1m, 2h, 1d or 1w.",
    )
