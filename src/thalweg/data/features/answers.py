"""What each function says of the stretch of events that a row sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.data.features.declare import Feature
from thalweg.data.features.exact import rounded
from thalweg.data.features.runs import NO_CODE, Int, Run, Values, stretches
from thalweg.data.features.values import Hashes, Mask
from thalweg.data.features.words import Words
from thalweg.stats.moments import EARLIEST, NO_TIME, Moments

_LOOKED: Final = 2_048
"""So many values are looked at one by one before they are put in order for all rows."""

_EACH: Final = 8
"""And so many for each row."""


@final
class Answering:
    """Rows in order of key and time, and the runs of events that they see.

    Parameters
    ----------
    keys, times
        The rows' own, uint64 [N] and int64 [N].
    runs
        The events, in runs that together hold each once.
    joined
        Gives all of them in one run, where a function needs it.
    floor
        What was before it is not seen; None for nothing.
    words
        The texts of the slots.
    """

    def __init__(
        self,
        keys: Hashes,
        times: Moments,
        runs: Sequence[Run],
        joined: Callable[[], Run],
        floor: int | None,
        words: Mapping[str, Words],
    ) -> None:
        self.keys = keys
        self.times = times
        self.runs = [run for run in runs if len(run)]
        self.words = words
        self._joined = joined
        self._floor = floor
        self._located: dict[Run, tuple[Int, Mask | None]] = {}
        self._places: dict[tuple[Run, int | None], Int] = {}
        self._stretches: dict[int | None, list[tuple[Run, Int, Int]]] = {}

    @cached_property
    def whole(self) -> Run:
        """All events in one run."""
        return self._joined()

    def stretches(self, over: int | None) -> list[tuple[Run, Int, Int]]:
        """Say where in each run the events stand that each row sees, where any sees some."""
        if over not in self._stretches:
            found = []
            for run in self.runs:
                first, last = self.place(run, over), self.place(run, 0)
                if (first < last).any():
                    found.append((run, first, last))
            self._stretches[over] = found
        return self._stretches[over]

    def place(self, run: Run, back: int | None) -> Int:
        """Say where in a run the first event stands that is not before a row's time less so much.

        ``None`` is for the first of the row's key.
        """
        known = (run, back)
        if known not in self._places:
            since: Moments
            if back is None:
                since = np.full(len(self.times), EARLIEST)
            elif back and self._floor is not None:
                since = np.maximum(self.times - back, self._floor)
            else:
                since = self.times - back
            if run not in self._located:
                self._located[run] = run.index.locate(self.keys)
            self._places[known] = run.index.at(self._located[run], since)
        return self._places[known]


def answer(
    feature: Feature, slot: str | None, asked: Answering | None, rows: Int | None, count: int
) -> pa.Array:
    """Answer a feature for rows [N].

    Parameters
    ----------
    feature, slot
        The feature and where its values are.
    asked
        The rows that can be answered; None for none of them.
    rows
        Which of all rows these are; None for all in this order.
    count
        How many rows there are in all.
    """
    if asked is None:
        return pa.nulls(count, feature.type)
    values, there = _FUNCTIONS[feature.function](feature, slot or "", asked)
    if rows is not None:
        spread = np.full(count, NO_CODE, dtype=values.dtype)
        known = np.zeros(count, dtype=np.bool_)
        spread[rows], known[rows] = values, there
        values, there = spread, known
    if feature.text:
        return asked.words[slot or ""].take(np.where(there, values, NO_CODE))
    return pa.array(values) if there.all() else pa.array(values, mask=~there)


Answer = tuple[Values, NDArray[np.bool_]]


def _always(values: Values) -> Answer:
    return values, np.ones(len(values), dtype=np.bool_)


def _stretches(feature: Feature, slot: str, asked: Answering) -> list[tuple[Run, Int, Int]]:
    """Give each run with the stretches of the slot's values that are there."""
    found = asked.stretches(feature.over)
    if not slot:
        return found
    return [(run, *run.slot(slot).places(first, last)) for run, first, last in found]


def _count(feature: Feature, slot: str, asked: Answering) -> Answer:
    counts = np.zeros(len(asked.times), dtype=np.int64)
    for _, first, last in _stretches(feature, slot, asked):
        counts += np.maximum(last - first, 0)
    return _always(counts)


def _sum(feature: Feature, slot: str, asked: Answering) -> Answer:
    parts = [
        run.slot(slot).sums.between(first, np.maximum(first, last))
        for run, first, last in _stretches(feature, slot, asked)
    ]
    sums = rounded(parts, len(asked.times))
    return sums, ~np.isnan(sums)


def _mean(feature: Feature, slot: str, asked: Answering) -> Answer:
    sums, there = _sum(feature, slot, asked)
    counts, _ = _count(feature, slot, asked)
    return sums / np.maximum(counts, 1), there & (counts > 0)


def _max(feature: Feature, slot: str, asked: Answering) -> Answer:
    best = np.full(len(asked.times), -np.inf)
    for run, first, last in _stretches(feature, slot, asked):
        np.maximum(best, run.slot(slot).largest.between(first, last), out=best)
    return best, np.isfinite(best)


def _min(feature: Feature, slot: str, asked: Answering) -> Answer:
    best = np.full(len(asked.times), -np.inf)
    for run, first, last in _stretches(feature, slot, asked):
        np.maximum(best, run.slot(slot).smallest.between(first, last), out=best)
    return 0.0 - best, np.isfinite(best)


def _distinct(feature: Feature, slot: str, asked: Answering) -> Answer:
    if feature.over is None:
        raise AssertionError
    parts = _stretches(feature, slot, asked)
    seen = sum(int(np.maximum(last - first, 0).sum()) for _, first, last in parts)
    if seen <= max(_LOOKED, _EACH * len(asked.times)):
        return _always(_different(parts, slot, len(asked.times)))
    values = asked.whole.slot(slot)
    last = asked.place(asked.whole, 0)
    _, come = values.places(last, last)
    # Of a key as many values leave as come, so its place among both is the same.
    gone = values.distinct(feature.over).find(asked.keys, asked.times)
    return _always(come - gone)


def _different(parts: Sequence[tuple[Run, Int, Int]], slot: str, count: int) -> Int:
    """Count the different values in stretches [Q], where these are short, by looking at all."""
    rows, values = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
    for run, first, last in parts:
        end = np.maximum(first, last)
        rows.append(np.repeat(np.arange(count), end - first))
        values.append(run.slot(slot).values[stretches(first, end)])
    row, value = np.concatenate(rows), np.concatenate(values)
    order = np.lexsort((value, row))
    row, value = row[order], value[order]
    new = np.ones(len(row), dtype=np.bool_)
    new[1:] = (row[1:] != row[:-1]) | (value[1:] != value[:-1])
    return np.bincount(row[new], minlength=count)


def _last(feature: Feature, slot: str, asked: Answering) -> Answer:
    order: Callable[[Values], Values] = asked.words[slot].order if feature.text else _as_is
    when = np.full(len(asked.times), NO_TIME)
    what: Any = np.full(len(asked.times), NO_CODE, dtype=np.int64 if feature.text else np.float64)
    for run, first, last in _stretches(feature, slot, asked):
        values = run.slot(slot)
        some = np.flatnonzero(first < last)
        if not len(some):
            continue
        at = last[some] - 1
        times, found = values.times[at], values.latest(order)[at]
        later = times > when[some]
        same = np.flatnonzero(times == when[some])
        if len(same):
            both = order(np.concatenate((found[same], what[some[same]])))
            later[same] = both[: len(same)] > both[len(same) :]
        when[some[later]], what[some[later]] = times[later], found[later]
    return what, when != NO_TIME


def _as_is(values: Values) -> Values:
    return values


def _since(feature: Feature, slot: str, asked: Answering) -> Answer:
    when = np.full(len(asked.times), NO_TIME)
    for run, first, last in _stretches(feature, slot, asked):
        some = np.flatnonzero(first < last)
        when[some] = np.maximum(when[some], run.events.times[last[some] - 1])
    there = when != NO_TIME
    return (asked.times - np.where(there, when, asked.times)) / 1e6, there


_FUNCTIONS: dict[str, Callable[[Feature, str, Answering], Answer]] = {
    "count": _count,
    "sum": _sum,
    "mean": _mean,
    "max": _max,
    "min": _min,
    "distinct": _distinct,
    "last": _last,
    "since": _since,
}
