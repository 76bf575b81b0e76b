"""Rows that were set aside are written down."""

from __future__ import annotations

import json
from pathlib import Path

from thalweg.sources import Reject, open_source, write_rejects


def test_rejects_are_rows_again(tmp_path: Path) -> None:
    path = tmp_path / "rejects.ndjson"
    assert write_rejects([], path) == 0
    assert not path.exists()
    reject = Reject("rows.csv", 3, "expected 5 fields, found 7", 'ü,"\n')
    assert write_rejects(iter([reject, reject]), path) == 2
    row = {"origin": "rows.csv", "line": 3, "reason": reject.reason, "content": reject.content}
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [row, row]
    assert open_source(path).schema().names == list(row)
