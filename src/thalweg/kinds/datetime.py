"""Dates and times. Input only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import TargetError
from thalweg.kinds.base import Encoded, Kind, Options, Role, State, Threshold
from thalweg.kinds.cells import present, require_flat, unread
from thalweg.kinds.scaling import BLOCK, fit_scaling, scaled
from thalweg.stats import ColumnSummary
from thalweg.stats.dates import FORMATS, reading_order
from thalweg.stats.parsing import read_numbers, read_times

if TYPE_CHECKING:
    from torch import nn

CYCLES: Final = {"month": 12, "day": 31, "weekday": 7, "hour": 24, "minute": 60}
"""The parts that come round again, and how many values each has."""

PARTS: Final = (
    "elapsed",
    "year",
    *(f"{cycle}_{wave}" for cycle in CYCLES for wave in ("sin", "cos")),
)
"""The parts of a cell, in the order of the field."""

UNITS: Final = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}

DAY: Final = 86_400
YEAR: Final = 365.2425 * DAY

ROUND: Final = (1e-6, 1e-3, 1, 60, 3600, DAY)
"""The units in seconds that restored times are rounded to."""

FAR: Final = 3e14
"""Seconds on either side of 1970, some ten million years: calendar arithmetic stays exact."""

# Looked up rather than computed: a sine may differ in its last bit with the processor's vector
# width, and so with the size of a batch.
_CIRCLES: Final = {
    name: np.stack([np.sin(turn), np.cos(turn)], axis=-1).astype(np.float32)
    for name, length in CYCLES.items()
    for turn in [2 * np.pi * np.arange(length) / length]
}

_MINUTES: Final = np.concatenate(
    [np.repeat(_CIRCLES["hour"], 60, axis=0), np.tile(_CIRCLES["minute"], (24, 1))], axis=1
)

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
    minutes = (_MINUTES * varies[8:]).view(np.complex128)[:, 0]
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
    parts[:, 2:4] = _CIRCLES["month"][month - 1]
    parts[:, 4:6] = _CIRCLES["day"][day - 1]
    # 1 January 1970 was a Thursday; Monday is 0.
    parts[:, 6:8] = _CIRCLES["weekday"][(days + 3) % 7]
    parts *= varies[:8]
    return np.ascontiguousarray(parts.view(np.complex128).T)


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
    era, day = np.divmod(days + 719_468, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day_of_month = day - (153 * month + 2) // 5 + 1
    month = np.where(month < 10, month + 3, month - 9)
    return year + 400 * era + (month <= 2), month, day_of_month
