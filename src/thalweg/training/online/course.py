"""What is kept of a stream's course in bounded memory: points of curves, delays, recoveries."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.training.online.record import Change, Mark

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

MOST_MARKS: Final = 1000
_HUGE: Final = 1e150  # larger errors count as so large: their squares are finite
_LEAST: Final = 30  # fewer labels before a change tell nothing of how it was before
_FINE: Final = 46  # delays are told apart within a 64th of their size: the bits of float64 dropped


@final
class Points:
    """Sums of values over equal stretches of a stream; two become one where there are too many.

    Where a stretch ends depends on the number of rows alone, not on how they came.

    Parameters
    ----------
    most
        How many points there may be.
    rows
        How many rows the first points hold.

    Examples
    --------
    >>> points = Points(most=2, rows=1)
    >>> points.add(np.array([[1.0], [2.0], [np.nan], [5.0]]))
    >>> points.rows.tolist(), points.means().ravel().tolist()
    ([2, 2], [1.5, 5.0])
    """

    def __init__(self, most: int = 400, rows: int = 16) -> None:
        self._most = most
        self._stride = rows
        self._seen = 0
        self._sums: Floats = np.zeros((0, 0))
        self._counts: Numbers = np.zeros((0, 0), np.int64)
        self._last: Floats = np.zeros((0, 0))  # what was told at the end of each

    @property
    def ends(self) -> Numbers:
        """After how many rows each point [P] ends."""
        return np.minimum(np.arange(1, len(self._sums) + 1) * self._stride, self._seen)

    @property
    def rows(self) -> Numbers:
        """How many rows each point [P] holds."""
        return np.diff(self.ends, prepend=0)

    def means(self) -> Floats:
        """Give the means [P, K] of what is known, NaN where nothing is."""
        found: Floats = np.full(self._sums.shape, np.nan)
        np.divide(self._sums, self._counts, out=found, where=self._counts > 0)
        return found

    def told(self) -> Floats:
        """Give what was told at the end of each point: [P, E], NaN where nothing was."""
        return self._last

    def add(self, values: Floats, told: Floats | None = None) -> None:
        """Take values [N, K] in, NaN where unknown; K may grow.

        ``told`` is what holds at the end, [E], or with each of them, [N, E].
        """
        if not len(values):
            return
        told = np.zeros(0) if told is None else told
        begin, stride = self._seen, self._stride
        self._seen += len(values)
        points = -(-self._seen // stride)
        self._sums = _grown(self._sums, points, values.shape[1], 0.0)
        self._counts = _grown(self._counts, points, values.shape[1], 0)
        experts = told.shape[-1]
        self._last = _grown(self._last, points, experts, np.nan)
        first = begin // stride
        cuts = np.maximum(np.arange(first, points) * stride - begin, 0)
        known = ~np.isnan(values)
        width = values.shape[1]
        self._sums[first:, :width] += np.add.reduceat(np.where(known, values, 0.0), cuts, axis=0)
        self._counts[first:, :width] += np.add.reduceat(known.astype(np.int64), cuts, axis=0)
        ends = np.append(cuts[1:], len(values)) - 1
        self._last[first:, :experts] = told[ends] if told.ndim == 2 else told
        while len(self._sums) > self._most:
            pairs = np.arange(0, len(self._sums), 2)
            self._sums = np.add.reduceat(self._sums, pairs, axis=0)
            self._counts = np.add.reduceat(self._counts, pairs, axis=0)
            self._last = self._last[np.minimum(pairs + 1, len(self._last) - 1)]
            self._stride *= 2

    def state(self) -> dict[str, Any]:
        """Give all of it as plain JSON."""
        return {
            "stride": self._stride,
            "seen": self._seen,
            "sums": packed(self._sums),
            "counts": packed(self._counts.astype(np.float64)),
            "last": packed(self._last),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be what `state` gave."""
        self._stride, self._seen = state["stride"], state["seen"]
        self._sums, self._last = unpacked(state["sums"]), unpacked(state["last"])
        self._counts = unpacked(state["counts"]).astype(np.int64)


@final
class Spread:
    """How numbers that are not negative lie: mean and median, each number within a 64th.

    Examples
    --------
    >>> spread = Spread()
    >>> spread.add(np.array([3, 3, 1000]))
    >>> spread.median, round(spread.mean, 2)
    (3.0, 335.33)
    """

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._sum = 0
        self._count = 0

    @property
    def median(self) -> float:
        """The middle one; NaN where there is none."""
        half = 0
        for place in sorted(self._bins):
            half += self._bins[place]
            if 2 * half >= self._count:
                return float(np.array([place << _FINE]).view(np.float64)[0])
        return float("nan")

    @property
    def mean(self) -> float:
        """The mean; NaN where there is none."""
        return self._sum / self._count if self._count else float("nan")

    def add(self, values: Numbers) -> None:
        """Count numbers [N]."""
        bins = np.maximum(values, 0).astype(np.float64).view(np.int64) >> _FINE
        places, counts = np.unique(bins, return_counts=True)
        self._bins.update(dict(zip(places.tolist(), counts.tolist(), strict=True)))
        self._sum += int(np.maximum(values, 0).sum())
        self._count += len(values)

    def state(self) -> dict[str, Any]:
        """Give all of it as plain JSON."""
        return {"bins": sorted(self._bins.items()), "sum": self._sum, "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be what `state` gave."""
        self._bins = Counter({int(place): count for place, count in state["bins"]})
        self._sum, self._count = state["sum"], state["count"]


@final
class Recoveries:
    """Finds out how long changes are felt.

    A learner has recovered where a stretch of labels begins whose mean error is within two standard
    errors of what it was before the change (of both means). Before a change that is given lie the
    labels until then; one that is confirmed began some time earlier, so the older half of them is
    taken. So a stretch that is good by chance, or a stream whose new concept is harder, is not told
    as recovery.

    Parameters
    ----------
    window
        So many labels tell how it was before; half as many are a stretch.

    Examples
    --------
    >>> found = Recoveries(window=100)
    >>> found.mark(200, "given")
    >>> found.add(np.repeat([0.0, 1.0, 0.0], [200, 30, 200]))
    >>> found.marks[0].recovered, round(found.marks[0].cost)
    (29, 29)
    """

    def __init__(self, window: int = 1000) -> None:
        self._window = window
        self._stretch = window // 2
        self._seen = 0
        self._errors: Floats = np.zeros(0)  # of the latest labels, as many as the window
        self._open: list[dict[str, Any]] = []
        self._closed: list[Mark] = []

    @property
    def marks(self) -> list[Mark]:
        """All changes that came so far, in order."""
        reached = [_mark(one) for one in self._open if one["at"] <= self._seen]
        return sorted([*self._closed, *reached], key=lambda one: (one.at, one.kind))

    def mark(self, at: int, kind: Change) -> None:
        """Note a change after so many labels: those that were added already, or more."""
        self._open.append({"at": max(at, self._seen), "kind": kind, "next": None})
        self._open.sort(key=lambda one: one["at"])

    def add(self, errors: Floats) -> None:
        """Take errors [N] in, NaN where there was no answer."""
        begin = self._seen - len(self._errors)
        held = np.concatenate([self._errors, np.minimum(errors, _HUGE)])
        self._seen += len(errors)
        for place, one in enumerate(self._open):
            if one["at"] > self._seen:
                continue
            later = [two["at"] for two in self._open[place + 1 :] if two["kind"] == one["kind"]]
            until = min([self._seen, *later])
            if one["next"] is None:
                self._look_back(one, held[: one["at"] - begin])
            if one["before"] is None:
                one["over"] = True
                continue
            self._look_ahead(one, held, begin, until)
            one["over"] = one["recovered"] is not None or (bool(later) and min(later) <= self._seen)
        self._closed += [_mark(one) for one in self._open if one.get("over")]
        self._closed = self._closed[-MOST_MARKS:]
        self._open = [one for one in self._open if not one.get("over")]
        self._errors = held[-self._window :]

    def _look_back(self, one: dict[str, Any], held: Floats) -> None:
        """See how it was before a change."""
        past = held[-self._window :]
        if one["kind"] == "confirmed":
            past = past[: max(0, len(past) - self._stretch)]
        past = past[~np.isnan(past)]
        one |= {"next": one["at"], "before": None, "limit": None, "recovered": None, "cost": 0.0}
        if len(past) < _LEAST:
            return
        mean = float(past.mean())
        # As if one more had gone either way: errors that were all 0 are not known to be 0 always.
        spread = float(np.append(past, [past.max(), past.min()]).std())
        if set(np.unique(past)) <= {0.0, 1.0}:
            share = (past.sum() + 1) / (len(past) + 2)
            spread = float(np.sqrt(share * (1 - share)))
        within = 2 * spread * float(np.sqrt(1 / len(past) + 1 / self._stretch))
        one |= {"before": mean, "limit": mean + within}

    def _look_ahead(self, one: dict[str, Any], held: Floats, begin: int, until: int) -> None:
        """Look for the first stretch after a change that is as good as before it."""
        start, last = one["next"], until - self._stretch
        if last < start:
            return
        known = ~np.isnan(held)
        sums = np.concatenate([[0.0], np.cumsum(np.where(known, held, 0.0))])
        counts = np.concatenate([[0], np.cumsum(known)])
        at = np.arange(start, last + 1) - begin
        many = counts[at + self._stretch] - counts[at]
        means = (sums[at + self._stretch] - sums[at]) / np.maximum(many, 1)
        good = np.flatnonzero((means <= one["limit"] + 1e-12) & (many > 0))
        stop = int(at[good[0]]) if len(good) else int(at[-1]) + 1
        lost = sums[stop] - sums[at[0]] - one["before"] * (counts[stop] - counts[at[0]])
        one["cost"] += float(lost)
        one["next"] = stop + begin
        if len(good):
            one["recovered"] = stop + begin - one["at"]

    def state(self) -> dict[str, Any]:
        """Give all of it as plain JSON."""
        return {
            "seen": self._seen,
            "errors": packed(self._errors),
            "open": [dict(one) for one in self._open],
            "closed": [one.model_dump(mode="json") for one in self._closed],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be what `state` gave."""
        self._seen, self._errors = state["seen"], unpacked(state["errors"])
        self._open = [dict(one) for one in state["open"]]
        self._closed = [Mark.model_validate(one) for one in state["closed"]]


def _mark(one: Mapping[str, Any]) -> Mark:
    names = ("at", "kind", "before", "limit", "recovered")
    cost = one.get("cost") if one.get("recovered") is not None else None
    return Mark(cost=cost, **{name: one[name] for name in names if name in one})


def _grown(array: NDArray[Any], rows: int, columns: int, fill: float) -> NDArray[Any]:
    """Give an array at least so large, filled up with a value."""
    size = max(rows, array.shape[0]), max(columns, array.shape[1])
    if size == array.shape:
        return array
    grown = np.full(size, fill, array.dtype)
    grown[: array.shape[0], : array.shape[1]] = array
    return grown


def packed(array: Floats) -> list[Any]:
    """Write float64 of any shape as JSON: its shape, and its bytes in base64."""
    return [list(array.shape), base64.b64encode(array.astype("<f8").tobytes()).decode()]


def unpacked(told: list[Any]) -> Floats:
    """Read what `packed` wrote, to the last bit."""
    raw = np.frombuffer(base64.b64decode(told[1]), "<f8")
    return raw.astype(np.float64).reshape(told[0])
