"""A file of JSON lines: exactly once after kills, beside other writers, over rotation."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from thalweg.core.errors import SourceError
from thalweg.sources.streams import open_outlet
from thalweg.sources.streams.base import Writer
from thalweg.sources.streams.check import OutletTrial, check_outlet
from thalweg.sources.streams.lines import LinesOutlet
from thalweg.sources.streams.parts import PartsOutlet

WRITER = Writer("work", "0")


def rows(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch({"n": pa.array(numbers, pa.int64())})


def read(path: Path) -> list[int]:
    if not path.exists():
        return []
    return [json.loads(line)["n"] for line in path.read_bytes().splitlines()]


def test_files_of_lines_take_each_batch_once(tmp_path: Path) -> None:
    numbers = count()

    def make() -> OutletTrial:
        path = tmp_path / str(next(numbers)) / "deep" / "alerts.ndjson"
        return OutletTrial(lambda writer: LinesOutlet(path, writer), lambda: read(path))

    check_outlet(make)


class Killed(BaseException):
    pass


def torn(path: Path, _: Any) -> None:
    with path.open("ab") as file:
        file.write(b'{"n":7}\n{"n":')


def nothing_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: object) -> None:
        raise Killed

    monkeypatch.setattr(LinesOutlet, "_cut", killed)


def not_yet_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: object) -> None:
        raise Killed

    monkeypatch.setattr(LinesOutlet, "_note", killed)


@pytest.mark.parametrize("kill", [nothing_written, not_yet_said, torn])
def test_a_batch_that_a_killed_process_left_half_is_written_once(
    kill: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "alerts.ndjson"
    one = LinesOutlet(path, WRITER)
    one.resume(1)
    one.write(1, rows(1, 2))
    one.flush({})
    one.write(2, rows(3))
    kill(path, monkeypatch)
    if kill is not torn:
        with pytest.raises(Killed):
            one.flush({})
    monkeypatch.undo()
    other = LinesOutlet(path, WRITER)
    assert other.resume(2) == 1
    assert read(path) == [1, 2]
    other.write(2, rows(3))
    other.write(3, rows())
    other.flush({})
    assert read(path) == [1, 2, 3]
    assert LinesOutlet(path, WRITER).resume(2) == 3


def test_what_another_work_left_half_is_cut_off_before_a_flush(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    one, other = LinesOutlet(path, WRITER), LinesOutlet(path, Writer("other", "0"))
    assert (one.resume(1), other.resume(5)) == (0, 0)
    one.write(1, rows(1))
    one.flush({})
    torn(path, None)
    other.write(9, rows(2))
    other.flush({})
    assert read(path) == [1, 2]
    assert (one.resume(1), other.resume(5)) == (1, 9)


def test_lines_that_are_there_stay_and_a_file_that_was_moved_away_is_begun_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "alerts.ndjson"
    path.write_text('{"n":0}\n')
    one = LinesOutlet(path, WRITER)
    one.resume(1)
    one.write(1, rows(1))
    one.flush({})
    assert read(path) == [0, 1]
    path.rename(tmp_path / "old")
    one.write(2, rows(2))
    one.flush({})
    assert read(path) == [2]
    path.write_text("")
    one.write(3, rows(3))
    one.flush({})
    assert read(path) == [3]


def test_what_is_not_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    path.write_text("no end")
    with pytest.raises(SourceError, match="does not end with a line break"):
        LinesOutlet(path, WRITER).resume(1)
    path.write_text("")
    (tmp_path / ".alerts.ndjson.written").write_text('{"length":0,"writers":[]}')
    with pytest.raises(SourceError, match="is damaged"):
        LinesOutlet(path, WRITER).resume(1)


def test_rows_are_json_lines_with_times(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    one = LinesOutlet(path, WRITER)
    one.resume(1)
    time = pa.array([0], pa.timestamp("us", "UTC"))
    one.write(1, pa.record_batch({"time": time, "words": ["line\nbreak"]}))
    one.flush({})
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["words"] == "line\nbreak"


def test_names_choose_the_outlet(tmp_path: Path) -> None:
    for name in ("a.ndjson", "a.JSONL"):
        assert isinstance(open_outlet(str(tmp_path / name), WRITER, tmp_path), LinesOutlet)
    for name in ("a.ndjson/", "scores"):
        assert isinstance(open_outlet(f"{tmp_path}/{name}", WRITER, tmp_path), PartsOutlet)
    for name in ("a.csv", "a.ndjson.gz"):
        with pytest.raises(SourceError, match="looks like a file"):
            open_outlet(str(tmp_path / name), WRITER, tmp_path)
