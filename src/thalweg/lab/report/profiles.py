"""What a page shows of each column: a few figures and a small distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, final

import numpy as np
import pyarrow as pa

from thalweg.data.schema import Schema
from thalweg.lab.report.wording import compact, cut, number, share
from thalweg.stats import ColumnSummary, NumberSummary, TableSummary
from thalweg.stats.parsing import MISSING_TEXTS, means_missing

_BINS: Final = 36
_TOP: Final = 5
_TAIL: Final = 0.005
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@final
@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a small histogram, all in percent of the drawing."""

    left: float
    width: float
    height: float
    label: str


@final
@dataclass(frozen=True, slots=True)
class Top:
    """A frequent value: its text, its share in words, and its bar's length in percent."""

    text: str
    share: str
    length: float


@final
@dataclass(frozen=True, slots=True)
class Card:
    """What a page shows of a column.

    Parameters
    ----------
    name, kind, because
        The column, its kind and why; the kind is empty where the column is not read.
    role
        ``target``, ``feature``, ``ignored`` or, without a schema, ``column``.
    missing
        The share of cells that are missing, from 0 to 1.
    facts
        Short figures: what and how much.
    bars, ends
        The histogram and the texts below its two ends; empty for texts.
    tops, others
        The most frequent values, and what share of the rows has another; empty for quantities.
    note
        What the drawing leaves out.
    """

    name: str
    kind: str
    because: str
    role: str
    missing: float
    facts: Sequence[tuple[str, str]]
    bars: Sequence[Bar] = ()
    ends: tuple[str, str] = ("", "")
    tops: Sequence[Top] = ()
    others: str = ""
    note: str = ""

    @property
    def missing_text(self) -> str:
        """The share of missing cells in words."""
        return share(self.missing)


def cards(profile: TableSummary, schema: Schema | None) -> list[Card]:
    """Sum up every column for the page: the target first, then as in the table, ignored last."""
    order = {"target": 0, "feature": 1, "column": 1, "ignored": 2}
    found = [
        _card(name, column, *_reading(name, schema)) for name, column in profile.columns.items()
    ]
    return sorted(found, key=lambda card: order[card.role])


def _reading(name: str, schema: Schema | None) -> tuple[str, str, str]:
    """Say what a schema makes of a column: kind, reason, role."""
    if schema is None:
        return "", "", "column"
    if schema.target is not None and schema.target.name == name:
        return schema.target.kind, schema.target.because, "target"
    for column in schema.columns:
        if column.name == name:
            return column.kind, column.because, "feature"
    for ignored in schema.ignored:
        if ignored.name == name:
            return "", ignored.because, "ignored"
    return "", "not read", "ignored"


def _card(name: str, column: ColumnSummary, kind: str, because: str, role: str) -> Card:
    gone = column.nulls + column.missing_texts
    there = max(column.rows - gone, 0)
    card = Card(name, kind, because, role, gone / column.rows if column.rows else 0.0, ())
    if not there:
        return card
    distinct = column.distinct()
    facts: tuple[tuple[str, str], ...] = (("different", f"{distinct:,.0f}"),)
    numbers, times = column.numbers, column.times
    if kind == "datetime" or (not kind and times.count > 0.9 * there):
        bars, ends, note = _histogram(times, times=True)
        return replace(card, facts=facts, bars=bars, ends=ends, note=note)
    if (
        numbers.count
        and distinct > 2.5
        and (kind == "number" or (not kind and numbers.count > 0.9 * there))
    ):
        bars, ends, note = _histogram(numbers, times=False)
        facts = (*_quantities(numbers), *facts)
        notes = "; ".join(part for part in (_heap(column, there), note) if part)
        return replace(card, facts=facts, bars=bars, ends=ends, note=notes)
    tops, others = _tops(column)
    return replace(card, facts=facts, tops=tops, others=others)


def _heap(column: ColumnSummary, there: int) -> str:
    """Name the one value that much of a column has."""
    common = column.top(1)
    if not common or common[0][1] < 0.4 * there:
        return ""
    return f"{share(common[0][1], there)} are {cut(common[0][0], 16)}"


def _quantities(numbers: NumberSummary) -> tuple[tuple[str, str], ...]:
    return (
        ("median", number(float(numbers.quantile(0.5)))),
        ("mean", number(numbers.mean)),
        ("deviation", number(numbers.deviation)),
    )


def _histogram(
    numbers: NumberSummary, *, times: bool
) -> tuple[Sequence[Bar], tuple[str, str], str]:
    """Draw a histogram without its extreme tails, which would press all else into one bar."""
    histogram = numbers.histogram
    low, high = numbers.minimum, numbers.maximum
    left, right = histogram.quantile([_TAIL, 1 - _TAIL]).tolist()
    core = right - left
    if 0 < 2 * core < high - low:
        low, high = max(low, left - core / 20), min(high, right + core / 20)
    if not (math.isfinite(high - low) and high > low):
        return (), (_end(low, times=times), _end(high, times=times)), ""
    whole = numbers.whole == numbers.count and not times
    bins = _BINS
    if whole and high - low < _BINS:
        # A bar for every whole number: an edge on a value would count it to its neighbour.
        low, high = math.floor(low) - 0.5, math.ceil(high) + 0.5
        bins = round(high - low)
    edges, counts = histogram.bins(bins, low, high)
    drawn = np.clip(counts, 0, None)
    tallest = float(drawn.max()) or 1.0
    width = 100 / bins
    texts = [_end(float(edge), times=times) for edge in (edges[:-1] + edges[1:]) / 2]
    bars = tuple(
        # A bar that is there at all must be seen.
        Bar(
            round(place * width, 2),
            round(width, 2),
            round(max(100 * count / tallest, 4.0), 1),
            f"about {text}: {count:,.0f}",
        )
        for place, (count, text) in enumerate(zip(drawn.tolist(), texts, strict=True))
        if count > 0.5
    )
    outside = 1 - float(drawn.sum()) / max(1, numbers.count)
    smallest, largest = _end(numbers.minimum, times=times), _end(numbers.maximum, times=times)
    note = (
        f"{share(outside)} lie outside; in all from {smallest} to {largest}"
        if outside > 5e-4
        else ""
    )
    if whole and bins < _BINS:
        low, high = low + 0.5, high - 0.5
    return bars, (_end(low, times=times), _end(high, times=times)), note


def _end(value: float, *, times: bool) -> str:
    """Write a place on an axis."""
    if not times:
        return compact(value)
    try:
        return (_EPOCH + timedelta(seconds=value)).date().isoformat()
    except (OverflowError, ValueError):
        return "–"


def _tops(column: ColumnSummary) -> tuple[Sequence[Top], str]:
    present = max(1, column.rows - column.nulls - column.missing_texts)
    common = column.top(_TOP + len(MISSING_TEXTS)) if column.missing_texts else column.top(_TOP)
    if column.missing_texts:
        gone = means_missing(pa.array([text.strip() for text, _ in common], pa.large_string()))
        common = [one for one, missing in zip(common, gone.tolist(), strict=True) if not missing]
    common = common[:_TOP]
    if not common:
        return (), ""
    largest = max(count for _, count in common)
    tops = tuple(
        Top(text, share(count, present), round(100 * count / largest, 1)) for text, count in common
    )
    left = present - sum(count for _, count in common)
    return tops, share(left, present) if left > 0 and len(common) == _TOP else ""
