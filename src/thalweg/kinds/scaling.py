"""Robust scaling of one column's numbers, fitted from its summary: centre, scale, fences, bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.kinds.graph import Graph, clip, minus
from thalweg.stats import NumberSummary

LIMIT: Final = 1e6
"""The largest scaled value: float32 still tells neighbours apart, and sums stay finite."""

HUGE: Final = 1e300
"""Statistics are cut here, so that differences of them cannot overflow."""

BLOCK: Final = 16_384
"""How many rows are scaled at a time: what is worked on then stays in the processor's cache."""

TAIL: Final = 0.0005
"""The share of rows on each side that the fences are drawn from."""

REACH: Final = 4.0
"""How many times as far from the median as that quantile a fence stands."""

SPREADS: Final = ((0.25, 1.3490), (0.05, 3.2897), (0.01, 4.6527), (0.001, 6.1805))
"""Tail shares, and how many standard deviations of a normal curve lie between the two tails."""


@final
@dataclass(frozen=True, slots=True)
class Scaling:
    """How one column is scaled, in the column's own units.

    Parameters
    ----------
    centre
        What becomes 0: the median.
    scale
        What becomes 1: a robust standard deviation, above 0.
    lower, upper
        The fences: values beyond them are outliers.
    constant
        Whether the column's values do not differ by more than rounding.
    """

    centre: float = 0.0
    scale: float = 1.0
    lower: float = 0.0
    upper: float = 0.0
    constant: bool = True


def fit_scaling(numbers: NumberSummary) -> Scaling:
    """Find the scaling of a column.

    **Scale.** The interquartile range over 1.349, which is the standard deviation of a normal
    curve and does not move for outliers. Where more than half of the rows share one value it is
    0; then ever wider quantile ranges are tried, then the standard deviation, then half the range.

    **Fences.** On each side the quantile that leaves 0.05% of rows beyond it (in small tables one
    and a half rows), four times as far from the median. A lone wild value moves no such quantile,
    so it is caught; an honest heavy tail is not cut: of log-normal rows (sigma 2) one in 30,000 is,
    and of normal rows none. Where that quantile is the median itself (nearly all rows share one
    value), the fence is the extreme: nothing seen in training is cut there.
    """
    if numbers.count == 0:
        return Scaling()
    low, high = _finite(np.array([numbers.minimum, numbers.maximum])).tolist()
    tail = float(np.clip(1.5 / numbers.count, TAIL, 0.25))
    tails = np.array([share for share, _ in SPREADS])
    centre, below, above = _quantiles(numbers, np.array([0.5, tail, 1 - tail])).tolist()
    lower = centre - REACH * (centre - below) if below < centre else low
    upper = centre + REACH * (above - centre) if above > centre else high
    if _constant(numbers, low, high):
        return Scaling(centre, max(1.0, abs(centre)), lower, upper)
    spreads = _quantiles(numbers, 1 - tails) - _quantiles(numbers, tails)
    normal = spreads / np.array([width for _, width in SPREADS])
    deviation = float(_finite(np.sqrt(np.array([numbers.variance])))[0])
    # A scale that is nothing beside the range would push the tails out of float32's reach.
    least = (min(high, upper) - max(low, lower)) / LIMIT
    fitting = [scale for scale in (*normal.tolist(), deviation) if scale > least]
    scale = fitting[0] if fitting else (high - low) / 2
    return Scaling(centre, scale, lower, upper, constant=False)


def scaled(
    values: NDArray[np.float64], centre: NDArray[Any] | float, scale: NDArray[Any] | float
) -> NDArray[np.float32]:
    """Scale finite values: float64 arithmetic, then one rounding to float32, within `LIMIT`.

    A zero that comes out has no sign.
    """
    with np.errstate(over="ignore"):
        distance = (values - centre) / scale
    return (np.clip(distance, -LIMIT, LIMIT) + 0.0).astype(np.float32)


def scaled_columns(
    columns: Sequence[NDArray[Any]],
    centre: NDArray[np.float64],
    scale: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    fill: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Clip, fill and scale columns side by side, in the bits that `scaled` gives.

    Scaling keeps the order of values, so that what is cut at a scaled fence is, bit for bit, what
    would be cut at the fence and then scaled: one cut does for the fences and `LIMIT`.

    Parameters
    ----------
    columns
        Numbers [N] of any width for each of C columns; NaN is missing.
    centre, scale
        What becomes 0 and 1, each [C].
    lower, upper
        The fences [C]; infinite for none. A column without has no infinite values.
    fill
        What stands in for NaN [C]; the fences do not hold for it.

    Returns
    -------
    tuple
        float32 [N, C], and bool [N, C]: where NaN was filled.

    Examples
    --------
    >>> one, none = np.ones(1), np.zeros(1)
    >>> columns = [np.array([1.0, 9.0, np.nan])]
    >>> scaled_columns(columns, none, 2 * one, none, 3 * one, 8 * one)[0].ravel()
    array([0.5, 1.5, 4. ], dtype=float32)
    """
    shape = len(columns[0]), len(columns)
    coordinates = np.empty(shape, dtype=np.float32)
    missing = np.zeros(shape, dtype=bool)
    least, most, filler = (
        _placed(value, centre, scale)[:, np.newaxis] for value in (lower, upper, fill)
    )
    with np.errstate(over="ignore", invalid="ignore"):
        room = np.empty((shape[1], min(shape[0], BLOCK)))
        for start in range(0, shape[0], BLOCK):
            rows = slice(start, min(start + BLOCK, shape[0]))
            block = room[:, : rows.stop - start]
            for column, values in enumerate(columns):
                np.subtract(values[rows], centre[column], out=block[column])
            np.divide(block, scale[:, np.newaxis], out=block)
            np.clip(block, least, most, out=block)
            # Whether -0 stays at a bound of 0 depends on the processor and on where a row stands.
            np.add(block, 0.0, out=block)
            gone = np.isnan(block)
            for column in np.flatnonzero(gone.any(axis=1)).tolist():
                np.copyto(block[column], filler[column], where=gone[column])
                missing[rows, column] = gone[column]
            coordinates[rows] = block.T
    return coordinates, missing


def write_scaled(
    graph: Graph,
    cells: str,
    gone: str,
    centre: NDArray[np.float64],
    scale: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    fill: NDArray[np.float64],
) -> str:
    """Write the nodes that do what `scaled_columns` does, to the bit but for the sign of zeros.

    Parameters
    ----------
    graph
        Where to.
    cells
        float64 [N, C].
    gone
        Bool [N, C]: the cells that are filled.
    centre, scale, lower, upper, fill
        See `scaled_columns`.

    Returns
    -------
    str
        float32 [N, C].
    """
    least, most, filler = (_placed(value, centre, scale) for value in (lower, upper, fill))
    distance = graph.add("Div", [minus(graph, cells, centre), scale])
    kept = clip(graph, distance, least, most)
    return graph.cast(graph.add("Where", [gone, filler, kept]), np.float32)


def _placed(
    values: NDArray[np.float64], centre: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scale a value of each column [C]."""
    with np.errstate(over="ignore"):
        return np.clip((values - centre) / scale, -LIMIT, LIMIT)


def fit_edges(numbers: NumberSummary, scaling: Scaling, bins: int) -> tuple[float, ...]:
    """Find the edges of a column's bins, in scaled float32 units.

    With few distinct values every value is an edge. Otherwise edges are quantiles over rows, so
    that bins hold equally many rows; where many rows share a value (a capital gain of 0) such
    edges coincide, and the places that fall free go to quantiles over the distinct values.

    Parameters
    ----------
    numbers
        The column's statistics.
    scaling
        Its scaling.
    bins
        The most bins.

    Returns
    -------
    tuple of float
        2 to ``bins`` + 1 edges, strictly increasing by at least 1e-4 (a narrower bin would turn
        rounding errors into jumps).
    """
    if scaling.constant:
        return (-0.5, 0.5)
    if numbers.histogram.exact and len(numbers.histogram.value_counts()[0]) <= bins + 1:
        edges = numbers.histogram.value_counts()[0]
    else:
        edges = np.unique(_quantiles(numbers, np.linspace(0, 1, bins + 1)))
        # Two more than there are places, for the first and the last are edges already.
        shares = np.linspace(0, 1, bins + 1 - len(edges) + 2)
        edges = np.union1d(edges, _finite(numbers.histogram.distinct_quantile(shares)))
    edges = np.clip(edges, scaling.lower, scaling.upper)
    kept: list[float] = []
    for edge in scaled(edges, scaling.centre, scaling.scale).tolist():
        if not kept or edge - kept[-1] >= 1e-4 + 1e-5 * abs(edge):
            kept.append(edge)
    return tuple(kept) if len(kept) > 1 else (kept[0] - 0.5, kept[0] + 0.5)


def _constant(numbers: NumberSummary, low: float, high: float) -> bool:
    """Say whether values differ by rounding alone: a float32 column read as float64, say.

    Whole numbers never do: large ones (times, keys) may differ by little and mean it.
    """
    rounding = 0.0 if numbers.whole else 1e-6 * max(abs(low), abs(high))
    return high - low <= max(rounding, 1e-290)


def _quantiles(numbers: NumberSummary, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return _finite(numbers.histogram.quantile(shares))


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.nan_to_num(values, nan=0.0), -HUGE, HUGE)
