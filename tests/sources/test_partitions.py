"""Partitioned folders: what a path says of its rows is a column like any other."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thalweg.core.errors import SourceError
from thalweg.sources import WRITERS, open_sink, open_source
from thalweg.sources.check import check_source
from thalweg.sources.partitions import CODED
from thalweg.stats.hashing import hash_rows


def write(path: Path, **columns: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_sink(path) as sink:
        sink.write(pa.record_batch(columns))


def read(given: object, columns: list[str] | None = None) -> list[dict[str, object]]:
    batches = open_source(given).batches(columns)
    return [row for batch in batches for row in batch.rows.to_pylist()]


def refused(given: object) -> str:
    with pytest.raises(SourceError) as caught:
        read(given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [*sorted(WRITERS), ".csv.gz"])
def test_every_format_keeps_the_contract(tmp_path: Path, suffix: str) -> None:
    for year, months in (("2024", ("01", "12")), ("2025", ("02",))):
        for month in months:
            path = tmp_path / f"year={year}" / f"city={month} x" / f"part{suffix}"
            write(path, a=[1, 2, 3], b=["u", None, month])
    source = open_source(tmp_path)
    assert source.schema().names == ["a", "b", "year", "city"]
    assert source.schema().field("year").type == pa.int64()
    assert source.schema().field("city").type == CODED
    check_source(source)
    assert [row["year"] for row in read(tmp_path)] == [2024] * 6 + [2025] * 3
    assert [row["city"] for row in read(tmp_path, ["city"])] == [
        city for city in ("01 x", "12 x", "02 x") for _ in range(3)
    ]


def test_values(tmp_path: Path) -> None:
    for folder in ("city=S%C3%A3o%2FPaulo", "city=__HIVE_DEFAULT_PARTITION__", "city=07"):
        write(tmp_path / folder / "a.parquet", a=[1])
    assert [row["city"] for row in read(tmp_path)] == ["07", "São/Paulo", None]
    (tmp_path / "city=S%C3%A3o%2FPaulo" / "a.parquet").unlink()
    assert [row["city"] for row in read(tmp_path)] == [7, None]


def test_a_row_has_the_same_columns_however_its_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "year=2024" / "month=3" / "a.csv", a=["1"])
    row = [{"a": "1", "year": 2024, "month": 3}]
    for given in ("", "year=2024", "year=2024/month=3/a.csv", "year=*/*/*.csv", "year=*/month=*"):
        assert read(str(tmp_path / given)) == row


def test_other_keys_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "year=2024" / "a.parquet", a=[1])
    write(tmp_path / "b.parquet", a=[1])
    said = refused(tmp_path)
    assert "a.parquet speak of year" in said
    assert "none, as those of" in said
    assert "b.parquet" in said


def test_hashes_are_those_of_a_column_in_the_file(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, 2, 3, 4], "year": [2024, 2024, 2025, None], "k": list("xyxy")})
    frame.write_parquet(tmp_path / "whole.parquet")
    frame.write_parquet(pl.PartitionBy(tmp_path / "parts", key=["year", "k"], include_key=False))

    def hashes(given: Path) -> list[int]:
        return sorted(h for b in open_source(given).batches() for h in hash_rows(b.rows).tolist())

    assert hashes(tmp_path / "parts") == hashes(tmp_path / "whole.parquet")


def test_a_column_of_the_file_gives_way_to_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "year=2024" / "a.parquet", year=["2024"], a=[1])
    assert read(tmp_path) == [{"a": 1, "year": 2024}]
    write(tmp_path / "year=2025" / "a.parquet", a=[2])
    assert [row["year"] for row in read(tmp_path)] == [2024, 2025]


def test_of_folders_alone_rows_are_only_counted(tmp_path: Path) -> None:
    path = tmp_path / "year=2024" / "a.parquet"
    write(path, a=list(range(1_000)))
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    refused(tmp_path)
    assert len(read(tmp_path, ["year"])) == 1_000


def test_marks_of_other_tools_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "_part=1" / "a.parquet", a=[1])
    write(tmp_path / "_delta_log" / "a.parquet", z=[1])
    pq.write_table(pa.table({"z": [1]}), tmp_path / ".hidden.parquet")
    assert read(tmp_path) == [{"a": 1, "_part": 1}]
