from __future__ import annotations

import json
import math
import os
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.stats import ColumnSummary
from thalweg.stats.parsing import canonical_text, is_missing_text, read_numbers, read_times

DATA = Path(os.environ.get("THALWEG_DATA", Path(__file__).parents[3] / "shared" / "data"))

NASTY_FLOATS = st.floats() | st.sampled_from([5e-324, -0.0, 0.0, 1e308, -1e308, 2.0**63, 1.0, 0.5])
NASTY_TEXTS = (
    st.text(max_size=6)
    | st.sampled_from(
        [
            "",
            " ",
            "12",
            " 12 ",
            "12.0",
            "012",
            "1e3",
            "nan",
            "N/A",
            "?",
            "\0",
            "é" * 10_000,
            "☃ ☃ ☃",
        ]
    )
    | st.sampled_from(
        ["2020-01-01", "01/02/2020", "25/12/2020", "12/25/2020 8:05", "1.2.2020", "true", "inf"]
    )
)
TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "float64": (pa.float64(), NASTY_FLOATS),
    "float32": (pa.float32(), st.floats(width=32)),
    "float16": (pa.float16(), st.floats(width=16).map(np.float16)),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1) | st.integers(0, 3)),
    "decimal": (pa.decimal128(12, 2), st.decimals(-(10**6), 10**6, places=2)),
    "decimal256": (pa.decimal256(60, 2), st.decimals(-(10**6), 10**6, places=2)),
    "bool": (pa.bool_(), st.booleans()),
    "string": (pa.string(), NASTY_TEXTS),
    "large_string": (pa.large_string(), NASTY_TEXTS),
    "string_view": (pa.string_view(), NASTY_TEXTS),
    "dictionary": (pa.dictionary(pa.int16(), pa.string()), NASTY_TEXTS),
    "binary": (pa.binary(), st.binary(max_size=5)),
    "fixed binary": (pa.binary(2), st.binary(min_size=2, max_size=2)),
    "date32": (pa.date32(), st.dates()),
    "date64": (pa.date64(), st.dates()),
    "timestamp": (pa.timestamp("us"), st.datetimes()),
    "zoned": (pa.timestamp("us", "Asia/Tokyo"), st.datetimes(timezones=st.just(UTC))),
    "time32": (pa.time32("s"), st.times().map(lambda one: one.replace(microsecond=0))),
    "time64": (pa.time64("us"), st.times()),
    "duration": (pa.duration("ms"), st.integers(-(10**9), 10**9).map(
        lambda one: timedelta(milliseconds=one))),
    "null": (pa.null(), st.none()),
    "list": (pa.list_(pa.int64()), st.lists(st.integers(0, 3), max_size=2)),
    "large list": (pa.large_list(pa.string()), st.lists(st.text(max_size=1), max_size=2)),
    "fixed list": (pa.list_(pa.int8(), 2), st.lists(st.integers(0, 3), min_size=2, max_size=2)),
    "struct": (pa.struct({"a": pa.int64()}), st.fixed_dictionaries({"a": st.integers(0, 3)})),
    "map": (pa.map_(pa.string(), pa.int64()),
            st.lists(st.tuples(st.text(max_size=1), st.integers(0, 3)), max_size=2)),
}  # fmt: skip


def _of(*arrays: pa.Array) -> ColumnSummary:
    some = ColumnSummary()
    for array in arrays:
        some.update(array)
    return some


def _merge_tree(parts: list[ColumnSummary]) -> ColumnSummary:
    while len(parts) > 1:
        first, second, *rest = parts
        second.merge(first)
        parts = [*rest, second]
    return parts[0]


@pytest.mark.parametrize("name", TYPES)
@settings(max_examples=15)
@given(st.data())
def test_any_split_order_and_merge_tree_gives_equal_bits(name: str, data: st.DataObject) -> None:
    kind, values = TYPES[name]
    drawn = data.draw(st.lists(values | st.none(), max_size=25))
    array = pa.array(drawn, kind)
    whole = _of(array)
    owner = np.array(data.draw(st.lists(st.integers(0, 3), min_size=25, max_size=25)))
    order = np.array(data.draw(st.permutations(range(len(drawn)))), dtype=np.int64)
    parts = [
        _of(pa.array([drawn[at] for at in order if owner[at] == part], kind)) for part in range(4)
    ]
    joined = _merge_tree(parts)
    assert joined.to_bytes() == whole.to_bytes()
    assert _of(array[:0], *(array.slice(start, 1) for start in range(len(array)))) == whole
    assert _of(pa.chunked_array([array.slice(0, 3), array.slice(3)])) == whole
    again = ColumnSummary.from_bytes(whole.to_bytes())
    assert again == whole
    assert again.describe() == whole.describe()
    json.dumps(whole.describe(), allow_nan=False)
    assert whole.rows == len(drawn)


@given(st.lists(NASTY_TEXTS | st.none(), max_size=30))
def test_how_text_is_stored_makes_no_difference(texts: list[str | None]) -> None:
    plain = _of(pa.array(texts, pa.string()))
    dictionary = pa.array(texts, pa.string()).dictionary_encode()
    assert _of(dictionary) == plain
    assert _of(dictionary.slice(1), dictionary.slice(0, 1)) == plain
    assert _of(pa.array(texts, pa.string_view())) == plain
    unused = pa.DictionaryArray.from_arrays(
        pa.array([None if text is None else 2 for text in texts], pa.int8()),
        pa.array(["unused", None, "used"], pa.string_view()),
    )
    expected = [None if text is None else "used" for text in texts]
    assert _of(unused) == _of(pa.array(expected, pa.string()))


@settings(max_examples=50)
@given(st.lists(NASTY_TEXTS | st.none(), max_size=30))
def test_the_summary_counts_what_the_readers_read(texts: list[str | None]) -> None:
    array = pa.array(texts, pa.string())
    some = _of(array)
    values, valid = read_numbers(array)
    assert some.numbers.count == valid.sum()
    if valid.any():
        assert some.numbers.minimum == values[valid].min()
        assert some.numbers.mean == math.fsum(values[valid]) / valid.sum()
        assert some.numbers.whole == (values[valid] == np.rint(values[valid])).sum()
    seconds, dated = read_times(array, list(some.time_formats))
    assert some.times.count == dated.sum()
    if dated.any():
        assert some.times.maximum == seconds[dated].max()
    for name, count in some.time_formats.items():
        assert count == read_times(array, [name])[1].sum()
    assert some.missing_texts == is_missing_text(array).sum()
    there = [text for text in texts if text is not None]
    assert some.texts == len(there)
    assert some.blanks == sum(text.strip() == "" for text in there)
    assert some.nulls == len(texts) - len(there)
    expected = Counter(canonical_text(pa.array(there, pa.string())).to_pylist())
    assert {key: count for key, count in some.top() if "… #" not in key} == {
        key: count for key, count in expected.items() if len(key.encode()) <= 512
    }
    if there:
        assert some.lengths.mean == sum(map(len, there)) / len(there)
        assert some.lengths.maximum == max(map(len, there))


@given(st.lists(NASTY_FLOATS, max_size=30))
def test_numbers_are_counted_as_such(values: list[float]) -> None:
    some = _of(pa.array(values, pa.float64(), from_pandas=False))
    finite = [value + 0.0 for value in values if math.isfinite(value)]
    assert some.infinite == sum(map(math.isinf, values))
    assert some.nulls == sum(map(math.isnan, values))
    assert some.numbers.count == len(finite)
    assert some.counts_exact
    present = [value + 0.0 for value in values if not math.isnan(value)]
    expected = Counter(canonical_text(pa.array(present, pa.float64())).to_pylist())
    assert dict(some.top()) == expected
    assert some.distinct() == len(expected)
    assert set(some.sample()) == set(expected)


def test_a_csv_and_a_parquet_column_count_alike() -> None:
    numbers = pa.array([1.0, 2.0, 0.5, None])
    text, typed = _of(pa.array(["1", "2.0", "0.5", None])), _of(numbers)
    assert text.top() == typed.top()
    assert text.numbers == typed.numbers
    assert text.sample() == typed.sample()
    both = text.copy()
    both.merge(typed)
    assert both.type == "mixed"
    assert both.numbers.count == 6
    assert both.top() == [("0.5", 2), ("1", 2), ("2", 2)]
    assert both.distinct() == 3


def test_the_slashes_of_a_column() -> None:
    clear = _of(pa.array(["01/02/2020", "25/12/2020", "26/12/2020"]))
    assert list(clear.time_formats.items()) == [("DD/MM/YYYY", 3), ("MM/DD/YYYY", 1)]
    assert clear.times.count == 3
    assert clear.times.minimum == datetime(2020, 2, 1, tzinfo=UTC).timestamp()
    unclear = _of(pa.array(["01/02/2020"]))
    assert list(unclear.time_formats) == ["MM/DD/YYYY", "DD/MM/YYYY"]
    assert unclear.times.minimum == datetime(2020, 1, 2, tzinfo=UTC).timestamp()
    assert _of(pa.array([date(2020, 1, 1)])).time_formats == {"timestamp": 1}


def test_types_of_parts() -> None:
    nothing, nulls = ColumnSummary(), _of(pa.nulls(2))
    whole, text = _of(pa.array([1])), _of(pa.array(["a"]))
    assert (nothing.type, nulls.type, whole.type, text.type) == ("", "null", "int64", "string")
    for parts, name in (((nothing, nulls), "null"), ((nulls, whole), "int64")):
        for one, other in (parts, parts[::-1]):
            joined = one.copy()
            joined.merge(other)
            assert joined.type == name
    joined = whole.copy()
    joined.merge(text)
    joined.merge(nulls)
    assert joined.type == "mixed"
    assert joined.rows == 4


def test_updating_and_merging_leave_their_arguments_as_they_were() -> None:
    array = pa.array([" a ", "1.0", None])
    before = array.to_pylist()
    one, other = _of(array), _of(array)
    bits = other.to_bytes()
    one.merge(other)
    one.update(array)
    assert array.to_pylist() == before
    assert other.to_bytes() == bits
    twin = one.copy()
    twin.update(array)
    assert one.rows == 9
    assert twin != one
    read_only = np.array([1.5, np.nan])
    read_only.flags.writeable = False
    assert _of(pa.array(read_only)).nulls == 1


def test_memory_is_bounded_for_two_million_distinct_values() -> None:
    number, text = ColumnSummary(), ColumnSummary()
    rng = np.random.default_rng(6)
    for start in range(0, 2_000_000, 250_000):
        number.update(pa.array(rng.normal(size=250_000)))
        text.update(pa.array(np.arange(start, start + 250_000)).cast(pa.string()))
    assert len(number.to_bytes()) < 400_000
    assert len(text.to_bytes()) < 3_000_000
    assert number.distinct() == pytest.approx(2_000_000, rel=0.05)
    assert text.distinct() == pytest.approx(2_000_000, rel=0.05)
    assert not number.counts_exact
    assert not text.counts_exact
    assert len(number.sample()) == 1000
    assert abs(number.numbers.quantile(0.975) - 1.96) < 0.02


def test_shuffled_large_columns_give_equal_bits() -> None:
    rng = np.random.default_rng(8)
    for array in (
        pa.array(rng.lognormal(size=100_000)),
        pa.array(np.round(rng.lognormal(3, 1, 100_000), 1)),
        pa.array(rng.integers(0, 50_000, 100_000)),
        pa.array(rng.integers(0, 2**31, 100_000)).cast(pa.timestamp("s")),
        pa.array(rng.integers(0, 30_000, 100_000)).cast(pa.string()),
    ):
        whole = _of(array).to_bytes()
        shuffled = array.take(pa.array(rng.permutation(len(array))))
        parts = [_of(shuffled.slice(start, 9_999)) for start in range(0, len(array), 9_999)]
        assert _merge_tree(parts).to_bytes() == whole


def test_describe() -> None:
    some = _of(pa.array(["3", "1", "1", "?", None, "abc de"]))
    found = some.describe()
    assert (found["rows"], found["nulls"], found["missing"]) == (6, 1, 2)
    assert found["missing_share"] == pytest.approx(1 / 3)
    assert found["top"][0] == {"value": "1", "count": 2}
    assert found["distinct"] == 4
    assert found["numbers"]["mean"] == pytest.approx(5 / 3)
    assert found["words"]["maximum"] == 2
    assert "times" not in found
    dated = _of(pa.array([date(2020, 1, 1), date(2020, 1, 3)])).describe()
    assert (dated["times"]["first"], dated["times"]["last"]) == ("2020-01-01", "2020-01-03")
    assert ColumnSummary().describe()["missing_share"] == 0


@pytest.mark.parametrize("table", ["tabular/adult_train", "dirty/beers_dirty", "dirty/horse_colic"])
def test_real_tables(table: str) -> None:
    path = DATA / f"{table}.parquet"
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    rows = pq.read_table(path)
    for name in rows.column_names:
        column = rows.column(name)
        some = _of(column)
        texts = canonical_text(column).drop_null().to_pylist()
        assert some.rows == len(column)
        assert some.distinct() == len(set(texts))
        assert dict(some.top(5)).items() <= Counter(texts).items()
        halves = _of(column.slice(1000))
        halves.merge(_of(column.slice(0, 1000)))
        assert halves == some


def test_times_of_day_are_seconds() -> None:
    some = _of(pa.array([time(0, 1), time(0, 2)]))
    assert some.numbers.mean == 90
    assert some.top() == [("120", 1), ("60", 1)]
    assert _of(pa.array([Decimal("1.50")] * 2)).top() == [("1.5", 2)]
