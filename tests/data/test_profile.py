from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from thalweg.core.errors import ColumnError, OptionError, SourceError, TargetError
from thalweg.core.progress import Silent
from thalweg.data.profile import Profile, profile
from thalweg.sources import open_source


def read(given: Any, target: str | None = None, columns: dict[str, str] | None = None) -> Profile:
    return profile(open_source(given), target, columns or {}, Silent())


def table(rows: int = 200) -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "row": range(rows),
            "x": pa.array(random.normal(size=rows), mask=random.random(rows) < 0.25),
            "town": random.choice(["Ulm", "Bonn", "?"], rows),
            "same": ["so"] * rows,
            "y": random.integers(0, 2, rows),
        }
    )


def test_every_column_has_a_kind_a_reason_and_figures() -> None:
    found = read(table(), "y").to_json()
    json.dumps(found, allow_nan=False)
    assert found["rows"] == 200
    kinds = {column["name"]: column["kind"] for column in found["columns"]}
    assert kinds == {
        "row": "ignored",
        "x": "number",
        "town": "category",
        "same": "ignored",
        "y": "category",
    }
    assert all(column["because"] for column in found["columns"])
    town = next(column for column in found["columns"] if column["name"] == "town")
    assert 0.2 < town["missing_share"] < 0.5


def test_copies_and_unreadable_rows_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 50 + "1,2,3\n" + "2,3\n" * 50)
    said = read(tmp_path / "t.csv").warnings
    assert any("1 rows could not be read" in one for one in said)
    assert any("98 of 100 rows are copies" in one for one in said)
    assert read(table()).warnings == ()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"target": "z"}, ColumnError),
        ({"target": "same"}, TargetError),
        ({"columns": {"z": "number"}}, ColumnError),
        ({"columns": {"x": "numbr"}}, OptionError),
    ],
)
def test_mistakes_are_said(words: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(table(), **words)


def test_no_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(SourceError, match="has no rows"):
        read(tmp_path / "t.csv")


def test_a_table_of_nothing_usable_is_still_a_profile() -> None:
    found = read({"a": [1] * 30, "b": [None] * 30})
    assert found.schema.names == []
    assert len(found.to_json()["columns"]) == 2


def test_torch_is_never_loaded() -> None:
    code = (
        "import sys; from thalweg.data.profile import profile; "
        "from thalweg.core.progress import Silent; from thalweg.sources import open_source; "
        "profile(open_source({'a': [1, 2], 'b': ['x', 'y']}), 'b', {}, Silent()); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
