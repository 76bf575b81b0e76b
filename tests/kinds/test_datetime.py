from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import TargetError
from thalweg.kinds.calendar import PARTS, civil
from thalweg.kinds.check import fit, summarise
from thalweg.kinds.datetime import Datetime, DatetimeOptions, DatetimeState
from thalweg.kinds.evidence import rows, same
from thalweg.kinds.scaling import BLOCK

DATETIME = Datetime()
EPOCH = dt.date(1970, 1, 1)


def fitted(cells: pa.Array, **options: object) -> DatetimeState:
    return DATETIME.fit(summarise([cells]), DatetimeOptions.model_validate(options), "feature")


def parts(cells: pa.Array, state: DatetimeState) -> dict[str, np.ndarray]:
    field = DATETIME.encode([cells], [state]).fields["parts"]
    assert field.dtype == np.float32
    return {name: field[:, 0, place] for place, name in enumerate(PARTS)}


HOURS = pa.array(np.datetime64("2020-01-01T00:07", "s") + np.arange(0, 3 * 366 * 24 * 3600, 7_777))


@settings(max_examples=200, deadline=None)
@given(st.dates())
def test_the_calendar_is_the_one_of_the_standard_library(day: dt.date) -> None:
    year, month, day_of_month = civil(np.array([(day - EPOCH).days]))
    assert (year[0], month[0], day_of_month[0]) == (day.year, day.month, day.day)


@settings(max_examples=50, deadline=None)
@given(st.datetimes(dt.datetime(2019, 1, 1), dt.datetime(2024, 1, 1)))
def test_the_parts_are_the_clock_s_hands(time: dt.datetime) -> None:
    got = parts(pa.array([time], pa.timestamp("us")), fitted(HOURS))
    for name, value, cycle in (
        ("month", time.month - 1, 12),
        ("day", time.day - 1, 31),
        ("weekday", time.weekday(), 7),
        ("hour", time.hour, 24),
        ("minute", time.minute, 60),
    ):
        turn = 2 * np.pi * value / cycle
        assert got[f"{name}_sin"][0] == pytest.approx(np.sin(turn), abs=1e-6)
        assert got[f"{name}_cos"][0] == pytest.approx(np.cos(turn), abs=1e-6)


def test_one_instant_is_read_alike_however_it_is_written() -> None:
    state = fitted(HOURS)
    instant = dt.datetime(2021, 3, 4, 5, 6, 7)
    berlin = dt.timezone(dt.timedelta(hours=1))
    ways = [
        pa.array([instant], pa.timestamp("s")),
        pa.array([instant], pa.timestamp("ns")),
        pa.array([instant.replace(tzinfo=dt.UTC)], pa.timestamp("us", "Europe/Berlin")),
        pa.array(["2021-03-04T05:06:07"]),
        pa.array([" 2021-03-04 05:06:07 "]),
        pa.array(["2021-03-04T05:06:07Z"]),
        pa.array([instant.replace(tzinfo=dt.UTC).astimezone(berlin).isoformat()]),
        pa.array(["04.03.2021 05:06:07"]),
    ]
    bits = {DATETIME.encode([way], [state]).fields["parts"].tobytes() for way in ways}
    assert len(bits) == 1


def test_elapsed_is_scaled_and_year_is_stepwise() -> None:
    got = parts(HOURS, fitted(HOURS))
    assert abs(float(np.median(got["elapsed"]))) < 1e-3
    assert 0.3 < float(got["elapsed"].std()) < 1.5
    assert len(np.unique(got["year"])) == 4


def test_parts_that_never_vary_are_zero_even_when_they_do_later() -> None:
    days = pa.array([dt.date(2021, 5, day) for day in range(1, 20)])
    got = parts(pa.array(["2023-11-30T17:45:00"]), fitted(days))
    assert {name for name, value in got.items() if value[0] != 0} == {
        "elapsed",
        *("day_sin", "day_cos", "weekday_sin", "weekday_cos"),
    }


def test_elapsed_stays_within_its_fences() -> None:
    state = fitted(HOURS)
    got = parts(pa.array(["0001-01-01", "9999-12-31"]), state)
    assert np.abs(got["elapsed"]).max() < 10
    assert np.abs(got["year"]).max() < 20


@pytest.mark.parametrize("cells", [pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31)])])
def test_all_years_can_be_learned(cells: pa.Array) -> None:
    got = parts(cells, fitted(cells))
    assert all(np.isfinite(value).all() for value in got.values())
    assert got["month_sin"][0] == 0
    assert got["month_cos"][0] == 1


def test_instants_beyond_the_calendar_do_not_crash() -> None:
    far = pa.array([-(2**63) + 1, 2**63 - 1], pa.int64()).cast(pa.timestamp("s"))
    for state in (fitted(HOURS), fitted(far)):
        assert all(np.isfinite(value).all() for value in parts(far, state).values())


def test_gaps_are_zero_and_flagged_and_nonsense_is_reported() -> None:
    cells = pa.array(["soon", None, "?", "2021-01-01"])
    got = DATETIME.encode([cells], [fitted(HOURS)])
    assert got.fields["missing"][:, 0].tolist() == [1, 1, 1, 0]
    assert (got.fields["parts"][:3] == 0).all()
    assert got.unreadable[:, 0].tolist() == [True, False, False, False]
    assert DATETIME.encode([cells], [fitted(HOURS, missing="drop")]).dropped.tolist() == [
        *(True, True, True),
        False,
    ]


def test_numbers_are_times_only_where_the_unit_is_given() -> None:
    seconds = np.arange(1_600_000_000, 1_640_000_000, 99_999)
    cells = pa.array(seconds)
    assert DATETIME.sniff(summarise([cells])) < 0.5
    assert DATETIME.encode([cells], [fitted(HOURS)]).unreadable.all()
    state = fitted(pa.array(seconds * 1000), unit="milliseconds")
    got = parts(pa.array(seconds * 1000), state)
    want = parts(cells.cast(pa.timestamp("s")), fitted(cells.cast(pa.timestamp("s"))))
    for name, values in want.items():
        assert np.allclose(got[name], values, atol=1e-5), name
    assert np.array_equal(
        parts(pa.array(["1600000000000"]), state)["elapsed"],
        parts(pa.array([1_600_000_000_000]), state)["elapsed"],
    )


def test_day_and_month_first_follow_the_column() -> None:
    state = fitted(pa.array([f"{day}/01/2021" for day in range(10, 29)]))
    restored = DATETIME.restore(DATETIME.encode([pa.array(["02/03/2021"])], [state]), 0, state)
    # Read as 2 March it is cut to the upper fence; 3 February would not be.
    assert restored.to_pylist()[0] > dt.datetime(2021, 2, 10)


def test_no_target() -> None:
    with pytest.raises(TargetError, match="date or time"):
        fit(DATETIME, HOURS, "target")


@pytest.mark.parametrize("days", [3, 400, 10**6], ids=["table", "years", "each by itself"])
def test_rows_of_a_long_batch_are_encoded_as_alone(days: int) -> None:
    random = np.random.default_rng(0)
    ticks = random.integers(-days, days, 2 * BLOCK + 9) * 86_400_000 + random.integers(0, 10**8)
    cells = pa.array(ticks, pa.timestamp("ms"), mask=random.random(len(ticks)) < 0.1)
    fences = {"lower": -200.5 * 86_400, "upper": 300.25 * 86_400, "varies": (True,) * 12}
    state = fitted(cells).model_copy(update=fences)
    whole = DATETIME.encode([cells, cells], [state, state])
    for start in (0, BLOCK - 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 6):
        part = [cells.slice(start, 3)] * 2
        alone = DATETIME.encode(part, [state, state])
        same(rows(whole, slice(start, start + 3)), alone, DATETIME, f"row {start}")
