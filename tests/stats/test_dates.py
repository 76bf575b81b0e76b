from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.stats.dates import DAY_FIRST, FORMATS, MONTH_FIRST, read_dates, reading_order
from thalweg.stats.parsing import read_times

MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _seconds(text: str, *formats: str) -> float:
    return float(read_times(pa.array([text]), formats or FORMATS)[0][0])


def _expected(moment: datetime) -> float:
    passed = moment - EPOCH
    return passed.days * 86_400 + passed.seconds + passed.microseconds / 1e6


@given(MOMENTS, ZONES, st.sampled_from(["T", " "]))
def test_it_reads_what_isoformat_writes(moment: datetime, zone: timezone, sign: str) -> None:
    for one in (moment, moment.replace(microsecond=0)):
        assert _seconds(one.isoformat(sign)) == _expected(one.replace(tzinfo=UTC))
        zoned = one.replace(tzinfo=zone)
        assert _seconds(zoned.isoformat(sign)) == _expected(zoned)


@settings(max_examples=40)
@given(st.dates(), st.sampled_from(["", " 08:26", " 8:26", "T23:59:59"]))
def test_every_format_with_and_without_leading_zeros(date: datetime, clock: str) -> None:
    moment = datetime(date.year, date.month, date.day, tzinfo=UTC)
    hours = {"": 0, " 08:26": 30_360, " 8:26": 30_360, "T23:59:59": 86_399}[clock]
    expected = _expected(moment) + hours
    for padded in ("", "0"):
        year = f"{date.year:04d}"
        day, month = (f"{part:{padded and '02'}d}" for part in (date.day, date.month))
        for name, text in {
            "YYYY-MM-DD": f"{year}-{month}-{day}",
            "YYYY/MM/DD": f"{year}/{month}/{day}",
            "DD.MM.YYYY": f"{day}.{month}.{year}",
            "MM/DD/YYYY": f"{month}/{day}/{year}",
            "DD/MM/YYYY": f"{day}/{month}/{year}",
        }.items():
            assert _seconds(text + clock, name) == expected
            others = [other for other in FORMATS if other != name and "/YYYY" not in other]
            assert np.isnan(_seconds(text + clock, *others)) or name in others


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29",
        "2023-13-01",
        "2023-00-10",
        "2023-01-00",
        "0000-01-01",
        "2023-04-31",
        "2023-01-01T24:00",
        "2023-01-01 12:60",
        "2023-01-01 12:00:60",
        "2023-01-01 12",
        "2023-01-01T",
        "2023-01-01 12:00:00.",
        "2023-01-01 12:00:00.1234567890",
        "2023-01-01 12:00+",
        "2023-01-01 12:00+1",
        "2023-01-01 12:00+24:00",
        "2023-01-01Z",
        "2023-01/01",
        "2023.01.01",
        "20230101",
        "1.5",
        "192.168.1.1",
        "01-02-2023",
        "12:30:00",
        "2023-01-01 12:00:00 and more words than fit",
        "2023-1",
        "x2023-01-01",
        "٢٠٢٣-٠١-٠١",
        "",
    ],
)
def test_what_is_no_date(text: str) -> None:
    assert np.isnan(_seconds(text))


def test_blanks_around_do_not_count_and_fractions_are_exact() -> None:
    assert _seconds("  1970-01-01 00:00:01.5 ") == 1.5
    assert _seconds("1970-01-01 00:00:01,000000001Z") == 1 + 1e-9
    stamp = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    assert read_times(stamp)[0][0] == _seconds("2023-11-14T22:13:20.123456789")


def test_slashes_are_read_one_way_for_a_column() -> None:
    texts = pa.array(["01/02/2023", "25/12/2023", "12/25/2023"])
    for order in ([DAY_FIRST, MONTH_FIRST], [MONTH_FIRST, DAY_FIRST]):
        _, valid = read_times(texts, order)
        assert valid.tolist() == [True, order[0] == DAY_FIRST, order[0] == MONTH_FIRST]
    assert reading_order(FORMATS) == tuple(name for name in FORMATS if name != DAY_FIRST)
    counts = {name: int((~np.isnan(found)).sum()) for name, found in read_dates(_large(texts))}
    assert counts == {MONTH_FIRST: 2, DAY_FIRST: 2}
    assert np.isnan(read_times(texts, [])[0]).all()
    assert np.isnan(read_times(texts, ["timestamp", "no format"])[0]).all()


def _large(texts: pa.Array) -> pa.Array:
    return texts.cast(pa.large_string())


def test_a_cell_reads_alike_wherever_it_stands() -> None:
    pool = ["2023-01-01", "1/2/2023 8:05", "words", "", None, "31.12.1999 23:59:59.5+02:00", "7"]
    draw = random.Random(1)
    texts = draw.choices(pool, k=500)
    alone = {text: read_times(pa.array([text], pa.string()))[0][0] for text in pool}
    expected = np.array([alone[text] for text in texts])
    for array in (pa.array(texts), pa.array(texts).dictionary_encode(), pa.array([*texts])[3:]):
        found = read_times(array)[0]
        assert np.array_equal(found, expected[len(expected) - len(found) :], equal_nan=True)


def test_no_clock_of_this_machine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert _seconds("1970-01-02") == 86_400
        assert read_times(pa.array([datetime(1970, 1, 2)]))[0][0] == 86_400
    finally:
        monkeypatch.undo()
        time.tzset()
