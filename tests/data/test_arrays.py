from __future__ import annotations

import numpy as np
import pytest

from thalweg.data.arrays import MOST_CLASSES, Arrays, target_columns


def _arrays(rows: int = 10, *, weights: bool = False) -> Arrays:
    row = np.arange(rows)
    features = {
        "number": {"values": row[:, None] * 2.0, "missing": np.zeros((rows, 1), np.uint8)},
        "category": {"codes": np.stack([row, row + 1], axis=1).astype(np.int8)},
    }
    return Arrays(features, {"code": row[:, None]}, row.astype(np.float32) if weights else None)


@pytest.mark.parametrize(
    "rows", [np.array([7, 2, 2]), np.arange(10) % 3 == 0, slice(3, 8), np.array([], np.int64)]
)
def test_take_keeps_fields_target_and_weights_together(rows: object) -> None:
    wanted = np.arange(10)[rows]  # type: ignore[index]
    some = _arrays(weights=True).take(rows)  # type: ignore[arg-type]
    assert len(some) == len(wanted)
    np.testing.assert_array_equal(some.features["number"]["values"][:, 0], wanted * 2.0)
    np.testing.assert_array_equal(some.features["category"]["codes"][:, 1], wanted + 1)
    np.testing.assert_array_equal(some.target["code"][:, 0], wanted)
    assert some.weights is not None
    np.testing.assert_array_equal(some.weights, wanted)


def test_join_undoes_a_cut() -> None:
    whole = _arrays()
    again = Arrays.join(
        [whole.take(slice(0, 3)), whole.take(slice(3, 3)), whole.take(slice(3, 10))]
    )
    assert len(again) == 10
    for kind, fields in whole.features.items():
        for name, array in fields.items():
            np.testing.assert_array_equal(again.features[kind][name], array)
            assert again.features[kind][name].dtype == array.dtype
    np.testing.assert_array_equal(again.target["code"], whole.target["code"])


def test_length_needs_no_target_and_no_features() -> None:
    assert len(Arrays({})) == 0
    assert len(Arrays({}, {"value": np.zeros((4, 1))})) == 4
    assert len(_arrays(5)) == 5


def test_other_weights_leave_the_rows_alone() -> None:
    whole = _arrays()
    weighted = whole.weighted(np.ones(10, np.float32))
    assert whole.weights is None
    assert weighted.weights is not None
    assert weighted.features is whole.features


def test_a_number_is_its_own_column() -> None:
    values = np.array([[1.5], [-2.0]], np.float32)
    np.testing.assert_array_equal(target_columns({"value": values}), values.astype(np.float64))


def test_only_the_commonest_classes_become_columns() -> None:
    code = np.repeat(np.arange(20), np.arange(20, 0, -1))[:, None]
    columns = target_columns({"code": code})
    assert columns.shape == (len(code), MOST_CLASSES)
    np.testing.assert_array_equal(columns.sum(axis=0), [20, 19, 18, 17, 16, 15, 14, 13])
