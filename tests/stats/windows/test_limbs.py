from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stats.windows import limbs as module
from thalweg.stats.windows.limbs import Limbs

NUMBERS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.one_of(
            st.floats(allow_nan=False, allow_infinity=False),
            st.integers(-(10**6), 10**6).map(float),
            st.sampled_from([0.1, -0.1, 1e308, -1e308, 5e-324]),
        ),
    ),
    max_size=30,
)


def _sums(limbs: Limbs, slots: list[int], begins: list[int]) -> list[float]:
    high, _, exponent = limbs.gather(np.array(slots), np.array(begins))
    with np.errstate(over="ignore"):
        return np.ldexp(high, exponent).tolist()


def _rounded(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


@given(st.lists(NUMBERS, max_size=4), st.booleans())
def test_sums_are_exact_and_rounded_once(batches, carried) -> None:
    limbs, truth = Limbs(), [Fraction(0)] * 3
    limbs.grow(3)
    whole = module._SAFE
    module._SAFE = 8 if carried else whole
    try:
        for batch in batches:
            slots = np.array([slot for slot, _ in batch], dtype=np.int64)
            limbs.add(slots, np.array([value for _, value in batch], dtype=np.float64))
            for slot, value in batch:
                truth[slot] += Fraction(value)
    finally:
        module._SAFE = whole
    assert _sums(limbs, [0, 1, 2], [0, 1, 2]) == [_rounded(one) for one in truth]
    assert _sums(limbs, [2, 0, 1], [0]) == [_rounded(sum(truth))]
    assert _sums(limbs, [2, 0, 1], [0, 1]) == [_rounded(truth[2]), _rounded(truth[0] + truth[1])]
    again = Limbs.of(limbs.columns(3), 3)
    again.keep(np.array([True, False, True]))
    assert _sums(again, [0, 1], [0, 1]) == [_rounded(truth[0]), _rounded(truth[2])]


@given(
    st.lists(st.floats(-(2.0**499), 2.0**499).filter(lambda x: not 0 < abs(x) < 1e-100), max_size=9)
)
def test_squares_are_exact(values: list[float]) -> None:
    limbs = Limbs()
    limbs.grow(1)
    limbs.add_squares(np.zeros(len(values), dtype=np.int64), np.array(values, dtype=np.float64))
    assert _sums(limbs, [0], [0]) == [
        _rounded(sum((Fraction(v) ** 2 for v in values), Fraction(0)))
    ]


@pytest.mark.parametrize("values", [[2.0**53, 1.0], [2.0**53, 1.0, 2.0**-200], [2.0**53, 3.0]])
def test_ties_go_to_even(values: list[float]) -> None:
    limbs = Limbs()
    limbs.grow(1)
    limbs.add(np.zeros(len(values), dtype=np.int64), np.array(values))
    assert _sums(limbs, [0], [0]) == [math.fsum(values)]
