from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.data.arrays import Arrays
from thalweg.training.online.replay import Reservoir, Ring, bytes_of, flatten, unflatten


def rows(start: int, stop: int) -> Arrays:
    numbers = np.arange(start, stop)
    return Arrays({"number": {"values": np.stack([numbers, -numbers], 1)}}, {"code": numbers})


def codes(arrays: Arrays) -> list[int]:
    assert arrays.features["number"]["values"][:, 0].tolist() == arrays.target["code"].tolist()
    return [int(code) for code in arrays.target["code"]]


Cuts = st.lists(st.integers(0, 400), max_size=8)


def test_names_come_back() -> None:
    one = rows(0, 3)
    assert sorted(flatten(one)) == ["number/values", "target/code"]
    assert codes(unflatten(flatten(one))) == [0, 1, 2]
    assert bytes_of(one) == 24


@given(Cuts, st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_a_ring_holds_the_last_rows_however_they_came(cuts: list[int], capacity: int) -> None:
    ring = Ring(capacity)
    for start, stop in pairwise([0, *sorted(cuts), 400]):
        if stop > start:
            ring.push(rows(start, stop))
    count = min(capacity, 400)
    assert len(ring) == count
    assert codes(ring.take(np.arange(count))) == list(range(399, 399 - count, -1))
    again = Ring(capacity)
    again.restore(ring.state())
    for one in (ring, again):
        one.push(rows(400, 410))
        one.keep(7)
        assert codes(one.take(np.arange(len(one)))) == list(range(409, 409 - len(one), -1))
        assert len(one) == min(7, capacity)
        one.push(rows(410, 412))
        assert len(one) == min(9, capacity)


@given(Cuts, st.integers(1, 500))
@settings(max_examples=40, deadline=None)
def test_a_reservoir_is_the_same_however_rows_came(cuts: list[int], capacity: int) -> None:
    whole, parts = Reservoir(capacity, 5), Reservoir(capacity, 5)
    whole.push(rows(0, 400))
    for start, stop in pairwise([0, *sorted(cuts), 400]):
        if stop > start:
            parts.push(rows(start, stop))
            again = Reservoir(capacity, 5)
            again.restore(parts.state(), parts.seen)
            parts = again
    every = np.arange(min(capacity, 400))
    assert codes(whole.take(every)) == codes(parts.take(every))


def test_a_reservoir_is_fair() -> None:
    found = np.zeros(400)
    for seed in range(400):
        one = Reservoir(40, seed)
        for start in range(0, 400, 100):
            one.push(rows(start, start + 100))
        kept = codes(one.take(np.arange(40)))
        assert len(set(kept)) == 40
        found[kept] += 1
    assert abs(found[:100].mean() - 40) < 2.5
    assert abs(found[300:].mean() - 40) < 2.5
