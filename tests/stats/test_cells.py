"""Cells in full: the same ones however the column was split, as many as the bytes hold."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stats import ColumnSummary
from thalweg.stats.cells import CellSample
from thalweg.stats.hashing import hash_values

CELLS = st.lists(st.binary(max_size=9), max_size=60)


def _sample(cells: list[bytes], most_bytes: int = 40) -> CellSample:
    some, array = CellSample(20, most_bytes), pa.array(cells, pa.large_binary())
    some.update(hash_values(array), array)
    return some


@given(CELLS, st.integers(0, 60), st.booleans())
def test_any_split_in_any_order_keeps_the_same_cells(
    cells: list[bytes], cut: int, swapped: bool
) -> None:
    whole = _sample(cells)
    parts = [_sample(cells[:cut]), _sample(cells[cut:])]
    first, second = reversed(parts) if swapped else parts
    first.merge(second)
    assert first == whole
    assert CellSample.from_bytes(first.to_bytes()) == whole
    assert set(whole.cells().to_pylist()) <= set(cells)


def test_one_cell_is_kept_however_large_it_is() -> None:
    assert _sample([b"x" * 1000], most_bytes=3).cells().to_pylist() == [b"x" * 1000]


def test_as_many_cells_as_the_bytes_hold() -> None:
    cells = [bytes([65 + letter]) * 10 for letter in range(26)]
    assert len(_sample(cells, most_bytes=40).cells()) == 4
    assert len(_sample(cells, most_bytes=10_000).cells()) == 20


def test_texts_come_as_text_and_bytes_as_bytes() -> None:
    texts, raw = ColumnSummary(), ColumnSummary()
    texts.update(pa.array(["好吃", " late ", None]))
    raw.update(pa.array([b"\xff\xd8", None, b"\xff\xd8"]))
    assert sorted(texts.cells().to_pylist()) == ["late", "好吃"]
    assert raw.cells().to_pylist() == [b"\xff\xd8"]


def test_lists_are_summed_up_by_size_and_items() -> None:
    lists = pa.array([["a", "b"], ["a"], [], None])
    for array in (lists, lists.slice(0, 4), pa.chunked_array([lists])):
        some = ColumnSummary()
        some.update(array)
        assert some.nulls == 1
        assert (some.sizes.count, some.sizes.maximum) == (3, 2)
        assert some.items.top() == [("a", 2), ("b", 1)]
        again = ColumnSummary.from_bytes(some.to_bytes())
        assert again.items.top() == some.items.top()
        again.merge(some)
        assert again.items.top() == [("a", 4), ("b", 2)]


def test_vectors_are_lists_of_one_size() -> None:
    some = ColumnSummary()
    some.update(pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6.0)), 3))
    assert (some.sizes.minimum, some.sizes.maximum) == (3, 3)
    assert some.items.numbers.mean == 2.5
