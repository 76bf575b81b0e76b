from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.stats import AdaptiveHistogram
from thalweg.stats.histogram import _count_coarsely, ordered_keys, values_of

SHARES = np.concatenate([np.linspace(0, 1, 101), [0.001, 0.999]])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DRAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "log-normal": lambda rng, n: rng.lognormal(0, 3, n),
    "far from zero": lambda rng, n: 1e9 + rng.normal(size=n),
    "both signs, heavy tails": lambda rng, n: rng.standard_cauchy(n) ** 3,
    "whole": lambda rng, n: rng.integers(-500, 500, n).astype(float),
    "spike": lambda rng, n: np.where(rng.random(n) < 0.7, 0.0, rng.normal(size=n)),
    "any bits": lambda rng, n: np.ldexp(rng.random(n) - 0.5, rng.integers(-1000, 1000, n)),
}


def _of(values: NDArray[np.float64], capacity: int = 8192) -> AdaptiveHistogram:
    some = AdaptiveHistogram(capacity)
    some.update(np.asarray(values, dtype=np.float64))
    return some


@given(st.lists(FLOATS, min_size=1, max_size=50))
def test_keys_sort_as_numbers_and_come_back(values: list[float]) -> None:
    array = np.array(values)
    keys = ordered_keys(array)
    assert (np.sort(array) == array[np.argsort(keys, kind="stable")]).all()
    assert (values_of(keys) == array).all()


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("capacity", [256, 8192])
def test_quantiles_are_within_the_stated_error(name: str, capacity: int) -> None:
    values = DRAWS[name](np.random.default_rng(3), 50_001)
    some = _of(values, capacity)
    expected, found = np.quantile(values, SHARES), some.quantile(SHARES)
    error = some.error(SHARES)
    slack = 1e-12 * np.abs(expected)
    assert (np.abs(found - expected) <= error + slack).all()
    assert len(some.buckets()[2]) <= capacity
    # The promise about the relative width: no bucket is wider than its part of the magnitude.
    low, high, counts = some.buckets()
    assert counts.sum() == len(values)
    magnitude = np.minimum(np.abs(low), np.abs(high))
    normal = (magnitude > 1e-300) & (np.sign(low) == np.sign(high))
    if some.level <= 52:
        assert ((high - low)[normal] <= 2.0 ** (some.level - 52) * magnitude[normal]).all()


@given(st.lists(FLOATS, min_size=1, max_size=60))
def test_few_values_are_exact(values: list[float]) -> None:
    some = _of(np.array(values))
    distinct, counts = np.unique(np.array(values) + 0.0, return_counts=True)
    assert some.exact
    assert some.value_counts()[0].tolist() == distinct.tolist()
    assert some.value_counts()[1].tolist() == counts.tolist()
    assert some.minimum == distinct[0]
    assert some.maximum == distinct[-1]
    assert (some.error(SHARES) == 0).all()
    bounded = np.array(values) / 4  # np.quantile overflows where values are near the largest
    assert _of(bounded).quantile(SHARES) == pytest.approx(
        np.quantile(bounded, SHARES), rel=1e-12, abs=1e-15 * np.abs(bounded).max()
    )


@settings(max_examples=60)
@given(
    st.lists(FLOATS, max_size=80),
    st.lists(st.integers(0, 3), min_size=80, max_size=80),
    st.permutations(range(4)),
)
def test_level_and_counts_do_not_depend_on_order_or_split(
    values: list[float], parts: list[int], order: list[int]
) -> None:
    array = np.array(values)
    whole = _of(array, 8).to_bytes()
    owner = np.array(parts[: len(values)])
    merged = AdaptiveHistogram(8)
    for part in order:
        merged.merge(_of(array[owner == part][::-1], 8))
    assert merged.to_bytes() == whole
    one_by_one = AdaptiveHistogram(8)
    for value in values:
        one_by_one.update(np.array([value]))
    assert one_by_one == merged
    weighted = AdaptiveHistogram(8)
    weighted.update(*np.unique(array + 0.0, return_counts=True))
    assert weighted == merged


def test_large_batches_equal_small_ones() -> None:
    values = np.random.default_rng(5).lognormal(2, 1, 200_000)
    small = AdaptiveHistogram(1024)
    for part in np.array_split(values[::-1], 97):
        small.update(part)
    assert small == _of(values, 1024)
    assert small.coarse


def test_merging_leaves_the_other_as_it_was() -> None:
    one, other = _of(np.arange(5.0)), _of(np.arange(3.0))
    before = other.to_bytes()
    one.merge(other)
    assert other.to_bytes() == before
    twin = one.copy()
    twin.update(np.array([9.0]))
    assert one.maximum == 4
    with pytest.raises(ValueError, match="capacities differ"):
        one.merge(AdaptiveHistogram(3))


@pytest.mark.parametrize("name", DRAWS)
def test_the_share_below_a_value(name: str) -> None:
    values = DRAWS[name](np.random.default_rng(4), 20_000)
    some = _of(values, 512)
    at = np.quantile(values, [0.1, 0.5, 0.9])
    low = (values[:, None] < at - some.error([0.1, 0.5, 0.9])).mean(axis=0)
    high = (values[:, None] <= at + some.error([0.1, 0.5, 0.9])).mean(axis=0)
    found = some.cdf(at)
    assert (low - 1e-9 <= found).all()
    assert (found <= high + 1e-9).all()
    assert some.cdf([values.min() - 1, values.max()]).tolist() == [0, 1]


def test_bins_hold_every_value() -> None:
    edges, counts = _of(np.arange(101.0)).bins(10)
    assert edges.tolist() == np.linspace(0, 100, 11).tolist()
    assert counts.tolist() == pytest.approx([11, *[10] * 9])
    edges, counts = _of(np.full(7, 2.0)).bins(4)
    assert counts.sum() == pytest.approx(7)
    assert AdaptiveHistogram().bins(3)[1].tolist() == [0, 0, 0]
    huge = _of(np.array([-1.7e308, 1.7e308])).bins(4)
    assert np.isfinite(huge[0]).all()


def test_a_spike_does_not_hide_the_rest() -> None:
    some = _of(np.concatenate([np.zeros(10_000), np.arange(1.0, 101.0)]))
    assert some.quantile([0.25, 0.75]).tolist() == [0, 0]
    assert some.distinct_quantile([0, 0.5, 1]).tolist() == [0, 50, 100]


def test_nothing() -> None:
    some = AdaptiveHistogram()
    assert np.isnan(some.quantile([0.5])).all()
    assert np.isnan(some.cdf([0.5])).all()
    assert np.isnan(some.error(0.5))
    assert np.isnan(some.minimum)
    assert some.count == 0
    with pytest.raises(ValueError, match="more than 2 distinct"):
        _of(np.arange(3.0), 2).value_counts()


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("zeros", [0, 300])
def test_counting_by_address_is_counting_by_sorting(name: str, zeros: int) -> None:
    random = np.random.default_rng(6)
    values = DRAWS[name](random, 70_000)
    values[random.integers(0, len(values), zeros)] = random.choice([0.0, -0.0], zeros)
    fine = np.where(np.arange(len(values)) % 9, values, np.abs(values) * 1e-300)
    for array in (values, -np.abs(values), fine, np.zeros(9)):
        for level in (30, 44, 50, 52, 55, 62):
            keys = ordered_keys(array) >> level
            counted = _count_coarsely(array, level)
            distinct, counts = np.unique(keys, return_counts=True)
            if counted is None:
                assert distinct[-1] - distinct[0] > 60_000
                continue
            assert counted[0].tolist() == distinct.tolist()
            assert counted[1].tolist() == counts.tolist()
