"""Rows that were set aside are written down."""

from __future__ import annotations

import json
from pathlib import Path

from thalweg.sources import Reject, open_source, write_rejects
from thalweg.sources.rejects import RejectsFile, reject_writer


def test_rejects_are_rows_again(tmp_path: Path) -> None:
    path = tmp_path / "rejects.ndjson"
    assert write_rejects([], path) == 0
    assert not path.exists()
    reject = Reject("rows.csv", 3, "expected 5 fields, found 7", 'ü,"\n')
    assert write_rejects(iter([reject, reject]), path) == 2
    row = {"origin": "rows.csv", "line": 3, "reason": reject.reason, "content": reject.content}
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [row, row]
    assert open_source(path).schema().names == list(row)


def test_rejects_are_read_anew_each_time_even_from_a_file_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "rejects.ndjson"
    some = [Reject("rows.csv", line, "why", "ü" * line) for line in range(1, 4)]
    with reject_writer(path) as write:
        write(some[:2])
        write(some[2:])
    found = RejectsFile(path)
    path.unlink()
    assert len(found) == 3
    assert list(found) == some
    assert list(zip(found, found, strict=True)) == list(zip(some, some, strict=True))
    assert some[1] in found
    assert Reject("other.csv", 1, "why", "") not in found
