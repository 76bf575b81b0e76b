"""The schema encodes one row, a batch, a shuffled file and every format with equal bits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from thalweg.core.errors import ArtifactError, ColumnError
from thalweg.data.infer import fit_schema
from thalweg.data.schema import Column, Rows, Schema
from thalweg.sources import open_source
from thalweg.stats import TableSummary

ROWS = 400


def table(rows: int = ROWS) -> pa.Table:
    random = np.random.default_rng(0)
    town = random.choice(["Ulm", "Bonn", " Celle", "?", "Köln, am Rhein"], rows)
    return pa.table(
        {
            "amount": pa.array(random.lognormal(3, 1, rows), mask=random.random(rows) < 0.1),
            "count": pa.array(random.integers(0, 90, rows), mask=random.random(rows) < 0.1),
            "town": pa.array(town, mask=random.random(rows) < 0.1),
            "member": pa.array(random.random(rows) < 0.3, mask=random.random(rows) < 0.1),
            "since": pa.array(
                np.datetime64("2020-01-01T00:00:00", "s") + random.integers(0, 9**8, rows),
                pa.timestamp("s"),
            ),
            "price": random.normal(size=rows),
        }
    )


def fitted(rows: pa.Table) -> Schema:
    summary = TableSummary()
    summary.update(rows)
    return fit_schema(summary, "price", {"town": "category,rare=1"})


def fields(rows: Rows) -> dict[str, np.ndarray[Any, Any]]:
    found = {f"{k}/{n}": a for k, fs in rows.fields.items() for n, a in fs.items()}
    return {**found, "dropped": rows.dropped, "unreadable": rows.unreadable}


def same(one: Mapping[str, Any], other: Mapping[str, Any], order: Any = slice(None)) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name][order].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name][order], other[name], err_msg=name)


def test_every_kind_is_there() -> None:
    schema = fitted(table())
    assert set(schema.by_kind()) == {"number", "category", "boolean", "datetime"}
    assert schema.task == "regression"


def test_one_row_is_a_batch_is_a_shuffled_batch() -> None:
    rows = table()
    schema = fitted(rows)
    whole = fields(schema.encode(rows))
    order = np.random.default_rng(1).permutation(ROWS)
    same(whole, fields(schema.encode(rows.take(pa.array(order)))), order)
    for row in range(50):
        same(whole, fields(schema.encode(rows.slice(row, 1))), slice(row, row + 1))
    for start in range(0, ROWS, 77):
        same(whole, fields(schema.encode(rows.slice(start, 77))), slice(start, start + 77))


def test_chunks_columns_beside_and_their_order_make_no_difference() -> None:
    rows = table()
    schema = fitted(rows)
    cut = pa.concat_tables([rows.slice(0, 7), rows.slice(7, 0), rows.slice(7)])
    turned = cut.append_column("beside", pa.array(["x"] * ROWS)).select(
        ["beside", *reversed(rows.schema.names)]
    )
    same(fields(schema.encode(rows)), fields(schema.encode(turned)))


def test_chunks_with_dictionaries_of_their_own_are_one_column() -> None:
    rows = table()
    schema = fitted(rows)
    town = rows["town"].combine_chunks()
    pieces = [town.slice(0, 90).dictionary_encode(), town.slice(90).dictionary_encode()]
    assert not pieces[0].dictionary.equals(pieces[1].dictionary)
    coded = rows.set_column(2, "town", pa.chunked_array(pieces))
    same(fields(schema.encode(rows)), fields(schema.encode(coded)))


def test_threads_encode_as_one_does() -> None:
    rows = table(3_000)
    schema = fitted(rows)
    batches = rows.to_batches(max_chunksize=100)
    # A schema of its own, so that what states work out once is worked out by all at the same time.
    fresh = Schema.from_json(schema.to_json())
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(fresh.encode, batches))
    for batch, one in zip(batches, found, strict=True):
        same(fields(schema.encode(batch)), fields(one))


@pytest.mark.parametrize("form", ["csv", "parquet", "ndjson", "pandas", "polars", "categories"])
def test_every_format_is_encoded_alike(form: str, tmp_path: Path) -> None:
    rows = table()
    given: Any = tmp_path / f"rows.{form}"
    match form:
        case "csv":
            pl.from_arrow(rows).write_csv(given)  # type: ignore[union-attr]
        case "parquet":
            pl.from_arrow(rows).write_parquet(given)  # type: ignore[union-attr]
        case "ndjson":
            pl.from_arrow(rows).write_ndjson(given)  # type: ignore[union-attr]
        case "pandas":
            given = rows.to_pandas()
            assert isinstance(given, pd.DataFrame)
        case "polars":
            given = pl.from_arrow(rows)
        case _:
            given = rows.set_column(2, "town", pc.dictionary_encode(rows["town"]))
    schema = fitted(rows)
    found = [schema.encode(batch.rows) for batch in open_source(given).batches(size=64)]
    joined = {
        name: np.concatenate([fields(one)[name] for one in found]) for name in fields(found[0])
    }
    same(fields(schema.encode(rows)), joined)


def test_no_rows_are_encoded_to_no_rows() -> None:
    rows = table()
    encoded = fitted(rows).encode(rows.slice(0, 0))
    assert len(encoded.dropped) == 0
    assert {len(array) for array in fields(encoded).values()} == {0}


def test_it_survives_json() -> None:
    rows = table()
    schema = fitted(rows)
    again = Schema.from_json(json.loads(json.dumps(schema.to_json(), allow_nan=False)))
    assert again == schema
    same(fields(schema.encode(rows)), fields(again.encode(rows)))


def test_another_version_is_refused() -> None:
    with pytest.raises(ArtifactError, match="format is 99"):
        Schema.from_json({**fitted(table()).to_json(), "format": 99})


def test_an_unknown_kind_is_refused() -> None:
    facts = fitted(table()).columns[0].to_json()
    with pytest.raises(ArtifactError, match=r"'smell'.*another version"):
        Column.from_json({**facts, "kind": "smell"})


def test_missing_columns_are_all_named_with_near_names() -> None:
    rows = table()
    renamed = rows.rename_columns(["amout", "count", "twon", "member", "since", "price"])
    with pytest.raises(ColumnError, match=r"'amount', 'town' not found.*'amout'"):
        fitted(rows).encode(renamed)


def test_a_column_that_is_there_twice_is_refused() -> None:
    rows = table(3)
    twice = pa.table([*rows.columns, rows["town"]], names=[*rows.schema.names, "town"])
    with pytest.raises(ColumnError, match="'town' is the name of several"):
        fitted(table()).encode(twice)


@pytest.mark.parametrize("cells", [[[1.0]] * 3, [{"a": 1}] * 3])
def test_nested_cells_name_their_column(cells: list[Any]) -> None:
    rows = table(3)
    with pytest.raises(ColumnError, match="'amount'"):
        fitted(table()).encode(rows.set_column(0, "amount", pa.array(cells)))


def test_unreadable_cells_are_counted_by_row() -> None:
    rows = table(3)
    odd = rows.set_column(0, "amount", pa.array(["12.5", "twelve", "?"]))
    assert fitted(table()).encode(odd).unreadable.tolist() == [0, 1, 0]


def test_a_target_is_encoded_apart() -> None:
    rows = table()
    schema = fitted(rows)
    holes = rows.set_column(5, "price", pa.array([None, float("nan"), 1.0, *[0.0] * (ROWS - 3)]))
    assert schema.encode_target(holes).dropped[:3].tolist() == [True, True, False]
    with pytest.raises(ColumnError, match="'price' not found"):
        schema.encode_target(rows.drop_columns(["price"]))
    with pytest.raises(ColumnError, match="no target"):
        Schema(schema.columns).encode_target(rows)


@pytest.mark.parametrize("kind", ["floats", "texts"])
def test_filling_along_a_curve_looks_at_one_row_at_a_time(kind: str) -> None:
    random = np.random.default_rng(0)
    hour = random.uniform(0, 24, 200)
    heat: list[Any] = (hour * 2).tolist()
    heat[3:9] = [None, float("inf"), float("nan"), None, None, -float("inf")]
    if kind == "texts":
        heat = [None if x is None else str(x) for x in heat]
        heat[4:9] = ["hot", "?", None, " 7.5 ", ""]
    places: list[Any] = hour.tolist()
    places[6:9] = [None, None, None]
    rows = pa.table({"hour": places, "heat": heat, "price": random.normal(size=200)})
    from thalweg.core.progress import Silent
    from thalweg.data.parts import Wishes
    from thalweg.data.prepare import prepare
    from thalweg.data.split import Split

    for options in ("", ",outliers=flag"):
        wishes = Wishes("price", {"heat": f"number,missing=interpolate,along=hour{options}"})
        schema = prepare(open_source(rows), wishes, Split(), None, Silent()).schema
        assert schema.curves
        whole = fields(schema.encode(rows))
        # What is there and cannot be read is no gap; an infinite value that is clipped is read.
        assert whole["unreadable"][4] == (kind == "texts" or bool(options))
        for row in range(20):
            same(whole, fields(schema.encode(rows.slice(row, 1))), slice(row, row + 1))
