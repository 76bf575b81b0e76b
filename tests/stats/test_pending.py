from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stats import ColumnSummary, pending
from thalweg.stats.pending import PendingTexts

TEXTS = st.lists(st.none() | st.text(max_size=2), max_size=30)


def counted(some: PendingTexts) -> Counter[str]:
    found: Counter[str] = Counter()
    texts, counts = some.give()
    for text, count in zip(texts.to_pylist(), counts.tolist(), strict=True):
        found[text] += count
    return found


@given(st.lists(TEXTS, max_size=6))
def test_texts_are_counted_whatever_dictionary_they_come_in(batches: list[list[str]]) -> None:
    some, truth, nulls = PendingTexts(), Counter(), 0
    for values in batches:
        array = pa.array(values, pa.string()).dictionary_encode()
        nulls += some.take(array) - values.count(None)
        nulls += some.take(array.slice(len(values) // 2)) - values[len(values) // 2 :].count(None)
        truth.update(value for value in values if value is not None)
        truth.update(value for value in values[len(values) // 2 :] if value is not None)
    assert bool(some) == any(value is not None for values in batches for value in values)
    assert counted(some) == truth
    assert nulls == 0
    assert not some


def test_nulls_in_the_dictionary_are_null() -> None:
    array = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 1, None], pa.int8()), pa.array(["a", None])
    )
    some = PendingTexts()
    assert some.take(array) == 3
    assert some.take(array.slice(1)) == 3
    assert counted(some) == {"a": 1}


def test_texts_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "MOST_TEXTS", 8)
    some, truth = PendingTexts(), Counter()
    random = np.random.default_rng(1)
    for _ in range(30):
        values = [f"t{at}" for at in random.integers(0, 6, 12)]
        array = pa.array(values).dictionary_encode()
        some.take(array, np.full(len(array.dictionary), 7, np.uint64))
        some.full()
        truth.update(values)
    assert counted(some) == truth


def test_memory_is_bounded_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "MOST_TEXTS", 50)
    monkeypatch.setattr(pending, "MOST_BYTES", 4_000)
    random = np.random.default_rng(2)
    short, long = ColumnSummary(), ColumnSummary()
    for _ in range(40):
        short.update(pa.array([f"t{at}" for at in random.integers(0, 400, 40)]))
        long.update(pa.array(["x" * 1_000 + str(at) for at in random.integers(0, 9, 8)]))
        for column in (short, long):
            assert len(column._pending._table[0]) <= 50
            assert column._pending._bytes <= 4_000
    assert short.texts == short.counts.total == 1_600
    assert long.texts == long.counts.total == 320
    assert long.distinct() == 9


def test_reading_in_between_changes_nothing() -> None:
    words = pa.array(["a", "b ", "7", None, "2024-05-01", "n/a"])
    once, often = ColumnSummary(), ColumnSummary()
    for _ in range(3):
        once.update(words)
        often.update(words.dictionary_encode())
        assert often.copy() == once.copy()
        assert often.describe() == once.describe()
    quiet = ColumnSummary()
    for _ in range(3):
        quiet.update(words)
    assert quiet == often
    assert (quiet.texts, quiet.nulls, quiet.missing_texts) == (15, 3, 3)
    assert quiet.time_formats == {"YYYY-MM-DD": 3}
    assert quiet.lengths.maximum == 10
    assert quiet.words.count == 15


def test_texts_that_are_all_different_are_given_as_they_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pending, "MOST_TEXTS", 50)
    some = PendingTexts()
    some.take(pa.array([f"t{at}" for at in range(60)]).dictionary_encode())
    assert some.full()
    assert counted(some) == {f"t{at}": 1 for at in range(60)}
    column = ColumnSummary()
    for start in range(0, 1_000, 25):
        column.update(pa.array([f"t{at}" for at in range(start, start + 30)]))
    assert column.texts == column.counts.total == 1_200
    assert column.distinct() == 1_005
    assert dict(column.top(200))["t25"] == 2
