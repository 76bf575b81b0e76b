"""The calendar: the parts that a moment has, in numpy and as nodes of an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.kinds.graph import Graph, clip, minus
from thalweg.kinds.scaling import LIMIT

CYCLES: Final = {"month": 12, "day": 31, "weekday": 7, "hour": 24, "minute": 60}
"""The parts that come round again, and how many values each has."""

PARTS: Final = (
    "elapsed",
    "year",
    *(f"{cycle}_{wave}" for cycle in CYCLES for wave in ("sin", "cos")),
)
"""The parts of a cell, in the order of the field."""

DAY: Final = 86_400
YEAR: Final = 365.2425 * DAY

FAR: Final = 3e14
"""Seconds on either side of 1970, some ten million years: calendar arithmetic stays exact."""

# Looked up rather than computed: a sine may differ in its last bit with the processor's vector
# width, and so with the size of a batch.
CIRCLES: Final = {
    name: np.stack([np.sin(turn), np.cos(turn)], axis=-1).astype(np.float32)
    for name, length in CYCLES.items()
    for turn in [2 * np.pi * np.arange(length) / length]
}
"""Sine and cosine of each value of each part, float32 [values, 2]."""

MINUTES: Final = np.concatenate(
    [np.repeat(CIRCLES["hour"], 60, axis=0), np.tile(CIRCLES["minute"], (24, 1))], axis=1
)
"""The parts of each minute of a day, float32 [1440, 4]."""

MARCH: Final = 719_468
"""The days from 1 March of the year 0 to 1970."""

CENTURIES: Final = 146_097
"""The days of four centuries, after which the calendar begins anew."""

_ROUNDS: Final = 24_000  # of four centuries, added so that no day as far as FAR is negative
_EARLIER: Final = MARCH + _ROUNDS * CENTURIES


def civil(
    days: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Turn days since 1970-01-01 into year, month (1-12) and day (1-31), Gregorian throughout.

    Howard Hinnant's algorithm ("chrono-compatible low-level date algorithms"): years begin in
    March, so that the leap day comes last.

    Examples
    --------
    >>> civil(np.array([0, 19_782, -719_162]))
    (array([1970, 2024,    1]), array([1, 2, 1]), array([ 1, 29,  1]))
    """
    era, day = np.divmod(days + MARCH, CENTURIES)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day_of_month = day - (153 * month + 2) // 5 + 1
    month = np.where(month < 10, month + 3, month - 9)
    return year + 400 * era + (month <= 2), month, day_of_month


@final
@dataclass(frozen=True, slots=True)
class Ranges:
    """What is known of columns of times: see `thalweg.kinds.datetime.DatetimeState`.

    Parameters
    ----------
    centre, scale, lower, upper
        float64 [C].
    varies
        float32 [C, parts], 0 and 1.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    varies: NDArray[np.float32]


def write_parts(graph: Graph, raw: str, gone: str, ranges: Ranges) -> str:
    """Write the nodes that split times into parts.

    The calendar is that of Neri and Schneider (2022), "Euclidean affine functions and their
    application to calendar algorithms": years begin in March, and two divisions, with their
    remainders, tell the century, the year of it and the day of the year.

    Parameters
    ----------
    graph
        Where to.
    raw
        float64 [N, C]: seconds since 1970.
    gone
        Bool [N, C]: the cells that are missing, of which all parts are 0.
    ranges
        Of the columns.

    Returns
    -------
    str
        float32 [N, C, 12], see `PARTS`.
    """
    add = graph.add
    times = add("Where", [gone, ranges.centre, raw])
    kept = clip(graph, times, ranges.lower, ranges.upper)
    times = add("Floor", [add("Clip", [times, np.array(-FAR), np.array(FAR)])])
    # ONNX rounds quotients towards 0: what is divided is brought above 0 first.
    seconds = add("Add", [graph.cast(times, np.int64), np.array(_EARLIER * DAY)])
    minute = add("Div", [add("Mod", [seconds, np.array(DAY)]), np.array(60)])
    quarter = _quarters(graph, add("Div", [seconds, np.array(DAY)]), 0)
    day = add("Mod", [_of_century(graph, quarter), np.array(1461)])
    cycles = [
        add("Gather", [_days(), day]),
        add("Gather", [_weekdays(), add("Mod", [quarter, np.array(28)])]),
        add("Gather", [MINUTES, minute]),
    ]
    straight = _write_straight(graph, kept, ranges)
    parts = add("Concat", [straight, *cycles], {"axis": 2})
    parts = add("Mul", [parts, ranges.varies])
    wide = add("Unsqueeze", [gone, np.array([2])])
    return add("Where", [wide, np.zeros((), np.float32), parts])


def _write_straight(graph: Graph, kept: str, ranges: Ranges) -> str:
    """Write the nodes for the parts that do not come round: elapsed and year, [N, C, 2]."""
    add = graph.add
    middle, _, _ = civil((ranges.centre // DAY).astype(np.int64))
    days = graph.cast(add("Floor", [add("Div", [kept, np.array(float(DAY))])]), np.int64)
    quarter = _quarters(graph, days, _EARLIER)
    century = add("Div", [quarter, np.array(CENTURIES)])
    within = _of_century(graph, quarter)
    # January and February belong to the next year.
    late = (np.arange(1461) // 4 >= 306).astype(np.int64)
    year = add("Gather", [late, add("Mod", [within, np.array(1461)])])
    year = add("Add", [year, add("Div", [within, np.array(1461)])])
    year = add("Add", [year, add("Mul", [century, np.array(100)])])
    year = add("Sub", [year, middle + 400 * _ROUNDS])
    distances = [
        minus(graph, kept, ranges.centre),
        add("Mul", [graph.cast(year, np.float64), np.array(YEAR)]),
    ]
    wide = [add("Unsqueeze", [distance, np.array([2])]) for distance in distances]
    scales = np.stack([ranges.scale, np.maximum(ranges.scale, YEAR)], axis=-1)
    both = add("Div", [add("Concat", wide, {"axis": 2}), scales])
    return graph.cast(add("Clip", [both, np.array(-LIMIT), np.array(LIMIT)]), np.float32)


def _quarters(graph: Graph, days: str, more: int) -> str:
    """Write the nodes that count the last quarter of each day, after adding some days."""
    return graph.add("Add", [graph.add("Mul", [days, np.array(4)]), np.array(4 * more + 3)])


def _of_century(graph: Graph, quarter: str) -> str:
    """Write the nodes that count the last quarters of days within their century."""
    return graph.add("BitwiseOr", [graph.add("Mod", [quarter, np.array(CENTURIES)]), np.array(3)])


def _days() -> NDArray[np.float32]:
    """Give month and day for each quarter of a day of a year that begins in March, [1461, 4]."""
    # From 1 March of the year 3 on: the year that follows has a leap day, and that comes last.
    _, month, day = civil(np.arange(1461) // 4 + 3 * 365 - MARCH)
    return np.concatenate([CIRCLES["month"][month - 1], CIRCLES["day"][day - 1]], axis=1)


def _weekdays() -> NDArray[np.float32]:
    """Give the weekday for each quarter of a day of a week, [28, 2]."""
    # 1 January 1970 was a Thursday; Monday is 0.
    return CIRCLES["weekday"][(np.arange(28) // 4 - _EARLIER + 3) % 7]
