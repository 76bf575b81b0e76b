"""Slices: the groups of rows on which a model does worst, found without being named.

After Slice Finder (Chung et al. 2019): groups are values or ranges of one column, or of two; a
group counts where its mean loss is higher than that of all other rows by a noticeable effect, and
where that is unlikely to be chance, all groups that were tried considered (Benjamini and Hochberg
1995).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray
from scipy import stats

from thalweg.kinds.base import Task, Threshold
from thalweg.lab.metrics import LEADING, score
from thalweg.models.record import Slice
from thalweg.stats.parsing import (
    canonical_text,
    is_missing_text,
    number_text,
    read_numbers,
    read_times,
    time_text,
)

Floats = NDArray[np.float64]

LEAST_ROWS: Final = 30
LEAST_SHARE: Final = 0.01
LEAST_EFFECT: Final = 0.2
"""A small effect by Cohen's (1988) reckoning; Slice Finder's 0.4 hides groups that matter."""

CHANCE: Final = 0.05
BINS: Final = 8
MOST_LEVELS: Final = 50
PAIRED_COLUMNS: Final = 24
"""Pairs are tried among this many columns: those whose own groups differ most in loss."""

_LIKE: Final = 0.8
_KEPT: Final = 500


@final
@dataclass(frozen=True, slots=True)
class _Grouping:
    """One column cut into groups: each row's group [N], -1 for none, and the groups in words."""

    codes: NDArray[np.int64]
    words: Sequence[str]


@final
@dataclass(frozen=True, slots=True)
class _Group:
    """Rows that share a value of one column or of two, and how the model does on them."""

    columns: tuple[int, ...]
    codes: tuple[int, ...]
    rows: int
    loss: float
    rest: float
    effect: float
    chance: float

    @property
    def excess(self) -> float:
        """How much higher the mean loss is than elsewhere."""
        return self.loss - self.rest


def worst_slices(
    table: pa.Table,
    loss: Floats,
    task: Task,
    truth: NDArray[Any],
    prediction: NDArray[Any],
    *,
    kinds: Mapping[str, str] | None = None,
    threshold: Threshold = None,
    most: int = 10,
) -> list[Slice]:
    """Find the groups of rows on which a model does worst.

    Parameters
    ----------
    table
        The raw rows [N] as they came from a source.
    loss
        Each row's loss [N], finite.
    task, truth, prediction
        See `thalweg.lab.metrics.score`; for the leading metric within each group.
    kinds
        Column -> kind: ``number`` and ``datetime`` columns are cut at quantiles, even where they
        are stored as text; others go by value. By default the Arrow type decides.
    threshold
        See `thalweg.lab.metrics.score`.
    most
        How many groups to give.

    Returns
    -------
    list of Slice
        The largest effect first. A group has at least 30 rows and 1% of all; its mean loss
        differs from the rest's by at least 0.2 of their joint standard deviation, with an
        adjusted probability below 0.05. A group is left out where a larger one holds at least
        80% of it and has at least 80% of its surplus loss: the larger one explains it.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> town = np.repeat(["Aalen", "Bonn"], 200)
    >>> guess = np.where(town == "Bonn", 3.0, 1.0) * random.normal(size=400)
    >>> found = worst_slices(pa.table({"town": town}), guess**2, "regression", 0 * guess, guess)
    >>> [(group.where, group.rows) for group in found]
    [("town = 'Bonn'", 200)]
    """
    rows = len(loss)
    least = max(LEAST_ROWS, int(np.ceil(LEAST_SHARE * rows)))
    groupings = [
        _grouping(name, table.column(name), (kinds or {}).get(name), least)
        for name in table.column_names
    ]
    found = _significant(list(_groups(groupings, loss, least)))
    kept = _unexplained(_new_pairs(found), groupings)
    slices = []
    for group in sorted(kept, key=lambda one: -one.effect)[:most]:
        inside = np.flatnonzero(_mask(group, groupings))
        measured = score(task, truth[inside], prediction[inside], threshold=threshold)
        words = (
            groupings[column].words[code]
            for column, code in zip(group.columns, group.codes, strict=True)
        )
        slices.append(
            Slice(
                where=" and ".join(words),
                rows=group.rows,
                loss=group.loss,
                rest=group.rest,
                value=measured.get(LEADING[task]),
                probability=group.chance,
            )
        )
    return slices


def _grouping(name: str, cells: pa.ChunkedArray, kind: str | None, least: int) -> _Grouping:
    """Cut a column into groups of at least some rows."""
    array = cells.combine_chunks()
    measured = pt.is_floating(array.type) or pt.is_integer(array.type) or pt.is_decimal(array.type)
    if kind == "datetime" or (kind is None and pt.is_temporal(array.type)):
        codes, words = _ranges(name, read_times(array)[0], least, times=True)
    elif kind == "number" or (kind is None and measured):
        codes, words = _ranges(name, read_numbers(array)[0], least, times=False)
    elif pt.is_nested(array.type):
        return _Grouping(np.full(len(array), -1), [])
    else:
        codes, words = _levels(name, array, least)
    return _Grouping(codes, words)


def _ranges(
    name: str, values: Floats, least: int, *, times: bool
) -> tuple[NDArray[np.int64], list[str]]:
    """Cut numbers [N] at quantiles; few distinct ones go by value."""
    known = ~np.isnan(values)
    distinct = np.unique(values[known])
    codes = np.full(len(values), -1)
    words: list[str] = []
    write = time_text if times else number_text
    if 0 < len(distinct) <= BINS:
        codes[known] = np.searchsorted(distinct, values[known])
        words = [f"{name} = {text}" for text in write(distinct).to_pylist()]
    elif len(distinct):
        # Edges are values that occur, so that they read well and equal values stay together.
        inner = np.quantile(values[known], np.arange(1, BINS) / BINS, method="higher")
        edges = np.unique([distinct[0], *inner, distinct[-1]])
        codes[known] = np.clip(
            np.searchsorted(edges, values[known], side="right") - 1, 0, len(edges) - 2
        )
        texts = write(edges).to_pylist()
        words = [f"{name} in [{low}, {high})" for low, high in pairwise(texts)]
        words[-1] = words[-1][:-1] + "]"
    codes[~known] = len(words)
    return _large_enough(codes, [*words, f"{name} is missing"], least)


def _levels(name: str, array: pa.Array, least: int) -> tuple[NDArray[np.int64], list[str]]:
    """Group cells [N] of any flat type by value."""
    missing = is_missing_text(array)
    column = canonical_text(array).dictionary_encode()
    codes = column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False).copy()
    words = [f"{name} = {_quoted(text)}" for text in column.dictionary.to_pylist()]
    codes[missing | (codes < 0)] = len(words)
    return _large_enough(codes, [*words, f"{name} is missing"], least)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")


def _large_enough(
    codes: NDArray[np.int64], words: Sequence[str], least: int
) -> tuple[NDArray[np.int64], list[str]]:
    """Keep the groups that have enough rows, the largest first, and no more than 50."""
    rows = np.bincount(codes, minlength=len(words))
    order = np.argsort(-rows, kind="stable")[:MOST_LEVELS]
    order = order[rows[order] >= least]
    places = np.full(len(words), -1)
    places[order] = np.arange(len(order))
    return places[codes], [words[code] for code in order]


def _groups(groupings: Sequence[_Grouping], loss: Floats, least: int) -> Iterator[_Group]:
    """Try every group of one column, and of pairs of the columns that matter most."""
    # Centred, so that sums of squares do not drown in rounding.
    mean = float(loss.mean())
    centred = loss - mean
    between = np.zeros(len(groupings))
    for column, grouping in enumerate(groupings):
        if not grouping.words:
            continue
        count, total, _ = _sums(grouping.codes, len(grouping.words), centred)
        between[column] = float((total**2 / np.maximum(count, 1)).sum())
        yield from _tried((column,), (len(grouping.words),), grouping.codes, centred, mean, least)
    first = sorted(np.argsort(-between, kind="stable")[:PAIRED_COLUMNS].tolist())
    for left, right in combinations(first, 2):
        one, other = groupings[left], groupings[right]
        sizes = len(one.words), len(other.words)
        if not (sizes[0] and sizes[1]):
            continue
        both = np.where((one.codes < 0) | (other.codes < 0), -1, one.codes * sizes[1] + other.codes)
        yield from _tried((left, right), sizes, both, centred, mean, least)


def _sums(
    codes: NDArray[np.int64], size: int, centred: Floats
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Count rows and add up losses and their squares by code; code -1 is left out."""
    count = np.bincount(codes + 1, minlength=size + 1)[1:]
    total = np.bincount(codes + 1, centred, size + 1)[1:]
    squares = np.bincount(codes + 1, centred**2, size + 1)[1:]
    return count.astype(np.int64), total.astype(np.float64), squares.astype(np.float64)


def _tried(
    columns: tuple[int, ...],
    sizes: tuple[int, ...],
    codes: NDArray[np.int64],
    centred: Floats,
    mean: float,
    least: int,
) -> Iterator[_Group]:
    """Compare each group with all other rows: the effect, and Welch's t (one-sided)."""
    rows, squares_of_all = len(centred), float((centred**2).sum())
    count, total, squares = _sums(codes, int(np.prod(sizes)), centred)
    # The rest has to be large enough as well.
    tried = np.flatnonzero((count >= least) & (count <= rows - least))
    inside, outside = count[tried], rows - count[tried]
    means = total[tried] / inside, -total[tried] / outside
    spreads = [
        np.maximum(sums / number - centre**2, 0) * number / (number - 1)
        for sums, number, centre in (
            (squares[tried], inside, means[0]),
            (squares_of_all - squares[tried], outside, means[1]),
        )
    ]
    difference = means[0] - means[1]
    scale = np.sqrt((spreads[0] + spreads[1]) / 2)
    parts = spreads[0] / inside, spreads[1] / outside
    error = np.maximum(parts[0] + parts[1], np.finfo(np.float64).tiny)
    freedom = error**2 / np.maximum(
        parts[0] ** 2 / (inside - 1) + parts[1] ** 2 / (outside - 1), np.finfo(np.float64).tiny
    )
    chance = np.asarray(stats.t.sf(difference / np.sqrt(error), np.maximum(freedom, 1)))
    effect = np.divide(difference, scale, out=np.zeros_like(scale), where=scale > 0)
    for place, code in enumerate(tried):
        yield _Group(
            columns=columns,
            codes=tuple(int(part) for part in np.unravel_index(code, sizes)),
            rows=int(inside[place]),
            loss=float(means[0][place]) + mean,
            rest=float(means[1][place]) + mean,
            effect=float(effect[place]),
            chance=float(chance[place]),
        )


def _significant(groups: Sequence[_Group]) -> list[_Group]:
    """Keep groups with a noticeable effect that is no chance, adjusted for all that were tried."""
    if not groups:
        return []
    adjusted = stats.false_discovery_control([group.chance for group in groups])
    return [
        _Group(
            group.columns, group.codes, group.rows, group.loss, group.rest, group.effect, float(p)
        )
        for group, p in zip(groups, adjusted, strict=True)
        if p < CHANCE and group.effect >= LEAST_EFFECT
    ]


def _new_pairs(groups: Sequence[_Group]) -> list[_Group]:
    """Drop pairs that one of their two halves explains, then all but the strongest 500 groups."""
    alone = {
        (group.columns[0], group.codes[0]): group.excess
        for group in groups
        if len(group.columns) == 1
    }
    news = [
        group
        for group in groups
        if len(group.columns) == 1
        or all(
            alone.get(half, 0.0) < _LIKE * group.excess
            for half in zip(group.columns, group.codes, strict=True)
        )
    ]
    return sorted(news, key=lambda group: -group.effect)[:_KEPT]


def _unexplained(groups: Sequence[_Group], groupings: Sequence[_Grouping]) -> list[_Group]:
    """Drop groups that a larger one explains: it holds most of their rows and of their surplus."""
    kept: list[_Group] = []
    masks: list[NDArray[np.bool_]] = []
    for group in sorted(groups, key=lambda one: (-one.rows, len(one.columns), -one.effect)):
        mask = _mask(group, groupings)
        explained = any(
            larger.excess >= _LIKE * group.excess and (other & mask).sum() >= _LIKE * group.rows
            for larger, other in zip(kept, masks, strict=True)
        )
        if not explained:
            kept.append(group)
            masks.append(mask)
    return kept


def _mask(group: _Group, groupings: Sequence[_Grouping]) -> NDArray[np.bool_]:
    """Say which rows [N] belong to a group."""
    mask = np.ones(len(groupings[group.columns[0]].codes), dtype=np.bool_)
    for column, code in zip(group.columns, group.codes, strict=True):
        mask &= groupings[column].codes == code
    return mask
