from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from thalweg.core.errors import ColumnError, OptionError
from thalweg.core.progress import Silent
from thalweg.data.interpolate import Curve, fit_curves
from thalweg.data.parts import Wishes
from thalweg.data.prepare import prepare
from thalweg.data.schema import Schema
from thalweg.data.split import Split
from thalweg.sources import open_source
from thalweg.stats import TableSummary


def _table(rows: int = 3000) -> pa.Table:
    random = np.random.default_rng(0)
    hour = random.uniform(0, 24, rows)
    heat = 20 - 8 * np.cos(hour / 24 * 2 * np.pi)
    gaps = random.random(rows) < 0.2
    y = heat + random.normal(size=rows)
    return pa.table({"hour": hour, "heat": pa.array(heat, mask=gaps), "y": y})


def _curve(batches: list[pa.RecordBatch]) -> Curve:
    summary = TableSummary()
    for batch in batches:
        summary.update(batch)
    return fit_curves({"heat": "hour"}, summary, batches)[0]


def test_gaps_are_filled_from_the_curve() -> None:
    table = _table()
    filled = _curve(table.to_batches()).fill(
        table["heat"].combine_chunks(), table["hour"].combine_chunks()
    )
    truth = 20 - 8 * np.cos(table["hour"].to_numpy() / 24 * 2 * np.pi)
    assert filled.null_count == 0
    np.testing.assert_allclose(filled.to_numpy(), truth, atol=0.2)


@pytest.mark.parametrize("parts", [1, 7, 50])
def test_any_cut_and_order_gives_the_same_curve(parts: int) -> None:
    table = _table()
    size = -(-len(table) // parts)
    batches = table.to_batches(max_chunksize=size)[::-1]
    assert _curve(batches) == _curve(table.to_batches())


def test_one_row_is_filled_like_many() -> None:
    table = _table(200)
    curve = _curve(table.to_batches())
    whole = curve.fill(table["heat"].combine_chunks(), table["hour"].combine_chunks()).to_pylist()
    alone = [
        curve.fill(row["heat"].combine_chunks(), row["hour"].combine_chunks())[0].as_py()
        for row in (table.slice(index, 1) for index in range(200))
    ]
    assert alone == whole


def test_dates_give_an_order_too() -> None:
    days = pa.array(np.arange(100).astype("datetime64[D]"))
    rows = pa.record_batch({"hour": days, "heat": pa.array([float(d) for d in range(100)])})
    filled = _curve([rows]).fill(pa.array([None], pa.float64()), days.slice(50, 1))
    assert filled[0].as_py() == pytest.approx(50, abs=1)


def test_the_schema_fills_and_survives_json() -> None:
    columns = {"heat": "number,missing=interpolate,along=hour"}
    prepared = prepare(open_source(_table()), Wishes("y", columns), Split(), None, Silent())
    schema = prepared.schema
    assert schema.curves[0].along == "hour"
    assert not prepared.train.arrays.features["number"]["missing"].any()
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())))
    assert again == schema


def test_a_column_without_order_is_refused() -> None:
    rows = pa.record_batch({"hour": ["a", "b"], "heat": [1.0, 2.0]})
    with pytest.raises(ColumnError, match="'hour' gives no order"):
        _curve([rows])


def test_the_column_to_go_along_must_be_said() -> None:
    columns = {"heat": "number,missing=interpolate"}
    with pytest.raises(OptionError, match="along=COLUMN"):
        prepare(open_source(_table()), Wishes("y", columns), Split(), None, Silent())
