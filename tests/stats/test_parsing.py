from __future__ import annotations

from datetime import date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stats.parsing import (
    MISSING_TEXTS,
    canonical_text,
    is_missing_text,
    read_numbers,
    read_times,
)

TEXTS = st.lists(
    st.text(max_size=5)
    | st.floats().map(repr)
    | st.integers().map(str)
    | st.sampled_from(sorted(MISSING_TEXTS)).map(str.upper)
    | st.none(),
    max_size=20,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12), (" 3.5 ", 3.5), ("1e3", 1000), ("-0.7", -0.7), ("+5", 5), (".5", 0.5), ("1.", 1)],
)
def test_texts_that_are_numbers(text: str, number: float) -> None:
    values, valid = read_numbers(pa.array([text]))
    assert values.tolist() == [number]
    assert valid.all()


@pytest.mark.parametrize(
    "text",
    [
        *sorted(MISSING_TEXTS),
        *("1,000", "$5", "5 %", "inf", "-Infinity", "nan", "0x10", "1_000", "1e999", "1 2", "１"),
        *("5\0", "1e", "e5", "--1", "+", "."),
    ],
)
def test_texts_that_are_none(text: str) -> None:
    values, valid = read_numbers(pa.array([text]))
    assert np.isnan(values).all()
    assert not valid.any()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_written_as_text_come_back(value: float) -> None:
    assert read_numbers(pa.array([repr(value)]))[0][0] == value
    text = canonical_text(pa.array([value]))
    assert read_numbers(text)[0][0] == value


@given(TEXTS, st.integers(0, 6))
def test_a_cell_reads_alike_wherever_it_stands(texts: list[str | None], start: int) -> None:
    array = pa.array(texts, pa.string())
    for read in (
        lambda some: read_numbers(some)[0].tolist(),
        lambda some: read_numbers(some)[1].tolist(),
        lambda some: is_missing_text(some).tolist(),
        lambda some: canonical_text(some).to_pylist(),
    ):
        alone = [read(pa.array([text], pa.string()))[0] for text in texts]
        for same in (
            array,
            array.cast(pa.large_string()),
            array.cast(pa.string_view()),
            array.dictionary_encode(),
            pa.chunked_array([array.slice(0, start), array.slice(start)]),
        ):
            assert repr(read(same)) == repr(alone)
        assert repr(read(array.slice(start))) == repr(alone[start:])


def test_numbers_of_every_type() -> None:
    for array in (
        pa.array([3, None], pa.int8()),
        pa.array([3, None], pa.uint64()),
        pa.array(np.array([3, np.nan], np.float16)),
        pa.array([3, None], pa.float32()),
        pa.array([Decimal("3.00"), None]),
        pa.array([Decimal("3"), None], pa.decimal256(50, 2)),
        pa.array([timedelta(seconds=3), None]),
        pa.array([clock(0, 0, 3), None]),
        pa.array([3, None], pa.time32("s")),
        pa.array([3.0, None]).dictionary_encode(),
        pa.array([3.0, np.inf]),
    ):
        values, valid = read_numbers(array)
        assert values.tolist()[0] == 3
        assert np.isnan(values[1])
        assert valid.tolist() == [True, False]
    for array in (
        pa.array([True]),
        pa.array([date(2020, 1, 1)]),
        pa.array([b"1"]),
        pa.array([[1]]),
    ):
        assert not read_numbers(array)[1].any()


def test_times_of_every_type() -> None:
    for array in (
        pa.array([date(1970, 1, 2), None]),
        pa.array([date(1970, 1, 2), None], pa.date64()),
        *(
            pa.array([datetime(1970, 1, 2), None], pa.timestamp(unit))
            for unit in ("s", "ms", "us", "ns")
        ),
        pa.array([86_400, None], pa.timestamp("s", "America/New_York")),
        pa.array([date(1970, 1, 2), None]).dictionary_encode(),
        pa.array(["1970-01-02", None]),
    ):
        seconds, valid = read_times(array)
        assert seconds[0] == 86_400
        assert valid.tolist() == [True, False]
    for array in (pa.array([1]), pa.array([True]), pa.array([timedelta(1)]), pa.array([None])):
        assert not read_times(array)[1].any()


@pytest.mark.parametrize(
    ("array", "texts"),
    [
        (pa.array([1.0, -0.0, 0.1, 2.0**60, None]), ["1", "0", "0.1", str(2**60), None]),
        (pa.array([np.nan, np.inf], pa.float64(), from_pandas=False), [None, "inf"]),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        (pa.array([Decimal("1.50"), Decimal("2.00")]), ["1.5", "2"]),
        (pa.array([True, None]), ["true", None]),
        (pa.array([" a ", "1.0", "-0", "-2.000", "007", "1.50", "1e3", "+1.0", "0.0", "\u2003"]),
         ["a", "1", "0", "-2", "007", "1.50", "1e3", "+1.0", "0", ""]),
        (pa.array([date(2020, 2, 3)]), ["2020-02-03"]),
        (pa.array([datetime(2020, 2, 3), datetime(2020, 2, 3, 4, 5, 6, 7)]),
         ["2020-02-03", "2020-02-03T04:05:06.000007"]),
        (pa.array([datetime(1969, 12, 31, 23)]), ["1969-12-31T23:00:00"]),
        (pa.array([timedelta(minutes=2)]), ["120"]),
        (pa.array([None, None]), [None, None]),
        (pa.array([b"x", None]), ["<binary>", None]),
        (pa.array([2**62], pa.timestamp("s")), [str(2**62)]),
        (pa.array([], pa.string()), []),
    ],
)  # fmt: skip
def test_canonical_text(array: pa.Array, texts: list[str | None]) -> None:
    found = canonical_text(array)
    assert found.type == pa.string()
    assert found.to_pylist() == texts
    assert canonical_text(found).to_pylist() == texts


def test_missing_texts() -> None:
    texts = pa.array([" N/A ", "None", "-", "unknown", "0", None, "NaN", "\t", "missing?"])
    expected = [True, True, True, False, False, False, True, True, False]
    assert is_missing_text(texts).tolist() == expected
    assert is_missing_text(texts.dictionary_encode()).tolist() == expected
    assert not is_missing_text(pa.array([None, np.nan])).any()
    assert not read_numbers(pa.array(sorted(MISSING_TEXTS)))[1].any()
