"""Sums of eight lanes: one order, whatever the length and wherever a vector begins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("numba")

from numba.core.errors import TypingError

from thalweg.training.online.compiled import compiled
from thalweg.training.online.lanes import LANES, product, total

Floats = NDArray[np.float32]


@compiled
def _product(a: Floats, b: Floats) -> float:
    found: float = product(a, b)
    return found


@compiled
def _total(a: Floats) -> float:
    found: float = total(a)
    return found


def _in_lanes(terms: Floats) -> np.float32:
    """Add terms as the module says: eight sums side by side, then in pairs."""
    sums = np.zeros(LANES, np.float32)
    for block in terms.reshape(-1, LANES):
        sums = sums + block
    while len(sums) > 1:
        sums = sums[::2] + sums[1::2]
    return np.float32(sums[0])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 20), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_sums_have_the_bits_of_their_order(blocks: int, begin: int, seed: int) -> None:
    """Also where a vector begins in the middle of another, and far apart in size."""
    random = np.random.default_rng(seed)
    n = blocks * LANES
    a, b = (random.normal(size=begin + n) * 10.0 ** random.integers(-8, 9) for _ in range(2))
    first, second = (x.astype(np.float32)[begin:] for x in (a, b))
    assert np.float32(_product(first, second)).tobytes() == _in_lanes(first * second).tobytes()
    assert np.float32(_total(first)).tobytes() == _in_lanes(first).tobytes()


def test_a_row_of_a_table_is_a_vector() -> None:
    """Rows are read in place, not copied."""
    rows = np.arange(48, dtype=np.float32).reshape(3, 16)
    assert _product(rows[1], rows[2]) == float(rows[1] @ rows[2])
    assert _total(rows[2]) == float(rows[2].sum())


@pytest.mark.parametrize(
    "odd", [np.zeros(32, np.float32)[::2], np.zeros(16), np.zeros((2, 16), np.float32)]
)
def test_what_does_not_lie_as_it_should_is_refused(odd: Floats) -> None:
    with pytest.raises(TypingError, match="contiguous vector of float32"):
        _total(odd)
