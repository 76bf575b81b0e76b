from __future__ import annotations

import json
import math

import numpy as np
import pytest

from thalweg.stats import NumberSummary
from thalweg.stats.numbers import distinct_numbers


def _of(values: list[float]) -> NumberSummary:
    some = NumberSummary()
    some.update(np.array(values, dtype=np.float64))
    return some


def test_figures() -> None:
    some = _of([1.0, 2.0, 2.5, 6.5])
    assert (some.count, some.whole, some.minimum, some.maximum, some.mean) == (4, 2, 1, 6.5, 3)
    assert some.variance == pytest.approx(np.var([1, 2, 2.5, 6.5], ddof=1))
    assert some.deviation == pytest.approx(np.std([1, 2, 2.5, 6.5], ddof=1))
    assert some.quantile([0, 0.5, 1]).tolist() == [1, 2.25, 6.5]
    assert some.describe()["median"] == 2.25


def test_nothing_and_what_json_cannot_hold() -> None:
    empty = NumberSummary()
    assert empty.count == 0
    assert math.isnan(empty.mean)
    assert math.isnan(empty.minimum)
    assert empty.describe()["mean"] is None
    json.dumps(_of([1.7e308, -1.7e308]).describe(), allow_nan=False)


def test_distinct_numbers() -> None:
    for values in ([3.0, -0.0, 3.0, 0.0], [0.5, 3.0, 0.5], [2.0**60, -(2.0**60)], []):
        array = np.array(values, dtype=np.float64)
        expected = [part.tolist() for part in np.unique(array + 0.0, return_counts=True)]
        assert [part.tolist() for part in distinct_numbers(array)] == expected
        once = np.ones(len(array), dtype=np.int64)
        assert [part.tolist() for part in distinct_numbers(array, once)] == expected
        assert not np.signbit(distinct_numbers(np.array([-0.0, 0.5]))[0]).any()


def test_weights_are_repetitions() -> None:
    weighted = NumberSummary()
    weighted.update(np.array([2.5, -1.0]), np.array([3, 2]))
    assert weighted == _of([2.5, -1.0, 2.5, -1.0, 2.5])
    assert weighted.whole == 2
