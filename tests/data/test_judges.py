from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from thalweg.core.errors import ColumnError, SourceError
from thalweg.core.progress import Silent
from thalweg.data import passes
from thalweg.data.infer import fit_schema
from thalweg.data.judges import Judges, read_judges
from thalweg.data.schema import NO_TARGET, Schema
from thalweg.data.split import TEST
from thalweg.sources import open_source
from thalweg.stats import TableSummary

ROWS = 2_000


def table(seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "x": random.normal(size=ROWS),
            "town": random.choice(["Ulm", "Bonn"], ROWS),
            "unused": np.arange(ROWS),
            "y": random.choice(["yes", "no"], ROWS),
        }
    )


def schema() -> Schema:
    summary = TableSummary()
    summary.update(table().combine_chunks())
    return fit_schema(summary, "y", drop=["unused"])


def judges(rows: Any, **words: Any) -> Judges:
    return read_judges(open_source(rows), schema(), Silent(), stage="read", **words)


def test_all_rows_of_a_small_table_judge() -> None:
    found = judges(table())
    assert found.rows == len(found.part.arrays) == ROWS
    assert found.part.raw is not None
    assert found.part.raw.column_names == ["y", "x", "town"]
    assert not len(found.part.hashes)


@pytest.mark.parametrize("form", ["table", "csv"])
def test_of_a_large_table_a_fair_sample_judges(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(passes.MOST_JUDGES, TEST, 500)
    given: Any = table()
    if form == "csv":
        given = tmp_path / "rows.csv"
        pyarrow.csv.write_csv(table(), given)
    found = judges(given)
    assert found.rows == ROWS
    assert len(found.part.arrays) == pytest.approx(500, rel=0.2)


def test_rows_without_a_target_are_counted() -> None:
    cells = table()["y"].to_pylist()
    cells[:30] = [None] * 30
    found = judges(table().set_column(3, "y", pa.array(cells)))
    assert found.left_out[NO_TARGET] == 30
    assert len(found.part.arrays) == ROWS - 30


def test_hashes_are_of_the_columns_asked_for() -> None:
    whole, some = judges(table(), hashed=["x", "y", "gone"]), judges(table(), hashed=["town"])
    assert len(np.unique(whole.part.hashes)) == ROWS
    assert len(np.unique(some.part.hashes)) == 2


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ColumnError, match="town"):
        judges(table().drop_columns(["town"]))


def test_no_rows() -> None:
    with pytest.raises(SourceError, match="has no rows"):
        judges(table().slice(0, 0))
