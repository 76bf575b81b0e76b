"""Parquet files in a folder: what is there after kills and takeovers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thalweg.core.errors import SourceError
from thalweg.sources import open_source
from thalweg.sources.streams import parts
from thalweg.sources.streams.base import FencedError, Writer
from thalweg.sources.streams.parts import PartsOutlet, part_files

WRITER = Writer("work", "a-b")


def rows(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch({"n": pa.array(numbers, pa.int64())})


def test_names_say_which_batches_are_there(tmp_path: Path) -> None:
    with_parts = PartsOutlet(tmp_path / "scores", WRITER)
    assert with_parts.resume(1) == 0
    with_parts.write(1, rows(1))
    with_parts.write(2, rows())
    with_parts.flush({})
    with_parts.write(3, rows(2, 3))
    with_parts.flush({})
    with_parts.close()
    assert [path.name for path in part_files(tmp_path / "scores")] == [
        "part-a%2Db-000000000001-000000000002.parquet",
        "part-a%2Db-000000000003-000000000003.parquet",
    ]
    batches = open_source(tmp_path / "scores").batches()
    assert [n for batch in batches for n in batch.rows.column("n").to_pylist()] == [1, 2, 3]


def test_many_rows_are_written_before_they_are_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_HELD", 100)
    outlet = PartsOutlet(tmp_path, WRITER)
    outlet.resume(1)
    for batch in range(1, 20):
        outlet.write(batch, rows(*range(batch)))
    assert not part_files(tmp_path)
    assert any(tmp_path.glob(".part-*.partial"))
    outlet.flush({})
    assert len(pq.read_table(part_files(tmp_path)[0])) == sum(range(20))
    outlet.write(20, rows(*range(50)))
    outlet.write(21, rows(*range(50)))
    del outlet  # killed
    outlet = PartsOutlet(tmp_path, WRITER)
    assert outlet.resume(2) == 19
    assert not any(tmp_path.glob(".part-*.partial"))


def test_who_is_taken_over_while_writing_leaves_nothing(tmp_path: Path) -> None:
    old, new = PartsOutlet(tmp_path, WRITER), PartsOutlet(tmp_path, WRITER)
    old.resume(1)
    old.write(1, rows(1))
    old._spill()
    new.resume(2)
    with pytest.raises(FencedError, match="fence 2"):
        old.flush({})
    assert not part_files(tmp_path)
    assert not any(tmp_path.glob("*.partial"))


def test_a_folder_is_for_one_work(tmp_path: Path) -> None:
    PartsOutlet(tmp_path, Writer("one", "0")).resume(1)
    with pytest.raises(SourceError, match="holds what one/0 has written"):
        PartsOutlet(tmp_path, Writer("two", "0")).resume(1)


def test_names_that_overlap_are_refused(tmp_path: Path) -> None:
    outlet = PartsOutlet(tmp_path, Writer("one", "0"))
    outlet.resume(1)
    for first, last in ((1, 5), (5, 7)):
        (tmp_path / f"part-0-{first:012d}-{last:012d}.parquet").touch()
    with pytest.raises(SourceError, match="holds batch 5 of lane 0 twice"):
        outlet.resume(1)
