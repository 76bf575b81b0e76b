"""What a page shows of columns that have changed: their distributions before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.lab.report.profiles import Bar, Top
from thalweg.lab.report.wording import NOTHING, chance, compact, share
from thalweg.stats import TableSummary
from thalweg.stats.drift.compare import ColumnDrift
from thalweg.stats.drift.reference import ColumnReference, Reference

_BINS: Final = 30
_TOP: Final = 6
_TAIL: Final = 0.02  # quantiles are kept at every 64th part
_NEAR: Final = 1e-9  # of the width: so near to an end is at it
_KINDS: Final = {
    "number": "numbers",
    "values": "values",
    "length": "lengths",
    "time": "times",
    "key": "keys",
    "nothing": "",
}

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Picture:
    """One distribution: bars between two ends, or the most frequent values; or neither."""

    bars: Sequence[Bar] = ()
    ends: tuple[str, str] = ("", "")
    tops: Sequence[Top] = ()
    others: str = ""
    nothing: str = ""


@final
@dataclass(frozen=True, slots=True)
class Pair:
    """A column that has changed: what has, a picture before and after, a few figures."""

    name: str
    kind: str
    words: str
    before: Picture
    after: Picture
    facts: Sequence[tuple[str, str]]


@final
@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table of all columns, in words."""

    name: str
    drifted: bool
    words: str
    distance: str
    luck: str
    stability: str
    missing: str


def line(drift: ColumnDrift) -> Line:
    """Put a column's figures into words."""
    measured = bool(drift.measure) and "missing column" not in drift.reasons
    was, now = share(drift.missing_before), share(drift.missing_after)
    return Line(
        drift.name,
        drift.drifted,
        drift.words or "no",
        f"{drift.distance:.3f}" if measured else NOTHING,
        chance(drift.p) if measured else NOTHING,
        f"{drift.psi:.3f}" if measured else NOTHING,
        was if was == now else f"{was} → {now}",
    )


def pairs(drifts: Sequence[ColumnDrift], reference: Reference, summary: TableSummary) -> list[Pair]:
    """Draw columns before and after, on the same scale.

    Parameters
    ----------
    drifts
        The columns to draw.
    reference, summary
        What was, and what is.
    """
    return [_pair(drift, reference, summary) for drift in drifts]


def _pair(drift: ColumnDrift, reference: Reference, summary: TableSummary) -> Pair:
    before = reference.columns.get(drift.name)
    column = summary.columns.get(drift.name)
    after = None
    if column is not None:
        shape = drift.shape if before is not None else None
        after = ColumnReference.of(column, summary.rows, shape)
    found = [one for one in (before, after) if one is not None]
    if any(one.values for one in found):
        pictures = _values(before, after)
    elif any(one.edges for one in found):
        pictures = _numbers(before, after)
    else:
        pictures = [_empty(before), _empty(after)]
    facts = [
        ("missing before", share(drift.missing_before)),
        ("missing after", share(drift.missing_after)),
    ]
    if drift.measure and before is not None and after is not None:
        facts = [
            ("distance", f"{drift.distance:.3f}"),
            ("PSI", f"{drift.psi:.3f}"),
            ("Jensen-Shannon", f"{drift.js:.3f}"),
            *facts,
        ]
    was, now = pictures
    return Pair(drift.name, _KINDS[drift.shape], drift.words, was, now, facts)


def _empty(one: ColumnReference | None) -> Picture:
    """Say why there is no picture."""
    if one is None:
        return Picture(nothing="no such column")
    return Picture(nothing="every cell is missing" if not one.count else "not drawn")


def _values(before: ColumnReference | None, after: ColumnReference | None) -> list[Picture]:
    """Draw the most frequent values of both, in one order."""
    known = [
        dict(zip(one.values, one.shares, strict=True)) if one is not None and one.values else {}
        for one in (before, after)
    ]
    was, now = known
    names = list(was)[:_TOP]
    names += [name for name in list(now)[:_TOP] if name not in names][: max(3, _TOP - len(names))]
    longest = max([*(part.get(name, 0.0) for part in known for name in names), 1e-9])
    pictures = []
    for one, part in zip((before, after), known, strict=True):
        if one is None or not one.count:
            pictures.append(_empty(one))
            continue
        shares = [part.get(name, 0.0) for name in names]
        rest = 1 - sum(shares)
        tops = tuple(
            Top(name, share(amount), round(100 * amount / longest, 1))
            for name, amount in zip(names, shares, strict=True)
        )
        pictures.append(Picture(tops=tops, others=share(rest) if rest > 5e-4 else ""))
    return pictures


def _numbers(before: ColumnReference | None, after: ColumnReference | None) -> list[Picture]:
    """Draw two histograms between the same ends and of the same height."""
    drawn = [one for one in (before, after) if one is not None and one.edges]
    tails = np.array([_tails(one) for one in drawn])
    low, high = float(tails[:, 0].min()), float(tails[:, 1].max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    near = _NEAR * (high - low)
    low, high = (0.0 if abs(end) < near else end for end in (low, high))
    edges = np.linspace(low, high, _BINS + 1)
    shares = [
        _in_bins(one, edges) if one is not None and one.edges else None for one in (before, after)
    ]
    tallest = max([float(part.max()) for part in shares if part is not None] + [1e-12])
    pictures = []
    for one, part in zip((before, after), shares, strict=True):
        if part is None:
            pictures.append(_empty(one))
            continue
        bars = tuple(
            Bar(
                round(100 * place / _BINS, 2),
                round(100 / _BINS, 2),
                round(max(100 * amount / tallest, 4.0), 1),
                f"{compact(edges[place])} to {compact(edges[place + 1])}: {share(amount)}",
            )
            for place, amount in enumerate(part.tolist())
            if amount > 5e-4
        )
        pictures.append(Picture(bars=bars, ends=(compact(low), compact(high))))
    return pictures


def _tails(one: ColumnReference) -> tuple[float, float]:
    """Give the ends of all but the outermost numbers, which would press all else into one bar."""
    below = np.cumsum(one.shares)[:-1]
    edges = np.array(one.edges)
    first, last = np.searchsorted(below, [_TAIL, 1 - _TAIL]).clip(max=len(edges) - 1)
    low, high, left, right = edges[0], edges[-1], edges[first], edges[last]
    core = right - left
    if 0 < 2 * core < high - low:
        low, high = max(low, left - core / 20), min(high, right + core / 20)
    return float(low), float(high)


def _in_bins(one: ColumnReference, edges: Floats) -> Floats:
    """Give the share of numbers in each bin, spread evenly between the reference's edges."""
    below = np.cumsum(one.shares)[:-1]
    found = np.interp(edges, one.edges, below, left=0.0, right=1.0)
    # A heap of numbers at the lower end belongs to the first bin.
    low = edges[0] - _NEAR * (edges[-1] - edges[0])
    found[0] = np.interp(low, one.edges, below, left=0.0, right=1.0)
    return np.diff(found)
