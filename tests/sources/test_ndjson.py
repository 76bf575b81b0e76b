"""NDJSON: types over the whole file, bad lines, nesting, dates, wide numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from thalweg.core.errors import SourceError
from thalweg.sources import ndjson as module
from thalweg.sources import open_source


def table(path: Path) -> pa.Table:
    source = open_source(path)
    return pa.Table.from_batches([b.rows for b in source.batches()], source.schema())


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(params=[40, 1 << 20])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "BLOCK", request.param)
    return tmp_path / "rows.ndjson"


CASES = {
    "whole": ([1, 2**63 - 1, None], pa.int64(), [1, 2**63 - 1, None]),
    "wide": ([1, 2**64, None], pa.string(), ["1", "18446744073709551616", None]),
    "number": ([1, 1.5, None], pa.float64(), [1.0, 1.5, None]),
    "large": ([1, 1e300], pa.float64(), [1.0, 1e300]),
    "boolean": ([True, None], pa.bool_(), [True, None]),
    "boolean or number": ([True, 1], pa.string(), ["true", "1"]),
    "text or number": (["a", 1, 1.0, 1e-7], pa.string(), ["a", "1", "1.0", "1e-07"]),
    "list": ([[1, "é"], None], pa.string(), ['[1, "é"]', None]),
    "object": ([{"k": [1]}, "x"], pa.string(), ['{"k": [1]}', "x"]),
    "date": (["2020-01-01T00:00:00", None], pa.string(), ["2020-01-01T00:00:00", None]),
    "date or text": (["2020-01-01", "x"], pa.string(), ["2020-01-01", "x"]),
    "nothing": ([None, None], pa.null(), [None, None]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_least_type_that_holds_every_value(path: Path, case: str, reverse: bool) -> None:
    values, kind, expected = CASES[case]
    step = -1 if reverse else 1
    rows = [{"a": value, "pad": "x" * 50} for value in values[::step]]
    found = table(write(path, *rows)).column("a")
    assert found.type == kind
    assert found.to_pylist() == expected[::step]


def test_dates_need_no_reading_line_by_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, *({"t": "2020-01-01T00:00:00", "n": i} for i in range(20)))
    monkeypatch.setattr(module, "_object", None)
    assert table(path).num_rows == 20


def test_absent_keys_are_null(path: Path) -> None:
    assert table(write(path, {"a": 1}, {}, {"b": "x"})).to_pylist() == [
        {"a": 1, "b": None},
        {"a": None, "b": None},
        {"a": None, "b": "x"},
    ]


def test_bad_lines_have_their_numbers(path: Path) -> None:
    path.write_bytes(
        b'\xef\xbb\xbf{"a":1}\n\n  \r\nnope\n{"a":2}\r\n[1]\n\n{"a":"\xff"}\n{"a":{"b":1}\n{"a":3}'
    )
    batches = list(open_source(path).batches())
    rejects = [reject for batch in batches for reject in batch.rejects]
    assert [reject.line for reject in rejects] == [4, 6, 8, 9]
    assert rejects[0].content == "nope"
    assert "a list" in rejects[1].reason
    assert [v for batch in batches for v in batch.rows.column("a").to_pylist()] == [1, 2, 3]
    assert batches[-1].position.row == 7


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_json_has_not_are_set_aside(path: Path, constant: str) -> None:
    path.write_text(f'{{"a": 1.5, "b": ": NaN"}}\n{{"a": {constant}}}\n{{"a": [{constant}]}}\n')
    batches = list(open_source(path).batches())
    assert [row for batch in batches for row in batch.rows.to_pylist()] == [
        {"a": 1.5, "b": ": NaN"}
    ]
    rejects = [reject for batch in batches for reject in batch.rejects]
    assert [reject.line for reject in rejects] == [2, 3]
    assert constant in rejects[0].reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps([{"a": 1}, {"a": 2}]), "one JSON array.*jq -c '.\\[\\]' rows.json "),
        (json.dumps([{"a": 1}, {"a": 2}], indent=2), "one JSON array"),
        ('[\n{"a": 1},\n{"a": 2}\n]\n', "one JSON array"),
        ('\n[{"a": 1},\n {"a": 2}]\n', "one JSON array"),
        (json.dumps({"a": {"b": 1}}, indent=2), r"one JSON object.*jq -c \. rows.json "),
        ("a;b\n1;2\n", "looks like CSV.*rows.csv"),
        ("", "is empty"),
    ],
)
def test_other_texts_named_json_are_told_apart(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=said):
        table(path)


@pytest.mark.parametrize("text", ["", "\n\n", "nope\n", "[1,2]\n", "{}\n"])
def test_no_objects(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(SourceError, match=r"rows\.ndjson") as caught:
        table(path)
    assert "\n" not in str(caught.value)


def test_memory_does_not_grow_with_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 1 << 17)

    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.ndjson"
        path.write_text('{"a":1,"b":"2020-01-01"}\n' * rows)
        return max(pa.total_allocated_bytes() for _ in open_source(path).batches())

    assert peak(600_000) < 2 * peak(30_000) + (1 << 20)
