"""Parquet as it comes: coded texts, groups of any size, wide cells, files that do not agree."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thalweg.core.errors import SourceError
from thalweg.sources import open_source
from thalweg.sources.check import check_source
from thalweg.sources.partitions import CODED


def sizes(given: Path, size: int = 65_536) -> list[int]:
    return [batch.rows.num_rows for batch in open_source(given).batches(size=size)]


def values(given: Path, name: str) -> list[object]:
    return [v.as_py() for batch in open_source(given).batches() for v in batch.rows.column(name)]


def refused(given: Path) -> str:
    with pytest.raises(SourceError) as caught:
        list(open_source(given).batches())
    assert "\n" not in str(caught.value)
    return str(caught.value)


FEW = ["red", "green", None, "blue"] * 500
MANY = [f"name {number} of many" for number in range(2_000)]


def test_texts_of_which_there_are_few_are_dictionaries(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"few": FEW, "many": MANY, "number": range(2_000)})
    pq.write_table(table, path, row_group_size=400)
    source = open_source(path)
    assert source.schema().types == [CODED, pa.string(), pa.int64()]
    batch = next(source.batches())
    assert batch.rows.schema.equals(source.schema())
    assert batch.rows.num_rows == 2_000
    assert sorted(batch.rows.column("few").dictionary.to_pylist()) == ["blue", "green", "red"]
    assert values(path, "few") == FEW
    assert values(path, "many") == MANY
    pq.write_table(table, path, use_dictionary=False)
    assert open_source(path).schema().types == [pa.string(), pa.string(), pa.int64()]
    assert values(path, "few") == FEW


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("others", [1, 3])
def test_files_that_hold_a_text_in_other_ways(tmp_path: Path, *, first: bool, others: int) -> None:
    """Every batch has the schema, whichever way the files are the most."""
    coded, plain = pa.table({"a": FEW}), pa.table({"a": pa.array(MANY, pa.large_string())})
    pq.write_table(coded if first else plain, tmp_path / "0.parquet")
    for number in range(others):
        pq.write_table(plain if first else coded, tmp_path / f"1{number}.parquet")
    pq.write_table(pa.table({"a": pa.nulls(5)}), tmp_path / "2.parquet")
    pq.write_table(pa.table({"a": ["x", "y"]}).cast(pa.schema([("a", CODED)])), tmp_path / "3.pq")
    source = open_source(tmp_path)
    for size in (100, 65_536):
        for batch in source.batches(size=size):
            assert batch.rows.schema.equals(source.schema())
    mixed = [(FEW if first else MANY), *([MANY if first else FEW] * others), [None] * 5, ["x", "y"]]
    assert values(tmp_path, "a") == [value for some in mixed for value in some]


def test_dictionaries_keep_the_contract(tmp_path: Path) -> None:
    for name, rows in (("a", 130), ("b", 70)):
        few = [["x", None, "zz"][row % 3] for row in range(rows)]
        table = pa.table({"few": few, "number": range(rows)})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=64)
    assert open_source(tmp_path).schema().field("few").type == CODED
    check_source(open_source(tmp_path))


def test_what_polars_and_categories_become(tmp_path: Path) -> None:
    frame = pl.DataFrame({"s": FEW, "c": pl.Series(FEW, dtype=pl.Categorical)})
    frame.write_parquet(tmp_path / "a.parquet")
    assert open_source(tmp_path).schema().types == [CODED, CODED]
    assert values(tmp_path, "s") == values(tmp_path, "c") == FEW


def test_small_row_groups_and_files_are_joined(tmp_path: Path) -> None:
    for number in range(12):
        table = pa.table({"a": [number] * 100, "b": ["x", "y"] * 50})
        pq.write_table(table, tmp_path / f"{number:02}.parquet", row_group_size=10)
    pq.write_table(table.slice(0, 0), tmp_path / "05b.parquet")
    assert sizes(tmp_path) == [1_200]
    assert sizes(tmp_path, 500) == [500, 500, 200]
    assert values(tmp_path, "a") == [number for number in range(12) for _ in range(100)]
    for batch in open_source(tmp_path).batches(size=500):
        rest = [b.rows.num_rows for b in open_source(tmp_path).batches(start=batch.position)]
        assert sum(rest) in (700, 200, 0)


def test_a_cell_of_100_mb(tmp_path: Path) -> None:
    rows = [*(["x"] * 999), "y" * 100_000_000, *(["x"] * 999)]
    pq.write_table(pa.table({"a": rows, "b": range(1_999)}), tmp_path / "a.parquet")
    before = pa.total_allocated_bytes()
    found = peak = 0
    for batch in open_source(tmp_path).batches():
        peak = max(peak, pa.total_allocated_bytes() - before)
        found += batch.rows.num_rows
    assert found == 1_999
    assert peak < 400_000_000


def test_wide_rows_come_in_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.sources.parquet.BATCH", 1 << 20)
    monkeypatch.setattr("thalweg.sources.files.WIDE", 1 << 20)
    texts = pa.array([f"{number:05000}" for number in range(2_000)])
    pq.write_table(pa.table({"a": texts, "b": range(2_000)}), tmp_path / "a.parquet")
    assert max(batch.rows.nbytes for batch in open_source(tmp_path).batches()) < 3 << 20
    assert sum(sizes(tmp_path)) == 2_000
    alone = open_source(tmp_path).batches(["b"])
    assert [batch.rows.num_rows for batch in alone] == [2_000]


def test_a_damaged_row_group_is_named_and_what_is_before_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"a": range(1_000), "b": np.random.default_rng(0).normal(size=1_000)})
    pq.write_table(table, path, row_group_size=100, use_dictionary=False, compression="zstd")
    start = pq.read_metadata(path).row_group(6).column(1).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(content)
    assert f"row group 6 of {path} cannot be read" in refused(path)
    batches = open_source(path).batches(size=100)
    assert sum(next(batches).rows.num_rows for _ in range(6)) == 600
    with pytest.raises(SourceError, match="row group 6"):
        next(batches)
    assert sum(batch.rows.num_rows for batch in open_source(path).batches(["a"])) == 1_000


def test_numbers_that_are_none_are_kept(tmp_path: Path) -> None:
    odd = [math.nan, math.inf, -math.inf, None, 1.0]
    pq.write_table(pa.table({"a": odd}), tmp_path / "a.parquet")
    assert repr(values(tmp_path, "a")) == repr(odd)


def test_a_column_that_changes_its_type_names_both_files_and_itself(tmp_path: Path) -> None:
    for name, column in (("a", [1, 2]), ("b", [3, 4]), ("c", ["five"])):
        pq.write_table(pa.table({"n": column, "x": column}), tmp_path / f"{name}.parquet")
    said = refused(tmp_path)
    assert "column 'n' is string in" in said
    assert "c.parquet; expected int64 as in" in said
    assert "a.parquet" in said


def test_a_value_that_the_common_type_cannot_hold_names_its_place(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1.5]}), tmp_path / "a.parquet")
    numbers = pa.table({"n": [1, 2, 3, 2**53 + 1]})
    pq.write_table(numbers, tmp_path / "b.parquet", row_group_size=2)
    said = refused(tmp_path)
    assert "b.parquet, row group 1, row 4" in said
    assert "column 'n' of" in said
