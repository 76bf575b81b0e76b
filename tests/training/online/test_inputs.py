"""Rows read for networks that learn record by record."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import ColumnError
from thalweg.data.infer import fit_schema
from thalweg.data.schema import Schema
from thalweg.stats import TableSummary
from thalweg.training.online import inputs as module
from thalweg.training.online.inputs import Reader

GIVEN = {
    "town": "category",
    "open": "boolean",
    "at": "datetime",
    "size": "number",
    "code": "category",
}


def table(rows: int = 200, seed: int = 0) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    towns = np.array(["Ulm", " Bonn", "Gera ", "?", "Hof"], object)
    days = np.datetime64("2024-01-01") + random.integers(0, 400, rows)
    return pa.record_batch(
        {
            "size": pa.array(random.normal(size=rows).round(3).astype(str).tolist()),
            "town": pa.array(random.choice(towns, rows).tolist()),
            "open": pa.array(random.choice(["yes", "no", "?"], rows).tolist()),
            "at": pa.array(days),
            "code": pa.array(random.integers(0, 30, rows).astype(float)),
        }
    )


def schema(rows: pa.RecordBatch | None = None, given: dict[str, str] | None = None) -> Schema:
    summary = TableSummary()
    summary.update(table() if rows is None else rows)
    return fit_schema(summary, given=GIVEN if given is None else given)


def test_numbers_are_raw_and_units_are_cleaned_values() -> None:
    rows = pa.record_batch(
        {
            "size": pa.array(["1.5", "?", "wide"]),
            "town": pa.array(["Ulm", " Ulm ", None]),
            "open": pa.array(["yes", "n/a", "Y"]),
            "at": pa.array(["2024-01-01", "soon", None]),
            "code": pa.array([1.0, 2.0, 1.0]),
        }
    )
    found = Reader(schema()).read(rows)
    assert found.numbers.shape == (3, 13)
    assert np.isnan(found.numbers[1:, 0]).all()
    assert found.numbers[0, 0] == 1.5
    assert np.isfinite(found.numbers[0, 1:]).all()
    assert np.isnan(found.numbers[1:, 1:]).all()
    assert found.units.tolist() == [[0, 1, 2], [0, -1, 3], [-1, 1, 2]]


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 200), max_size=8), limit=st.sampled_from([3, 20_000]))
def test_units_do_not_depend_on_batches(cuts: list[int], limit: int) -> None:
    rows = table()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_VALUES", limit)
        once = Reader(schema()).read(rows)
        reader = Reader(schema())
        edges = [0, *sorted(cuts), 200]
        parts = [reader.read(rows.slice(start, stop - start)) for start, stop in pairwise(edges)]
    assert np.concatenate([one.units for one in parts]).tolist() == once.units.tolist()
    numbers = np.concatenate([one.numbers for one in parts])
    assert numbers.tobytes() == once.numbers.tobytes()
    assert once.units.max() == len(np.unique(once.units[once.units >= 0])) - 1


def test_values_beyond_the_cap_share_one_unit() -> None:
    rows = table()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_VALUES", 5)
        found = Reader(schema()).read(rows)
    assert len(np.unique(found.units[:, 2])) == 6


def test_its_state_goes_on() -> None:
    rows = table()
    whole = Reader(schema())
    whole.read(rows.slice(0, 50))
    other = Reader.from_state(json.loads(json.dumps(whole.state())))
    one, two = whole.read(rows), other.read(rows)
    assert one.units.tolist() == two.units.tolist()
    assert one.numbers.tobytes() == two.numbers.tobytes()
    assert whole.state() == other.state()


def test_columns_that_are_not_there_are_missing() -> None:
    rows = table()
    reader = Reader(schema())
    full = reader.read(rows)
    found = reader.read(rows.select(["town"]))
    assert np.isnan(found.numbers).all()
    assert found.numbers.shape == full.numbers.shape
    assert found.units[:, 0].tolist() == full.units[:, 0].tolist()
    assert (found.units[:, 1:] == -1).all()
    fresh = Reader(schema()).read(rows.select(["town"]))
    assert fresh.numbers.shape == full.numbers.shape


def test_new_columns_come_at_the_right() -> None:
    rows = table()
    small = schema(rows.select(["size", "town"]), {"size": "number", "town": "category"})
    reader = Reader(small)
    before = reader.read(rows)
    reader.grow(schema().columns)
    after = reader.read(rows)
    assert after.numbers[:, :1].tobytes() == before.numbers.tobytes()
    assert after.units[:, :1].tolist() == before.units.tolist()
    assert after.numbers.shape[1] == 13
    assert after.units.shape[1] == 3
    assert [column.name for column in reader.schema.columns][:2] == ["size", "town"]


def test_further_numbers_stand_first_and_stay_as_many() -> None:
    rows = table(5)
    reader = Reader(schema())
    extra: Any = np.arange(10.0).reshape(5, 2)
    found = reader.read(rows, extra)
    assert (found.numbers[:, :2] == extra).all()
    assert found.numbers.shape == (5, 15)
    with pytest.raises(ColumnError):
        reader.read(rows)


def test_rows_of_any_form() -> None:
    rows = table(40)
    one, two = Reader(schema()), Reader(schema())
    chunked = pa.Table.from_batches([rows.slice(0, 10), rows.slice(10)])
    assert one.read(chunked).units.tolist() == two.read(rows).units.tolist()
    assert len(one.read(rows.slice(0, 0))) == 0
