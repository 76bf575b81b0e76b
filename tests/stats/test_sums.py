from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stats import ExactSum

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LISTS = st.lists(FLOATS | st.sampled_from([5e-324, -5e-324, 0.0, -0.0, 1.7e308]), max_size=40)


def _sum(values: list[float], weights: list[int] | None = None) -> ExactSum:
    some = ExactSum()
    counts = None if weights is None else np.array(weights, dtype=np.int64)
    some.update(np.array(values, dtype=np.float64), counts)
    return some


@given(LISTS)
def test_it_is_exact(values: list[float]) -> None:
    some = _sum(values)
    exact = sum(map(Fraction, values))
    if abs(exact) < 2**1023:
        assert some.sum == math.fsum(values)
    assert some.count == len(values)
    if values:
        mean = exact / len(values)
        assert some.mean == float(mean)
        spread = sum((Fraction(value) - mean) ** 2 for value in values)
        spread /= max(1, len(values) - 1)
        expected = float(spread) if spread < 2**1023 else None
        assert expected is None or some.variance == expected


@given(LISTS, st.lists(st.integers(1, 2**40), min_size=40, max_size=40))
def test_weights_are_repetitions(values: list[float], weights: list[int]) -> None:
    weights = weights[: len(values)]
    some = _sum(values, weights)
    total = sum(weight * Fraction(value) for value, weight in zip(values, weights, strict=True))
    assert some.count == sum(weights)
    if abs(total) < 2**1023:
        assert some.sum == float(total)


@given(LISTS, st.integers(0, 40), st.randoms(use_true_random=False))
def test_order_and_split_do_not_matter(values: list[float], cut: int, random: object) -> None:
    whole = _sum(values).to_bytes()
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    left, right = _sum(shuffled[:cut]), _sum(shuffled[cut:])
    right.merge(left)
    assert right.to_bytes() == whole
    assert ExactSum.from_bytes(whole).to_bytes() == whole


def test_many_values_of_every_exponent() -> None:
    bits = np.random.default_rng(7).integers(0, 2**64, 300_000, dtype=np.uint64)
    values = bits.view(np.float64)
    values = values[np.isfinite(values)]
    small = values * 2.0**-30
    assert _sum(small.tolist()).sum == math.fsum(small)


def test_what_naive_sums_lose() -> None:
    values = np.array([1e16, 1.0, -1e16] * 100_000)
    assert _sum(values.tolist()).sum == 100_000
    some = _sum((np.arange(100_000) % 2 + 1e15).tolist())
    assert some.variance == 0.25 * 100_000 / 99_999


def test_nothing_and_one_and_too_much() -> None:
    assert math.isnan(ExactSum().mean)
    assert math.isnan(ExactSum().variance)
    assert _sum([3.0]).variance == 0
    assert _sum([1.7e308] * 3).sum == math.inf
    assert _sum([-1.7e308] * 3).sum == -math.inf
    assert _sum([1.7e308] * 3).mean == 1.7e308
    assert _sum([1.7e308, -1.7e308]).variance == math.inf


@pytest.mark.parametrize(
    "name", ["normal", "whole", "times", "decimals", "far apart", "tiny", "huge", "zeros", "any"]
)
def test_large_arrays_are_exact_too(name: str) -> None:
    random = np.random.default_rng(3)
    rows = 70_001
    normal = random.normal(size=rows)
    values = {
        "normal": normal,
        "whole": np.rint(normal * 1000),
        "times": 1.6e9 + np.arange(rows) + 0.25,
        "decimals": np.round(normal, 2),
        "far apart": np.ldexp(normal, random.integers(-300, 300, rows)),
        "tiny": np.where(random.random(rows) < 0.001, 5e-324, normal * 2.0**-490),
        "huge": np.where(random.random(rows) < 0.001, 1.7e308, normal * 2.0**499),
        "zeros": np.where(random.random(rows) < 0.5, -0.0, normal * 2.0**-400),
        "any": random.integers(0, 0x7FE0 << 48, rows).view(np.float64),
    }[name]
    counts = random.integers(1, 9, rows)
    some, weighted, slow, heavy = ExactSum(), ExactSum(), ExactSum(), ExactSum()
    some.update(values)
    weighted.update(values, counts)
    slow._add(values, None)  # limbs of 18 bits, whatever the values
    heavy._add(values, counts)
    slow.count, heavy.count = rows, int(counts.sum())
    assert some == slow
    assert weighted == heavy
    strided = ExactSum()
    strided.update(np.repeat(values, 2)[::2])
    assert strided == slow
