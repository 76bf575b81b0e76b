from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.features.exact import ExactPrefix, rounded

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, max_size=90), st.data())
def test_any_stretch_has_the_sum_that_fsum_gives(values: list[float], data: st.DataObject) -> None:
    sums = ExactPrefix(np.array(values, dtype=np.float64))
    ends = st.integers(0, len(values))
    pairs = data.draw(st.lists(st.tuples(ends, ends).map(sorted), min_size=9, max_size=20))
    first, last = (np.array(one, dtype=np.int64) for one in zip(*pairs, strict=True))
    wanted = [fsum(values[begin:end]) for begin, end in pairs]
    many = rounded([sums.between(first, last)], len(pairs))
    few = np.concatenate(
        [
            rounded([sums.between(first[at : at + 3], last[at : at + 3])], len(first[at : at + 3]))
            for at in range(0, len(pairs), 3)
        ]
    )
    np.testing.assert_array_equal(many, wanted)
    np.testing.assert_array_equal(few, wanted)


@given(st.lists(finite, min_size=1, max_size=70), st.data())
def test_sums_of_parts_are_the_sum_of_the_whole(values: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(values)))
    parts = [ExactPrefix(np.array(some, dtype=np.float64)) for some in (values[:cut], values[cut:])]
    for rows in (1, 9):
        none, sizes = np.zeros(rows, np.int64), (cut, len(values) - cut)
        sums = [part.between(none, none + size) for part, size in zip(parts, sizes, strict=True)]
        np.testing.assert_array_equal(rounded(sums, rows), [fsum(values)] * rows)


def fsum(values: list[float]) -> float:
    # fsum gives up where a part of the sum is too large, though the whole is not.
    total = sum(int(m * 2**53) << (e + 1073) for m, e in map(math.frexp, values))
    try:
        return total / (1 << 1126)
    except OverflowError:
        return math.nan
