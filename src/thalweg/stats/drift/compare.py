"""Two tables compared column by column: how far each has moved, and whether that is more than luck.

Numbers are compared by the test of Kolmogorov and Smirnov at the reference's quantiles, values by a
chi-square test; what is missing by a test of two shares. Over all columns the rate of false
discoveries is held (Benjamini & Hochberg 1995), and what is certain but small does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np

from thalweg.stats.drift.measures import (
    CONVENTION,
    Figures,
    benjamini_hochberg,
    measured,
    two_shares,
)
from thalweg.stats.drift.reference import (
    ColumnReference,
    Floats,
    Plain,
    Reference,
    Shape,
    cumulated,
    parted,
    present,
    quantities,
    tallied,
)
from thalweg.stats.summary import ColumnSummary
from thalweg.stats.table import TableSummary

Reason = Literal["distribution", "missing", "new values", "new column", "missing column"]
"""What has changed of a column."""

Q: Final = 0.05
"""Of the columns that are said to have drifted, so many on average may be there by luck."""
FLOOR: Final = 0.05
"""A change counts where at least this share of the cells lies elsewhere than before."""

_NEW: Final = 0.01  # values never seen before count from this share on, if they are this many:
_NEW_CELLS: Final = 5
_SHOWN: Final = 5
_SAID: Final = 40


@final
class ColumnDrift(Plain):
    """How far a column has moved.

    Parameters
    ----------
    name, shape
        The column, and how it was looked at.
    drifted
        Whether it has changed: certainly, and by enough to count.
    reasons
        What has changed.
    measure
        Of what `distance` is: ``ks`` (the largest distance of two distribution functions), ``mix``
        (the share of cells by which two mixes of values differ), or empty.
    distance
        From 0 to 1: the share of cells that lie elsewhere.
    p, p_missing
        How likely such a distance and such a difference in what is missing are by luck alone.
    q
        The smaller of both, adjusted for the number of columns (Benjamini & Hochberg 1995).
    psi, psi_threshold
        The population stability index over ten parts of the reference, and what it must exceed to
        speak of a change: .1 by convention, and what it exceeds by luck once in a thousand times.
    js
        The Jensen-Shannon distance over the same parts, from 0 to 1.
    missing_before, missing_after
        The shares of rows that are missing or cannot be read in this way.
    new_share, new_values, new_threshold
        The share of cells whose value the reference did not have, some of these values, and the
        share from which on they count.
    vanished_share
        The share of the reference's cells whose value comes no more.
    mean_before, mean_after
        Of numbers and lengths.
    words
        What has changed, for people; empty where nothing has.
    """

    name: str
    shape: Shape
    drifted: bool = False
    reasons: tuple[Reason, ...] = ()
    measure: Literal["ks", "mix", ""] = ""
    distance: float = 0.0
    p: float = 1.0
    p_missing: float = 1.0
    q: float = 1.0
    psi: float = 0.0
    psi_threshold: float = CONVENTION
    js: float = 0.0
    missing_before: float = 0.0
    missing_after: float = 0.0
    new_share: float = 0.0
    new_values: tuple[str, ...] = ()
    new_threshold: float = _NEW
    vanished_share: float = 0.0
    mean_before: float | None = None
    mean_after: float | None = None
    words: str = ""

    @property
    def moved(self) -> float:
        """The largest of all changes, from 0 to 1: what columns are sorted by."""
        if {"new column", "missing column"} & set(self.reasons):
            return 1.0
        gone = abs(self.missing_after - self.missing_before)
        return max(self.distance, gone, self.new_share)


@final
@dataclass(frozen=True, slots=True)
class _Pair:
    """A column before and after: how many cells of it can be read, counted in the same parts."""

    name: str
    before: ColumnReference
    counts: Floats
    read: int
    new_share: float = 0.0
    new_values: tuple[str, ...] = ()
    vanished_share: float = 0.0
    mean: float | None = None
    biggest: str = ""
    share: tuple[float, float] = (0.0, 0.0)


def compare(
    before: Reference | TableSummary,
    after: TableSummary,
    *,
    columns: Iterable[str] | None = None,
    q: float = Q,
    floor: float = FLOOR,
) -> list[ColumnDrift]:
    """Compare two tables column by column.

    Parameters
    ----------
    before
        What it was: a reference, or a table's statistics.
    after
        What it is.
    columns
        Which columns; all by default.
    q
        The rate of false discoveries among the columns that are said to have drifted.
    floor
        The share of cells that must lie elsewhere for a change to count.

    Returns
    -------
    list[ColumnDrift]
        The reference's columns in its order, then the new ones.

    Examples
    --------
    >>> import pyarrow as pa
    >>> tables = TableSummary(), TableSummary()
    >>> for table, mix in zip(tables, ("aab", "abb"), strict=True):
    ...     table.update(pa.record_batch({"x": list(mix) * 200, "y": list("cd") * 300}))
    >>> [(one.name, one.drifted, round(one.distance, 2)) for one in compare(*tables)]
    [('x', True, 0.33), ('y', False, 0.0)]
    """
    reference = before if isinstance(before, Reference) else Reference.of(before, columns)
    wanted = None if columns is None else set(columns)
    known = [name for name in reference.columns if wanted is None or name in wanted]
    pairs = [
        _pair(name, reference.columns[name], after.columns[name])
        for name in known
        if name in after.columns
    ]
    found = {one.name: one for one in _judged(pairs, reference.rows, after.rows, q, floor)}
    new = [
        name
        for name in after.columns
        if name not in reference.columns and (wanted is None or name in wanted)
    ]
    drifts = [found.get(name) or _gone(name, reference.columns[name]) for name in known]
    return [*drifts, *(_come(name, after) for name in new)]


def _pair(name: str, before: ColumnReference, column: ColumnSummary) -> _Pair:
    """Count a column in the parts of its reference."""
    read = present(column, before.shape)
    numbers = quantities(column, before.shape)
    if numbers is not None:
        like = np.cumsum(before.shares)[:-1]
        shares = parted(cumulated(numbers, np.array(before.edges), like))
        mean = numbers.mean if numbers.count else None
        return _Pair(name, before, shares * read if read else 0 * shares, read, mean=mean)
    if not before.values:
        return _Pair(name, before, np.zeros(0), read)
    found, whole = tallied(column)
    # A value behind the end of the list is no more frequent than the last one in it.
    unknown = 0 if whole else min(found.values(), default=0)
    counts = np.array([found.get(text, unknown) for text in before.values], dtype=np.float64)
    rest = max(read - counts.sum(), 0.0)
    shares = np.array(before.shares)
    usual = max(1.0 - float(shares.sum()), 0.0)
    new = max(rest / read - (0.0 if before.complete else usual), 0.0) if read else 0.0
    listed = set(before.values)
    fresh = tuple(text[:_SAID] for text in found if text not in listed)[:_SHOWN]
    after = counts / max(read, 1)
    place = int(np.argmax(np.abs(after - shares)))
    return _Pair(
        name,
        before,
        np.append(counts, rest),
        read,
        new_share=new,
        new_values=fresh if before.complete and new else (),
        vanished_share=float(shares[counts == 0].sum()) if read else 0.0,
        biggest=before.values[place],
        share=(float(shares[place]), float(after[place])),
    )


def _judged(
    pairs: Sequence[_Pair], rows_before: int, rows_after: int, q: float, floor: float
) -> list[ColumnDrift]:
    """Measure all columns at once, and decide."""
    if not pairs:
        return []
    ordered = np.array([not one.before.values for one in pairs])
    widest = max(1, *(len(one.counts) for one in pairs))
    before, after = np.zeros((2, len(pairs), widest))
    for row, one in enumerate(pairs):
        shares = np.array(one.before.shares)
        if one.before.values:
            shares = np.append(shares, max(1 - shares.sum(), 0.0))
        before[row, : len(shares)] = shares * one.before.count
        after[row, : len(one.counts)] = one.counts
    figures = measured(before, after, ordered)
    was = np.array([one.before.missing for one in pairs])
    now = np.array([1 - one.read / rows_after if rows_after else 0.0 for one in pairs])
    p_missing = two_shares(was, now, rows_before, rows_after)
    adjusted = benjamini_hochberg(np.concatenate([figures.p, p_missing])).reshape(2, -1)
    return [
        _decided(
            one, figures, row, (was[row], now[row]), p_missing[row], adjusted[:, row], q, floor
        )
        for row, one in enumerate(pairs)
    ]


def _decided(
    one: _Pair,
    figures: Figures,
    row: int,
    missing: tuple[float, float],
    p_missing: float,
    adjusted: Floats,
    q: float,
    floor: float,
) -> ColumnDrift:
    """Say whether a column has changed, and in what."""
    distance = float(figures.distance[row])
    reasons: list[Reason] = []
    if adjusted[0] <= q and distance >= floor:
        reasons.append("distribution")
    if adjusted[1] <= q and abs(missing[1] - missing[0]) >= floor:
        reasons.append("missing")
    threshold = _NEW + 2 * one.before.singles / max(one.before.count, 1)
    fresh = one.new_share * one.read
    if one.before.complete and one.new_share >= threshold and fresh >= _NEW_CELLS:
        reasons.append("new values")
    drift = ColumnDrift(
        name=one.name,
        shape=one.before.shape,
        drifted=bool(reasons),
        reasons=tuple(reasons),
        measure="mix" if one.before.values else "ks" if one.before.edges else "",
        distance=distance,
        p=float(figures.p[row]),
        p_missing=float(p_missing),
        q=float(adjusted.min()),
        psi=float(figures.psi[row]),
        psi_threshold=float(figures.threshold[row]),
        js=float(figures.js[row]),
        missing_before=float(missing[0]),
        missing_after=float(missing[1]),
        new_share=one.new_share,
        new_values=one.new_values,
        new_threshold=threshold,
        vanished_share=one.vanished_share,
        mean_before=one.before.mean,
        mean_after=one.mean,
    )
    return drift.model_copy(update={"words": _words(drift, one)}) if reasons else drift


def _words(drift: ColumnDrift, one: _Pair) -> str:
    """Say what has changed."""
    said = []
    if "distribution" in drift.reasons:
        if drift.measure == "mix":
            was, now = one.share
            said.append(f"{one.biggest[:_SAID]!r} {was:.1%} → {now:.1%}")
        elif drift.mean_before is not None and drift.mean_after is not None:
            of = "mean length" if drift.shape == "length" else "mean"
            said.append(f"{of} {_short(drift.mean_before)} → {_short(drift.mean_after)}")
    if "missing" in drift.reasons:
        said.append(f"missing {drift.missing_before:.1%} → {drift.missing_after:.1%}")
    if "new values" in drift.reasons:
        some = ", ".join(map(repr, drift.new_values[:3]))
        said.append(f"{drift.new_share:.1%} are new, such as {some}")
    return "; ".join(said)


def _short(value: float) -> str:
    """Write a number with four digits, or whole with its thousands parted."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"


def _gone(name: str, before: ColumnReference) -> ColumnDrift:
    return ColumnDrift(
        name=name,
        shape=before.shape,
        drifted=True,
        reasons=("missing column",),
        missing_before=before.missing,
        missing_after=1.0,
        mean_before=before.mean,
        words="the column is gone",
    )


def _come(name: str, after: TableSummary) -> ColumnDrift:
    column = ColumnReference.of(after.columns[name], after.rows)
    return ColumnDrift(
        name=name,
        shape=column.shape,
        drifted=True,
        reasons=("new column",),
        missing_before=1.0,
        missing_after=column.missing,
        mean_after=column.mean,
        words="the column is new",
    )
