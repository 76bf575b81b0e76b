from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.errors import ArtifactError
from thalweg.data.features.order import Reorder
from thalweg.stats.moments import NO_TIME


def batch(numbers: list[int]) -> pa.RecordBatch:
    return pa.record_batch({"x": pa.array(numbers, pa.int64())})


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=12), st.integers(0, 10), st.data()
)
def test_any_rows_come_out_once_and_in_order_unless_they_are_late(
    batches: list[list[int]], lateness: int, data: st.DataObject
) -> None:
    order, newest, at = Reorder(lateness), 0, 0
    given: list[tuple[int, int]] = []
    found: list[tuple[int, int]] = []
    bound = -1
    for times in batches:
        numbers = list(range(at, at + len(times)))
        at += len(times)
        given += zip(times, numbers, strict=True)
        newest = max([newest, *times])
        if data.draw(st.booleans()):
            order = Reorder.from_state(order.state())
        rows, ready = order.take(batch(numbers), np.array(times, np.int64), newest - lateness)
        came = list(zip(ready.tolist(), rows.column("x").to_pylist(), strict=True))
        assert came == sorted(came), "of one moment the first to come is the first to go"
        assert all(when <= newest - lateness for when, _ in came) or not lateness
        assert all(when >= bound for when, number in came if number not in numbers)
        bound = newest - lateness
        found += came
    assert order.held == len(given) - len(found)
    assert order.held == 0 or lateness
    if (rest := order.flush()) is not None:
        last = list(zip(rest[1].tolist(), rest[0].column("x").to_pylist(), strict=True))
        assert last == sorted(last)
        found += last
    assert sorted(found) == sorted(given)
    assert order.flush() is None


def test_rows_without_a_time_are_not_held() -> None:
    order = Reorder(5)
    rows, times = order.take(batch([1, 2, 3]), np.array([9, NO_TIME, 2]), 4)
    assert (rows.column("x").to_pylist(), times.tolist()) == ([2, 3], [NO_TIME, 2])


def test_batches_of_other_columns_are_joined() -> None:
    order = Reorder(50)
    for at, rows in enumerate(
        [pa.record_batch({"x": [1]}), pa.record_batch({"x": ["a"], "y": [2.5]})]
    ):
        order.take(rows, np.array([100 + at]), 0)
    order = Reorder.from_state(order.state())
    rest = order.flush()
    assert rest is not None
    assert rest[0].to_pydict() == {"x": ["1", "a"], "y": [None, 2.5]}


def test_another_version_is_refused() -> None:
    state = Reorder(5).state()
    with pytest.raises(ArtifactError, match="held rows"):
        Reorder.from_state({"held": state["held"].replace_schema_metadata(None)})
