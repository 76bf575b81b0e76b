"""Dates and times. Input only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import TargetError
from thalweg.kinds.base import (
    Encoded,
    Kind,
    Options,
    Raw,
    RawCell,
    Role,
    State,
    Threshold,
    Written,
)
from thalweg.kinds.calendar import (
    CIRCLES,
    DAY,
    FAR,
    MINUTES,
    PARTS,
    YEAR,
    Ranges,
    civil,
    write_parts,
)
from thalweg.kinds.cells import gone_cell, present, require_flat, unread
from thalweg.kinds.graph import Graph, any_of
from thalweg.kinds.scaling import BLOCK, fit_scaling, scaled
from thalweg.stats import ColumnSummary
from thalweg.stats.dates import FORMATS, ISO, reading_order
from thalweg.stats.parsing import read_numbers, read_times

if TYPE_CHECKING:
    from torch import nn

UNITS: Final = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}

ROUND: Final = (1e-6, 1e-3, 1, 60, 3600, DAY)
"""The units in seconds that restored times are rounded to."""

EXACT: Final = 2**53
"""Up to here every whole number is a float64."""

# The texts that Python and `thalweg.stats.dates` read alike, where they read them at all, with a 0
# for every digit.
_SHAPES: Final = frozenset(
    [
        "0000-00-00",
        *(
            f"0000-00-00{separator}{clock}{zone}"
            for separator in "T "
            for clock in ("00:00", "00:00:00", "00:00:00.000", "00:00:00.000000")
            for zone in ("", "Z", "+00:00", "-00:00")
        ),
    ]
)
_DIGITS: Final = str.maketrans("123456789", "000000000")
_EPOCH: Final = datetime(1970, 1, 1)
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)

Unit = Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]


@final
class DatetimeOptions(Options):
    """What may be said about dates and times.

    Parameters
    ----------
    unit
        Read numbers as time since 1970 in this unit. By default numbers are no times.
    missing
        What happens to a missing cell: ``flag`` (default) sets all parts to 0 and marks it;
        ``drop`` sets the row aside.
    """

    unit: Unit | None = None
    missing: Literal["flag", "drop"] = "flag"


@final
class DatetimeState(State):
    """What is learned about dates and times. Times are seconds since 1970 UTC.

    Parameters
    ----------
    unit, missing
        As in the options.
    formats
        How text is read: the training rows' own formats before the others.
    centre, scale
        What becomes 0 and 1 in ``elapsed``.
    lower, upper
        The fences that ``elapsed`` and ``year`` are kept within.
    varies
        For each part, whether it varies in the training rows. Others are 0: a network learns
        nothing of what never changes, and must not meet it for the first time in use.
    """

    unit: Unit | None
    missing: Literal["flag", "drop"]
    formats: tuple[str, ...]
    centre: float
    scale: float
    lower: float
    upper: float
    varies: tuple[bool, ...]


@final
class Datetime(Kind[DatetimeState, DatetimeOptions]):
    """Dates and times.

    Fields: ``parts`` float32 [N, C, 12], see `PARTS`; ``missing`` uint8 [N, C]. Times with a
    zone are taken in UTC, times without as they stand.
    """

    name = "datetime"
    description = "Dates and times, with or without a zone, in ISO 8601 and other usual spellings."
    foretells = True
    compiles = True
    state_type = DatetimeState
    options_type = DatetimeOptions

    def sniff(self, summary: ColumnSummary) -> float:
        """Say how likely the column holds times: 95% or more of its cells read as one."""
        share = summary.times.count / max(1, present(summary))
        return 0.97 * share if share >= 0.95 else 0.05 * share

    def fit(self, summary: ColumnSummary, options: DatetimeOptions, role: Role) -> DatetimeState:
        """Learn the range of times and which parts vary."""
        if role == "target":
            raise TargetError(
                "the target is a date or time",
                "a number, a category or a boolean",
                "Predict the time between two events as a number instead.",
            )
        times = summary.times
        scaling = fit_scaling(summary.numbers if options.unit else times)
        known = [name for name in summary.time_formats if name in FORMATS]
        second = UNITS[options.unit] if options.unit else 1.0
        centre, lower, upper = (
            float(np.clip(value * second, -FAR, FAR))
            for value in (scaling.centre, scaling.lower, scaling.upper)
        )
        state = DatetimeState(
            unit=options.unit,
            missing=options.missing,
            formats=reading_order(list(dict.fromkeys([*known, *FORMATS]))),
            centre=centre,
            scale=max(scaling.scale * second, 1e-9),
            lower=lower,
            upper=upper,
            varies=(True,) * len(PARTS),
        )
        exact = options.unit is None and times.histogram.exact
        some = times.histogram.value_counts()[0] if exact else _sample(summary, state)
        parts = _parts(some, state)
        varies = (parts != parts[:1]).any(axis=0).tolist()
        return state.model_copy(update={"varies": tuple(varies)})

    def encode(self, arrays: Sequence[pa.Array], states: Sequence[DatetimeState]) -> Encoded:
        """Read every cell and split it into parts; see the class for the fields."""
        shape = len(arrays[0]), len(states)
        parts = np.empty((*shape, len(PARTS)), dtype=np.float32)
        missing = np.zeros(shape, dtype=bool)
        unreadable = np.zeros(shape, dtype=bool)
        dropped = np.zeros(shape[0], dtype=bool)
        for column, (array, state) in enumerate(zip(arrays, states, strict=True)):
            times, unreadable[:, column] = _read(array, state)
            gone = ~np.isfinite(times)
            if not gone.any():
                _split(times, state, parts[:, column])
                continue
            _split(np.where(gone, state.centre, times), state, parts[:, column])
            parts[gone, column] = 0
            missing[:, column] = gone
            if state.missing == "drop":
                dropped |= gone
        return Encoded({"parts": parts, "missing": missing.view(np.uint8)}, dropped, unreadable)

    def decode(
        self,
        outputs: NDArray[np.floating[Any]],
        state: DatetimeState,
        threshold: Threshold = None,
    ) -> dict[str, pa.Array]:
        """Refuse: no network predicts times.

        Raises
        ------
        TargetError
            Always.
        """
        raise TargetError("the target is a date or time", "a number, a category or a boolean")

    def restore(self, encoded: Encoded, column: int, state: DatetimeState) -> pa.Array:
        """Give timestamps from ``elapsed``, rounded to what float32 can tell; missing is null."""
        elapsed = encoded.fields["parts"][:, column, 0].astype(np.float64)
        fine = next((unit for unit in ROUND if unit > state.scale * 2**-21), ROUND[-1])
        seconds = np.rint((elapsed * state.scale + state.centre) / fine) * fine
        gone = encoded.fields["missing"][:, column].astype(bool)
        # Microseconds in int64 reach 290,000 years to either side.
        whole = np.rint(np.clip(seconds, -9e12, 9e12) * 1e6).astype(np.int64)
        return pa.array(whole, pa.timestamp("us"), mask=gone)

    def encoder(self, states: Sequence[DatetimeState], width: int, pairs: int = 0) -> nn.Module:
        """Build a linear embedding of every column's parts."""
        from thalweg.blocks.embedding import PartsEmbedding

        return PartsEmbedding(len(states), len(PARTS), width)

    def choices(self, states: Sequence[DatetimeState]) -> nn.Module:
        """Take the hours of a week for options."""
        from thalweg.blocks.choices import Hours

        week, day = (PARTS.index(f"{cycle}_sin") for cycle in ("weekday", "hour"))
        return Hours(len(states), week, day)

    def raw(self, arrays: Sequence[pa.Array], states: Sequence[DatetimeState]) -> Raw:
        """Give float64: seconds since 1970 UTC."""
        shape = len(arrays[0]), len(states)
        values, unreadable = np.empty(shape), np.empty(shape, dtype=bool)
        for column, (array, state) in enumerate(zip(arrays, states, strict=True)):
            values[:, column], unreadable[:, column] = _read(array, state)
        return Raw(values, unreadable)

    def reader(self, state: DatetimeState) -> Callable[[object], RawCell | None]:
        """Read ISO 8601, or numbers where the column has a unit."""
        if state.unit is not None:
            return partial(_read_number, second=UNITS[state.unit])
        return _read_text if ISO in state.formats else gone_cell

    def graph(self, graph: Graph, raw: str, states: Sequence[DatetimeState]) -> Written:
        """Write what `encode` does."""
        gone = graph.add("IsNaN", [raw])
        centre, scale, lower, upper = (
            np.array([getattr(state, name) for state in states])
            for name in ("centre", "scale", "lower", "upper")
        )
        varies = np.array([state.varies for state in states], dtype=np.float32)
        parts = write_parts(graph, raw, gone, Ranges(centre, scale, lower, upper, varies))
        fields = {"parts": parts, "missing": graph.cast(gone, np.int64)}
        drops = np.array([state.missing == "drop" for state in states])
        if not drops.any():
            return Written(fields)
        return Written(fields, any_of(graph, graph.add("And", [gone, drops])))

    def sample(self, seed: int, rows: int) -> pa.Array:
        """Make two years of hours as ISO text, with gaps, question marks and two broken cells."""
        random = np.random.default_rng(seed)
        hours = np.datetime64("2021-01-01T00", "h") + random.integers(0, 2 * 365 * 24, rows)
        texts = np.datetime_as_string(hours, unit="s").astype(object)
        texts[random.random(rows) < 0.03] = "?"
        texts[random.random(rows) < 0.01] = "soon"
        return pa.array(texts, pa.string(), mask=random.random(rows) < 0.05)


def _read(array: pa.Array, state: DatetimeState) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read cells [N] as seconds since 1970, NaN for none, and say which were unreadable."""
    require_flat(array)
    temporal = pa.types.is_temporal(array.type)
    if temporal and len(array) > BLOCK:
        parts = [_read(array.slice(at, BLOCK), state) for at in range(0, len(array), BLOCK)]
        times, unreadable = (np.concatenate(found) for found in zip(*parts, strict=True))
        return times, unreadable
    if state.unit is None or temporal:
        times, read = read_times(array, state.formats)
    else:
        numbers, read = read_numbers(array)
        times = numbers * UNITS[state.unit]
    return times, unread(array, read)


def _read_number(cell: object, second: float) -> float | None:
    """Read one plain cell as a time in units of so many seconds; None where that takes care."""
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        # A NaN is within no bounds.
        return float(cell) * second if -EXACT <= cell <= EXACT else None
    return gone_cell(cell)


def _read_text(cell: object) -> float | None:
    """Read one plain cell of ISO 8601; None where that takes care."""
    if not isinstance(cell, str) or cell.translate(_DIGITS) not in _SHAPES:
        return gone_cell(cell)
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return None
    since = moment - (_EPOCH if moment.tzinfo is None else _EPOCH_UTC)
    return since.days * DAY + since.seconds + since.microseconds * 1000 / 1e9


def _sample(summary: ColumnSummary, state: DatetimeState) -> NDArray[np.float64]:
    """Give up to 1,000 times of the training rows."""
    times, _ = _read(pa.array(summary.sample(), pa.string()), state)
    return times[np.isfinite(times)]


def _parts(times: NDArray[np.float64], state: DatetimeState) -> NDArray[np.float32]:
    """Split finite times [N] into float32 [N, parts]."""
    parts = np.empty((len(times), len(PARTS)), dtype=np.float32)
    _split(times, state, parts)
    return parts


def _split(times: NDArray[np.float64], state: DatetimeState, parts: NDArray[np.float32]) -> None:
    """Split finite times [N] into ``parts`` [N, parts], which is written.

    What follows from the day is worked out once for each day between the first and the last, and
    what follows from the minute once for each minute of a day.
    """
    if not len(times):
        return
    varies = np.array(state.varies, dtype=np.float32)
    _, _, days, kept_days = _instants(np.array([times.min(), times.max()]), state)
    # Few times far apart are cheaper by themselves.
    tables = np.ptp(days) + np.ptp(kept_days) <= len(times)
    if tables:
        dates = _dates(np.arange(days[0], days[1] + 1), varies)
        years = _years(np.arange(kept_days[0], kept_days[1] + 1), state)
    minutes = (MINUTES * varies[8:]).view(np.complex128)[:, 0]
    words = parts.view(np.complex128)
    for start in range(0, len(times), BLOCK):
        rows = slice(start, start + BLOCK)
        kept, seconds, day, kept_day = _instants(times[rows], state)
        if tables:
            words[rows, 0] = dates[0].take(day - days[0])
            words[rows, 1] = dates[1].take(day - days[0])
            parts[rows, 1] = years.take(kept_day - kept_days[0])
        else:
            words[rows, 0], words[rows, 1] = _dates(day, varies)
            parts[rows, 1] = _years(kept_day, state)
        words[rows, 2] = minutes.take((seconds - day * DAY) // 60)
        parts[rows, 0] = scaled(kept, state.centre, state.scale) * varies[0]


def _instants(
    times: NDArray[np.float64], state: DatetimeState
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Give times [N] within the fences, all in whole seconds, and the days of all and of these."""
    kept = np.clip(times, state.lower, state.upper)
    seconds = np.floor(np.clip(times, -FAR, FAR)).astype(np.int64)
    return kept, seconds, seconds // DAY, np.floor(kept / DAY).astype(np.int64)


def _years(days: NDArray[np.int64], state: DatetimeState) -> NDArray[np.float32]:
    """Give the part ``year`` of days [N]."""
    middle, _, _ = civil(np.array([state.centre // DAY], dtype=np.int64))
    year, _, _ = civil(days)
    distance = YEAR * (year - middle).astype(np.float64)
    return scaled(distance, 0.0, max(state.scale, YEAR)) * np.float32(state.varies[1])


def _dates(days: NDArray[np.int64], varies: NDArray[np.float32]) -> NDArray[np.complex128]:
    """Give the first two words of days [N]: nothing yet and the month; the day and the weekday.

    Four float32 stand in a word of 16 bytes, which is copied as one.
    """
    _, month, day = civil(days)
    parts = np.zeros((len(days), 8), dtype=np.float32)
    parts[:, 2:4] = CIRCLES["month"][month - 1]
    parts[:, 4:6] = CIRCLES["day"][day - 1]
    # 1 January 1970 was a Thursday; Monday is 0.
    parts[:, 6:8] = CIRCLES["weekday"][(days + 3) % 7]
    parts *= varies[:8]
    return np.ascontiguousarray(parts.view(np.complex128).T)
