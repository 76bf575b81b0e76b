from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.features.runs import Events, Extremes, Index, last_moments

int64 = st.integers(-(2**62), 2**62)


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=300), st.data())
def test_any_stretch_has_its_largest_value(values: list[float], data: st.DataObject) -> None:
    ends = st.integers(0, len(values))
    pairs = data.draw(st.lists(st.tuples(ends, ends), min_size=1, max_size=12))
    first, last = (np.array(one, dtype=np.int64) for one in zip(*pairs, strict=True))
    found = Extremes(np.array(values)).between(first, last)
    assert found.tolist() == [max(values[a:b], default=-np.inf) for a, b in pairs]


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1) | st.integers(0, 3), int64 | st.integers(0, 9))),
    st.lists(st.tuples(st.integers(0, 4), int64 | st.integers(-1, 10)), min_size=1),
)
def test_any_key_and_time_is_found_in_its_place(
    pairs: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    pairs.sort()
    keys = np.array([key for key, _ in pairs], dtype=np.uint64)
    index = Index(keys, np.array([time for _, time in pairs], dtype=np.int64))
    found = index.find(
        np.array([key for key, _ in asked], dtype=np.uint64),
        np.array([time for _, time in asked], dtype=np.int64),
    )
    for (key, time), place in zip(asked, found.tolist(), strict=True):
        wanted = sum(pair < (key, time) for pair in pairs)
        # Of a key that is not there any place will do, as long as it is the same for all times.
        assert place == wanted or key not in keys.tolist()


def test_two_moments_of_each_key_are_the_last() -> None:
    keys = np.array([1, 1, 1, 1, 2, 3, 3, 3], dtype=np.uint64)
    times = np.array([1, 2, 3, 3, 9, 4, 4, 5])
    found = last_moments(Events(keys, times, {}))
    assert found.keys.tolist() == [1, 1, 1, 2, 3, 3, 3]
    assert found.times.tolist() == [2, 3, 3, 9, 4, 4, 5]
