from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.stats import ColumnSummary, TableSummary


def _table(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "id": np.arange(rows),
            "price": rng.normal(size=rows),
            "kind": pa.array([["a", "b", None][at] for at in rng.integers(0, 3, rows)]),
        }
    )


def _of(*parts: pa.Table) -> TableSummary:
    some = TableSummary()
    for part in parts:
        some.update(part)
    return some


@settings(max_examples=15)
@given(st.integers(0, 40), st.integers(0, 10**6), st.permutations(range(3)))
def test_any_split_gives_equal_bits(rows: int, seed: int, order: list[int]) -> None:
    table = _table(rows, seed)
    whole = _of(table)
    cuts = [table.slice(0, 7), table.slice(7, 10), table.slice(17)]
    merged = TableSummary()
    for part in order:
        merged.merge(_of(cuts[part]))
    assert merged == whole
    assert TableSummary.from_bytes(whole.to_bytes()) == whole
    assert _of(*(batch for batch in table.to_batches(max_chunksize=5)), table[:0]) == whole


def test_columns_keep_their_order() -> None:
    some = _of(_table(5, 1))
    assert list(some.columns) == ["id", "price", "kind"]
    assert some.rows == 5
    assert some.columns["id"] == _column(pa.array(range(5)))
    twin = some.copy()
    twin.update(_table(3, 2).to_batches()[0])
    assert (some.rows, twin.rows) == (5, 8)


def _column(array: pa.Array) -> ColumnSummary:
    column = ColumnSummary()
    column.update(array)
    return column


def test_duplicate_rows() -> None:
    table = _table(1000, 3)
    assert _of(table).duplicates() == 0
    assert _of(table, table.slice(0, 100)).duplicates() == 100
    large = _table(50_000, 4)
    assert _of(large).duplicates() == 0  # all different, and no estimate says otherwise
    twice = _of(large, large.slice(0, 10_000)).duplicates()
    assert twice == pytest.approx(10_000, rel=0.15)


def test_later_batches_may_bring_other_columns() -> None:
    some = _of(pa.table({"a": [1]}), pa.table({"a": [1], "b": [2]}))
    assert {name: column.rows for name, column in some.columns.items()} == {"a": 2, "b": 1}
