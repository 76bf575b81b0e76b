"""Files as one source: what cannot be read says so in one line; several files agree or say why."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thalweg.core.errors import SourceError
from thalweg.sources import WRITERS, Position, open_sink, open_source
from thalweg.sources.check import check_sink

ROWS = pa.record_batch({"a": [1, 2, 3], "b": ["x", "y", "z"]})


def read(given: str | Path) -> list[dict[str, object]]:
    return [row for batch in open_source(given).batches() for row in batch.rows.to_pylist()]


def refused(given: str | Path) -> str:
    with pytest.raises(SourceError) as caught:
        read(given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(path: Path, table: object = ROWS) -> Path:
    with open_sink(path) as sink:
        for rows in pa.table(table).to_batches():
            sink.write(rows)
    return path


def test_what_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "prices.csv")
    assert "Did you mean 'prices.csv'?" in refused(tmp_path / "price.csv")
    assert "no file matches" in refused(tmp_path / "*.parquet")
    assert "nowhere" in refused(tmp_path / "nowhere" / "a.csv")
    (tmp_path / "empty").mkdir()
    assert "holds no file" in refused(tmp_path / "empty")


def test_unknown_and_mixed_formats(tmp_path: Path) -> None:
    (tmp_path / "a.parqet").touch()
    assert ".parquet" in refused(tmp_path / "a.parqet")
    (tmp_path / "bare").touch()
    assert "nothing" in refused(tmp_path / "bare")
    write(tmp_path / "a.csv")
    write(tmp_path / "a.parquet")
    assert "several formats" in refused(tmp_path)
    with pytest.raises(SourceError, match=r"\.parquet"):
        open_sink(tmp_path / "a.parqet")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows"])
def test_damaged_files(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}")
    content = path.read_bytes()
    for wrong in (b"", b"a,b\n1,2\n" * 100, content[: len(content) // 2]):
        path.write_bytes(wrong)
        assert path.name in refused(path)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows"])
def test_other_formats_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("a,b\n1,2\n" * 100)
    assert "looks like text" in refused(path)
    path.write_bytes(gzip.compress(b"a,b\n"))
    assert "looks like gzip" in refused(path)


@pytest.mark.parametrize("packing", [".gz", ".zst", ".bz2"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".ndjson"])
def test_packed_texts_are_written(tmp_path: Path, suffix: str, packing: str) -> None:
    plain, packed = write(tmp_path / f"a{suffix}"), write(tmp_path / f"b{suffix}{packing}")
    assert packed.read_bytes() != plain.read_bytes()
    assert read(packed) == read(plain) != []
    path = tmp_path / f"{packing}{suffix}" / f"c{suffix}{packing}"
    path.parent.mkdir()
    text = ROWS.set_column(0, "a", ROWS.column("a").cast(pa.string()))
    check_sink(lambda: open_sink(path), lambda: open_source(path), path, text)


def test_only_texts_are_packed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet.gz"
    with pytest.raises(SourceError, match=r"\.parquet alone"):
        open_sink(path)
    path.touch()
    assert ".parquet alone" in refused(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_no_permission(tmp_path: Path) -> None:
    write(tmp_path / "a.csv").chmod(0)
    assert "may read" in refused(tmp_path / "a.csv")


def test_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "_c.csv", ".d.csv"):
        write(tmp_path / name, {"a": [name]})
    assert [row["a"] for row in read(tmp_path)] == ["a.csv", "b.csv"]
    assert [row["a"] for row in read(str(tmp_path / "[ab].csv"))] == ["a.csv", "b.csv"]


def test_columns_in_any_order(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", {"b": ["q"], "a": [4]})
    assert read(tmp_path)[-1] == {"a": 4, "b": "q"}
    assert list(read(tmp_path)[-1]) == ["a", "b"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"a": [1]}, "lacks b"),
        ({"a": [1], "b": ["x"], "c": [1]}, "also has c"),
        ({"a": ["x"], "b": ["x"]}, "'a' is string"),
        ({"a": [True], "b": ["x"]}, "'a' is bool"),
    ],
)
def test_files_that_differ(tmp_path: Path, other: dict[str, list[object]], said: str) -> None:
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", other)
    assert said in refused(tmp_path)
    assert "b.parquet" in refused(tmp_path)


def test_types_that_one_type_holds(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", {"a": [1.5], "b": pa.array(["x"], pa.large_string())})
    assert [row["a"] for row in read(tmp_path)] == [1.0, 2.0, 3.0, 1.5]
    write(tmp_path / "a.parquet", {"a": [2**53 + 1], "b": ["x"]})
    assert "column 'a'" in refused(tmp_path)


def test_names_twice(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert "'a'" in refused(tmp_path / "a.parquet")


def test_row_groups_before_a_position_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(1_000)}), path, row_group_size=100, use_dictionary=False)
    start = pq.read_metadata(path).row_group(0).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 60] = b"\xff" * 60
    path.write_bytes(content)
    refused(path)
    found = [v for b in open_source(path).batches(start=Position(0, 150)) for v in b.rows["a"]]
    assert [v.as_py() for v in found] == list(range(150, 1_000))


def test_parquet_needs_no_more_memory_for_more_rows(tmp_path: Path) -> None:
    def peak(groups: int) -> int:
        path = tmp_path / f"{groups}.parquet"
        rows = pa.table({"a": range(50_000), "b": ["some text"] * 50_000})
        with pq.ParquetWriter(path, rows.schema) as writer:
            for _ in range(groups):
                writer.write_table(rows)
        before = pa.total_allocated_bytes()
        return max(
            pa.total_allocated_bytes() - before for _ in open_source(path).batches(size=10_000)
        )

    assert peak(60) < 2 * peak(3) + (1 << 20)


def test_fingerprints_change_with_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    before = open_source(path).fingerprint()
    path.write_text("a,b\n1,2\n")
    assert open_source(path).fingerprint() != before
    gone = open_source(path)
    path.unlink()
    with pytest.raises(SourceError):
        gone.fingerprint()


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_sinks_without_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(SourceError, match=r"no rows came.*Is the source empty"):
        open_sink(path).commit()
    assert not list(tmp_path.iterdir())
    with open_sink(path) as sink:
        sink.write(ROWS.slice(0, 0))
    if suffix in (".ndjson", ".jsonl"):
        assert path.read_bytes() == b""
        assert "no place for the names of columns" in refused(path)
    else:
        assert open_source(path).schema().names == ["a", "b"]
        assert read(path) == []


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_rows_of_another_schema_are_refused(tmp_path: Path, suffix: str) -> None:
    sink = open_sink(tmp_path / f"a{suffix}")
    sink.write(ROWS)
    with pytest.raises(SourceError, match="other columns"):
        sink.write(ROWS.select(["b"]))
    sink.abort()
    assert not list(tmp_path.iterdir())


def test_csv_has_no_form_for_lists(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'a'"), open_sink(tmp_path / "a.csv") as sink:
        sink.write(pa.record_batch({"a": [[1]]}))
    assert not list(tmp_path.iterdir())


FULL = """
import os, resource, sys
import pyarrow as pa
from thalweg.core.errors import SourceError
from thalweg.sources import open_sink
rows = pa.record_batch({"a": [os.urandom(5_000).hex() for _ in range(200)]})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with open_sink(sys.argv[1]) as sink:
        for _ in range(20):
            sink.write(rows)
except SourceError as error:
    print(error)
"""


@pytest.mark.parametrize("suffix", [*sorted(WRITERS), ".csv.gz", ".ndjson.zst"])
def test_a_full_disk(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("old")
    command = [sys.executable, "-c", FULL, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "room for it" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
