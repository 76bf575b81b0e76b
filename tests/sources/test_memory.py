"""Tables in memory, whatever library they are of."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from thalweg.core.errors import SourceError
from thalweg.sources import Source, open_source

COLUMNS: dict[str, list[Any]] = {"a": [1, None, 3], "b": ["x", None, "z"]}


def read(given: Any) -> dict[str, list[Any]]:
    source = open_source(given)
    tables = [batch.rows for batch in source.batches(size=2)]
    return pa.Table.from_batches(tables, source.schema()).to_pydict()


@pytest.mark.parametrize(
    "given",
    [
        COLUMNS,
        [{"a": 1, "b": "x"}, {}, {"b": "z", "a": 3}],
        pa.table(COLUMNS),
        pa.record_batch(COLUMNS),
        pl.DataFrame(COLUMNS),
    ],
    ids=lambda given: type(given).__name__,
)
def test_tables(given: Any) -> None:
    assert read(given) == COLUMNS


def test_a_reader_and_a_source() -> None:
    source = open_source(pa.table(COLUMNS).to_reader())
    assert isinstance(source, Source)
    assert open_source(source) is source
    assert read(source) == COLUMNS


def test_pandas_loses_its_index() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLUMNS | {"c": pandas.Categorical(["p", "q", "p"])})
    for index in ([7, 8, 9], pandas.Index([1, 2, 3], name="key"), None):
        if index is not None:
            frame.index = index
        found = read(frame)
        assert list(found) == ["a", "b", "c"]
        assert found["b"] == COLUMNS["b"]
        assert found["c"] == ["p", "q", "p"]


def test_views_become_plain_texts() -> None:
    assert open_source(pl.DataFrame(COLUMNS)).schema().field("b").type == pa.large_string()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, "x", None], ["1", "x", None]),
        ([True, 2.5], ["true", "2.5"]),
        ([2.5, True], ["2.5", "true"]),
        (["é", [1, "é"]], ["é", '[1, "é"]']),
        ([{"k": 1}, 2], ['{"k": 1}', "2"]),
        ([2**64, 1], ["18446744073709551616", "1"]),
        ([dt.date(2020, 1, 2), "x"], ["2020-01-02", "x"]),
        ([1, 2.5], [1.0, 2.5]),
    ],
)
def test_values_of_several_kinds_in_rows_become_text(
    values: list[Any], expected: list[Any]
) -> None:
    assert read([{"a": value} for value in values]) == {"a": expected}


def test_the_fingerprint_knows_no_chunks() -> None:
    whole = pa.table({"a": list(range(100)), "b": [None, "x"] * 50, "c": [True, None] * 50})
    cut = pa.concat_tables([whole.slice(i, 7) for i in range(0, 100, 7)])
    inner = pa.concat_tables([whole, whole]).slice(100)
    expected = open_source(whole).fingerprint()
    assert open_source(cut).fingerprint() == open_source(inner).fingerprint() == expected
    assert open_source(whole.slice(1)).fingerprint() != expected


@pytest.mark.parametrize(
    "given",
    [None, 5, [], [1], {"a": [1], "b": [1, 2]}, {"a": [1, "x"]}, {}, pa.table({})],
    ids=str,
)
def test_what_is_no_table(given: Any) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(given)
    assert "\n" not in str(caught.value)


def test_names_twice() -> None:
    with pytest.raises(SourceError, match="'a'"):
        open_source(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))
