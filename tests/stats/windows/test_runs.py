from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stats.windows import runs as module
from thalweg.stats.windows.runs import Runs

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=60)


@pytest.fixture(autouse=True, scope="module")
def _small_runs():
    whole = module._BUFFER
    module._BUFFER = 4
    yield
    module._BUFFER = whole


@given(
    st.lists(PAIRS, max_size=6),
    st.lists(st.integers(0, 9), min_size=1, max_size=12),
    st.booleans(),
    st.sets(st.integers(0, 9)),
)
def test_it_counts_as_a_counter_does(batches, asked, prepared, gone) -> None:
    runs, truth = Runs(bits=4), Counter[tuple[int, int]]()
    for batch in batches:
        pairs = np.array(batch, dtype=np.int64).reshape(-1, 2)
        runs.add(pairs[:, 0], pairs[:, 1])
        truth.update(batch)
    slots = np.array(asked)
    begins = np.unique([0, len(asked) // 2])
    if prepared:
        runs.prepare(10**6, 10)
    expected = Counter[tuple[int, int]]()
    for place, slot in enumerate(asked):
        group = int((begins <= place).sum()) - 1
        for (own, mark), count in truth.items():
            expected[group, mark] += count if own == slot else 0
    found = zip(*(part.tolist() for part in runs.of(slots, begins)), strict=True)
    assert list(found) == [(*pair, n) for pair, n in sorted(expected.items()) if n]

    alive = np.array([slot not in gone for slot in range(10)])
    runs.keep(alive)
    move = (np.cumsum(alive) - 1).tolist()
    left = {(move[slot], mark): n for (slot, mark), n in truth.items() if slot not in gone}
    held = list(zip(*(part.tolist() for part in runs.all()), strict=True))
    assert held == [(*pair, n) for pair, n in sorted(left.items())]
    again = Runs(bits=4)
    again.replace(*runs.all())
    assert list(zip(*(part.tolist() for part in again.all()), strict=True)) == held


def test_a_count_may_be_larger_than_its_bits() -> None:
    runs, number = Runs(bits=4), 0
    for size in (4095, 4096, 10_000, 1, 8190):
        number += size
        runs.add(np.full(size, 3), np.full(size, 2))
        runs.add(np.array([3, 4]), np.array([1, 2]))
        assert [part.tolist() for part in runs.of(np.array([3]), np.array([0]))][2][1] == number
    assert len(runs) < 40
    again = Runs(bits=4)
    again.replace(*runs.all())
    assert [part.tolist() for part in again.all()] == [[3, 3, 4], [1, 2, 2], [5, number, 5]]
