from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stats import DistinctSample
from thalweg.stats.hashing import hash_values, mix

VALUES = st.lists(st.integers(0, 60), max_size=120)


def _of(values: list[int], capacity: int = 4096) -> DistinctSample:
    some = DistinctSample(capacity)
    array = pa.array([f"v{value}" for value in values], pa.string())
    some.update(hash_values(array), texts=array.take)
    return some


@given(VALUES, st.integers(0, 120), st.sampled_from([4, 16, 4096]))
def test_order_and_split_do_not_matter(values: list[int], cut: int, capacity: int) -> None:
    whole = _of(values, capacity)
    merged = _of(values[cut:][::-1], capacity)
    merged.merge(_of(values[:cut], capacity))
    assert merged.to_bytes() == whole.to_bytes()
    again = DistinctSample.from_bytes(whole.to_bytes())
    again.merge(DistinctSample(capacity))
    assert again == whole
    step = DistinctSample(capacity)
    for value in values:
        step.merge(_of([value], capacity))
    assert step == whole


@given(VALUES, st.sampled_from([4, 4096]))
def test_counts_of_the_sample_are_exact(values: list[int], capacity: int) -> None:
    some = _of(values, capacity)
    truth = {f"v{value}": values.count(value) for value in values}
    kept = dict(zip(some.texts(), some.counts().tolist(), strict=True))
    assert len(kept) == min(capacity, len(truth))
    assert all(truth[text] == count for text, count in kept.items())
    assert some.exact == (len(truth) <= capacity)
    if some.exact:
        assert some.estimate() == len(truth)
        assert some.error == 0


@pytest.mark.parametrize("distinct", [5_000, 100_000, 1_000_000])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_estimate_is_within_its_error(distinct: int, seed: int) -> None:
    values = mix(np.arange(distinct, dtype=np.uint64) + np.uint64(seed * 10**9))
    skewed = DistinctSample()
    skewed.update(values, np.where(np.arange(distinct) % 10, 1, 50))  # far from equally often
    even = DistinctSample()
    even.update(values)
    assert even.estimate() == distinct  # every value differs, so the sample says so exactly
    assert abs(skewed.estimate() / distinct - 1) < 4 * skewed.error
    assert 0.01 < skewed.error < 0.02


def test_the_sample_is_even_whatever_the_counts() -> None:
    values = np.arange(200_000)
    weights = np.where(values < 1000, 10_000, 1)
    some = DistinctSample()
    some.update(mix(values.astype(np.uint64)), weights)
    share = (some.counts() > 1).mean()
    assert share < 0.015  # 0.5% of the distinct values are heavy, though 98% of the rows


def test_two_texts_of_one_hash_leave_the_smaller() -> None:
    for texts in (["01", "1"], ["1", "01"]):
        some = DistinctSample()
        for text in texts:
            array = pa.array([text])
            some.update(hash_values(array), texts=array.take)
        assert some.texts() == ["01"]
        assert some.counts().tolist() == [2]


def test_long_texts_are_cut() -> None:
    array = pa.array(["é" * 5000])
    some = DistinctSample()
    some.update(hash_values(array), texts=array.take)
    assert some.texts() == ["é" * 1000]
    with pytest.raises(ValueError, match="capacities differ"):
        some.merge(DistinctSample(3))


def test_many_small_updates_are_one_large_one() -> None:
    random = np.random.default_rng(9)
    values = [int(value) for value in random.integers(0, 60_000, 40_000)]
    whole, parts = _of(values, 512), DistinctSample(512)
    for start in range(0, len(values), 250):
        array = pa.array([f"v{value}" for value in values[start : start + 250]])
        parts.update(hash_values(array), texts=array.take)
        if start % 10_000 == 0:
            assert len(parts) == min(512, parts.estimate())
    other = DistinctSample(512)
    other.merge(parts)
    assert parts == whole
    assert other == whole
    assert len(whole.texts()) == 512
