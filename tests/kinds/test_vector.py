from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import ColumnError, TargetError
from thalweg.kinds.base import Encoded
from thalweg.kinds.check import fit, summarise
from thalweg.kinds.evidence import same
from thalweg.kinds.vector import Vector, VectorOptions, VectorState

VECTOR = Vector()
STATE = VectorState(size=3, mean=0.0, scale=1.0)


def encoded(cells: pa.Array, state: VectorState = STATE) -> Encoded:
    return VECTOR.encode([cells], [state])


def test_a_column_is_scaled_as_a_whole() -> None:
    numbers = np.random.default_rng(0).normal(50, 7, (2_000, 4))
    cells = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), 4)
    state = fit(VECTOR, cells)
    found = encoded(cells, state).fields["vectors"]
    assert (found.shape, found.dtype) == ((2_000, 1, 4), np.float32)
    assert abs(float(found.mean())) < 1e-3
    assert abs(float(found.std()) - 1) < 1e-3


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([[1, 2, 3]], pa.list_(pa.int8())),
        pa.array([[1, 2, 3]], pa.large_list(pa.float32())),
        pa.array([[1, 2, 3]], pa.list_(pa.float64(), 3)),
        pa.array([[1, 2, 3]], pa.list_view(pa.float64())),
        pa.array([["1", "2.0", " 3"]]),
        pa.array(["[1, 2, 3]"]),
        pa.array(["1;2;3"]),
        pa.array(["[1. 2.\n 3.]"], pa.large_string()),
    ],
)
def test_one_vector_is_read_alike_however_it_is_written(cells: pa.Array) -> None:
    assert encoded(cells).fields["vectors"].tolist() == [[[1.0, 2.0, 3.0]]]


def test_other_lengths_are_unreadable_and_missing_numbers_are_the_mean() -> None:
    cells = pa.array(
        [[1, 2], [1, 2, 3, 4], [], None, [None, None, None], [1, None, 3], [np.inf, np.nan, 5]],
        pa.list_(pa.float64()),
    )
    found = encoded(cells)
    assert found.fields["missing"][:, 0].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert found.unreadable[:, 0].tolist() == [True, True, True, False, True, False, False]
    assert found.fields["vectors"][5:, 0].tolist() == [[1, 0, 3], [0, 0, 5]]
    assert not found.fields["vectors"][:5].any()
    assert not found.dropped.any()


def test_views_of_lists_are_lists() -> None:
    rows = [[1.0, 2, 3], None, [4.0], [5.0, 6, 7]]
    views = pa.array(rows, pa.list_view(pa.float64())).slice(1)
    plain = pa.array(rows).slice(1)
    same(encoded(views), encoded(plain), VECTOR, "a view")


def test_texts_that_say_no_vector_are_unreadable_unless_they_mean_missing() -> None:
    found = encoded(pa.array(["[1,2,3]", "n/a", "", None, "a, b, c", "[1,2"]))
    assert found.fields["missing"][:, 0].tolist() == [0, 1, 1, 1, 1, 1]
    assert found.unreadable[:, 0].tolist() == [False, False, False, False, True, True]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.none() | st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), max_size=8
    ),
    st.integers(0, 5),
)
def test_any_vectors_come_back_and_slices_do_too(
    rows: list[list[float] | None], start: int
) -> None:
    state = VectorState(size=3, mean=2.0, scale=4.0)
    cells = pa.array(rows, pa.list_(pa.float64())).slice(start)
    back = VECTOR.restore(encoded(cells, state), 0, state).to_pylist()
    for given_row, found in zip(rows[start:], back, strict=True):
        assert (given_row is None) == (found is None)
        assert given_row is None or np.allclose(given_row, found, rtol=1e-5, atol=1e-5)


def test_what_is_fitted_follows_from_most_lists_or_from_texts_that_say_them() -> None:
    lists = pa.array([[1.0, 2, 3]] * 20 + [[1.0]] + [None])
    assert fit(VECTOR, lists).size == 3
    texts = pa.array(["[1, 5]", "[3, 7]", None, "n/a"])
    state = fit(VECTOR, texts)
    assert (state.size, state.mean) == (2, 4.0)
    assert VECTOR.fit(summarise([lists]), VectorOptions(size=5), "feature").size == 5


def test_vectors_too_long_to_keep_are_refused() -> None:
    with pytest.raises(ColumnError, match="at most 65,536"):
        fit(VECTOR, pa.array([[0.5] * 70_000]))


@pytest.mark.parametrize(
    ("cells", "score"),
    [
        (pa.array([[0.5, 1.5], [2.5, 3.5], None]), 0.9),
        (pa.array([[1, 2], [3, 4]]), 0.7),
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)), 0.9),
        (pa.array([[0.5, 1.5], [2.5]]), 0),
        (pa.array([["a", "b"], ["c", "d"]]), 0),
        (pa.array(["[1, 2]", "[3, 4]"]), 0),
        (pa.array([[], []], pa.list_(pa.float64())), 0),
        (pa.nulls(3), 0),
    ],
)
def test_lists_of_numbers_of_one_length_are_recognised(cells: pa.Array, score: float) -> None:
    assert VECTOR.sniff(summarise([cells])) == score


def test_records_lists_of_lists_and_targets_are_refused() -> None:
    for cells in (pa.array([{"a": 1}]), pa.array([[[1.0]]])):
        with pytest.raises(ColumnError, match="a list of numbers"):
            encoded(cells)
    with pytest.raises(TargetError, match="not predicted"):
        fit(VECTOR, pa.array([[1.0, 2]]), "target")


def test_the_network_standardises_each_place_by_training_rows() -> None:
    import torch

    random = np.random.default_rng(0)
    numbers = random.normal([0, 100, 7], [1e-3, 50, 0], (500, 3))
    cells = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), 3)
    state = fit(VECTOR, cells)
    fields = encoded(cells, state).fields
    encoder = VECTOR.encoder([state], 4)
    encoder.prepare(fields, np.zeros((500, 1)))
    seen = (torch.from_numpy(fields["vectors"]) - encoder.mean) * encoder.scale
    assert seen.std(dim=0)[0, :2].tolist() == pytest.approx([1, 1], rel=0.1)
    assert seen[:, 0, 2].abs().max() < 1e-3


def test_a_missing_vector_has_tokens_of_nought_that_fusion_can_leave_out() -> None:
    import torch

    fields = {
        k: torch.from_numpy(v) for k, v in encoded(pa.array([[1.0, 2, 3], None])).fields.items()
    }
    encoder = VECTOR.encoder([STATE], 4)
    tokens = encoder(fields)
    assert encoder.present(fields).tolist() == [[True], [False]]
    assert tokens[0].abs().sum() > 0
    assert not tokens[1].any()
