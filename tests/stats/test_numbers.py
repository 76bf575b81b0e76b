from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from thalweg.stats import NumberSummary
from thalweg.stats.numbers import count_decimals, distinct_numbers


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


@pytest.mark.parametrize(
    ("values", "counted"),
    [
        (np.round(np.random.default_rng(1).normal(size=70_000) * 10, 2), True),
        (np.random.default_rng(2).integers(-9, 999, 70_000) / 1.0, True),
        (np.array([-0.0, 0.0, 0.5, -0.5] * 100), True),
        (np.array([0.1, 0.2, 0.30000000000000004] * 100), False),  # no decimal of few places
        (np.append(np.ones(69_999), 0.1 + 0.2), False),
        (np.array([1e17, 1.0, 2.0]), False),  # beyond what is counted by address
        (np.array([0.01, 1e9]), False),
        (np.random.default_rng(3).normal(size=500), False),
    ],
)
def test_decimals_are_counted_without_sorting(values: NDArray[np.float64], counted: bool) -> None:
    expected = np.unique(values + 0.0, return_counts=True)
    found = count_decimals(values)
    assert (found is not None) == counted
    for numbers, counts in (found, distinct_numbers(values)) if found else ():
        assert numbers.tolist() == expected[0].tolist()
        assert counts.tolist() == expected[1].tolist()
        assert not np.signbit(numbers[numbers == 0]).any()
