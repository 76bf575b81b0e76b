from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stats import ValueCounts

TEXTS = st.lists(st.text(max_size=3) | st.integers(-99, 99).map(str), max_size=60)
ODD = ["", "0", "-0", "00", "01", "+1", "1", "1.5", str(2**63 - 1), str(2**63), "-5", "\0", "é"]


def _of(texts: list[str], capacity: int = 65_536, most_bytes: int = 1 << 24) -> ValueCounts:
    some = ValueCounts(capacity, most_bytes)
    some.update(pa.array(texts, pa.string()))
    return some


def _expected(texts: list[str]) -> list[tuple[str, int]]:
    return sorted(Counter(texts).items(), key=lambda item: (-item[1], item[0]))


@given(TEXTS)
def test_counts_and_their_order(texts: list[str]) -> None:
    some = _of(texts + ODD)
    expected = _expected(texts + ODD)
    assert some.top() == expected
    assert some.top(3) == expected[:3]
    assert len(some) == len(expected)
    assert some.exact
    assert some.error == 0
    assert some.total == len(texts) + len(ODD)
    assert some.top(0) == []


@given(TEXTS, st.integers(0, 60))
def test_order_and_split_do_not_matter(texts: list[str], cut: int) -> None:
    whole = _of(texts).to_bytes()
    right = _of(texts[cut:][::-1])
    right.merge(_of(texts[:cut]))
    assert right.to_bytes() == whole
    assert ValueCounts.from_bytes(whole).top() == right.top()
    counted = Counter(texts)
    weighted = ValueCounts()
    weighted.update(pa.array(counted, pa.string()), np.array(list(counted.values()), np.int64))
    assert weighted == right


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 10), st.booleans())
def test_beyond_the_capacity_the_error_is_as_stated(
    numbers: list[int], capacity: int, words: bool
) -> None:
    texts = [f"w{number}" if words else str(number) for number in numbers]
    some = ValueCounts(capacity)
    for start in range(0, len(texts), 17):
        part = _of(texts[start : start + 17], capacity)
        some.merge(part)
    truth, found = Counter(texts), dict(some.top())
    assert len(found) <= capacity
    assert some.exact == (len(truth) <= capacity)
    assert some.error <= len(texts) / (capacity + 1)
    for text, count in truth.items():
        assert count - some.error <= found.get(text, 0) <= count
    assert set(found) <= set(truth)


def test_memory_is_bounded_and_heavy_hitters_stay() -> None:
    some = ValueCounts(1000)
    rng = np.random.default_rng(2)
    for batch in range(20):
        noise = [f"n{batch}-{number}" for number in range(5000)]
        heavy = [f"heavy{number}" for number in rng.integers(0, 3, 500)]
        some.update(pa.array(noise + heavy))
    assert {text for text, _ in some.top(3)} == {"heavy0", "heavy1", "heavy2"}
    assert not some.exact
    assert len(some) <= 1000
    assert len(some.to_bytes()) < 60_000


def test_long_texts_are_cut_but_told_apart() -> None:
    long = "x" * 10_000
    some = _of([long + "a", long + "b", long + "a"])
    (first, count), (second, _) = some.top()
    assert count == 2
    assert first != second
    assert len(first) < 200
    assert first.startswith("xxx")


def test_bytes_are_bounded_too() -> None:
    texts = [f"{number:0100d}x" for number in range(1000)]
    some = ValueCounts(capacity=1000, most_bytes=10_000)
    some.update(pa.array(texts + texts[:5] * 9))
    assert not some.exact
    assert sum(len(text) for text, _ in some.top()) <= 10_000
    assert {text for text, _ in some.top(5)} == set(texts[:5])


def test_whole_numbers_come_by_either_way() -> None:
    some = _of(["7", "7", "x"])
    some.update_integers(np.array([7, -3]), np.array([2, 1]))
    assert some.top() == [("7", 4), ("-3", 1), ("x", 1)]
    assert some == _of(["7", "7", "7", "7", "-3", "x"])


def test_merging_leaves_the_other_as_it_was() -> None:
    one, other = _of(["a"]), _of(["b"])
    before = other.to_bytes()
    one.merge(other)
    one.update(pa.array(["b"]))
    assert other.to_bytes() == before
    twin = one.copy()
    twin.update(pa.array(["c"]))
    assert len(one) == 2
    with pytest.raises(ValueError, match="capacities differ"):
        one.merge(ValueCounts(3))
