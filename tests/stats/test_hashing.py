from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.stats.hashing import MISSING, hash_rows, hash_text, hash_values, mix

TEXTS = st.lists(st.text(max_size=40) | st.none(), max_size=20)


def _mix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def _hash_text(text: str) -> int:
    """Say plainly what the vectorised hash of text does."""
    data = text.encode()
    words = [data[start : start + 8] for start in range(0, len(data), 8)]
    total = sum(
        _mix(int.from_bytes(word, "little") ^ _mix(place)) for place, word in enumerate(words)
    )
    return _mix(total % 2**64 ^ _mix(len(data)))


def test_hashes_never_change() -> None:
    # SplitMix64 with seed 0, published; the rest are this library's own promise for ever.
    assert int(mix(np.uint64(0))) == 0xE220A8397B1DCDAF
    values = pa.array(["", "a", "12", "abcdefghi", "ü" * 9, None])
    assert hash_values(values).tolist() == [
        13011662864482103923,
        3457773273792876208,
        16161441060646305119,
        13723829148750622158,
        7193641018572612116,
        13011662864482103923,
    ]
    batch = pa.record_batch({"x": [1, 2], "y": ["a", None]})
    assert hash_rows(batch).tolist() == [7010649142090434890, 16131471925057949387]


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8))
def test_text_hashes_as_described(texts: list[str]) -> None:
    found = hash_text(pa.array(texts, pa.large_string())).tolist()
    assert found == [_hash_text(text) for text in texts]
    assert mix(np.array([0, 2**64 - 1], np.uint64)).tolist() == [_mix(0), _mix(2**64 - 1)]


@pytest.mark.parametrize(
    "same",
    [
        [pa.array([1]), pa.array([1.0]), pa.array(["1"]), pa.array([" 1.0 "]), pa.array([1], "u1")],
        [pa.array([0.0]), pa.array([-0.0]), pa.array([0]), pa.array(["-0"])],
        [pa.array([None]), pa.array([np.nan]), pa.array([""]), pa.array(["  "])],
        [pa.array([2**60]), pa.array([str(2**60)]), pa.array([2**60], pa.uint64())],
        [pa.array([True]), pa.array(["true"])],
        [
            pa.array([86_400], pa.timestamp("s")),
            pa.array([86_400 * 10**9], pa.timestamp("ns", "Europe/Paris")),
            pa.array([1], pa.date32()),
        ],
        [pa.array(["a"]), pa.array(["a"], pa.large_string()), pa.array(["a"]).dictionary_encode()],
        [pa.array(["a"]), pa.array(["a"], pa.string_view()), pa.chunked_array([["a"]])],
    ],
)
def test_equal_values_have_equal_hashes(same: list[pa.Array]) -> None:
    assert len({int(hash_values(one)[0]) for one in same}) == 1


def test_different_values_have_different_hashes() -> None:
    different = [
        *(pa.array([value]) for value in (0, 1, -1, 1.5, np.inf, -np.inf, 2**60, 2**60 + 1)),
        *(pa.array([value]) for value in ("a", "b", "aa", "a\0", "\0a", "\0", "inf", "01x")),
        *(pa.array([value]) for value in (b"a", b"", [1], [1, 2], [2, 1], [[1], [2]], [[1, 2]])),
        *(pa.array([value]) for value in ({"x": 1}, {"y": 1}, True, False, None, [], [None])),
        pa.array([0], pa.timestamp("s")),
        pa.array([1], pa.timestamp("ns")),
    ]
    assert len({int(hash_values(one)[0]) for one in different}) == len(different)


@given(TEXTS, st.integers(0, 5))
def test_a_text_hashes_alike_wherever_it_stands(texts: list[str | None], start: int) -> None:
    array = pa.array(texts, pa.string())
    alone = [int(hash_values(pa.array([text], pa.string()))[0]) for text in texts]
    assert hash_values(array).tolist() == alone
    assert hash_values(array.slice(start)).tolist() == alone[start:]
    assert hash_values(array.dictionary_encode()).tolist() == alone


def test_lists_and_structs_hash_alike_when_sliced() -> None:
    for array in (
        pa.array([[1], None, [2, 3], [], [1]]),
        pa.array([[1, 2], None, [3, 4], [1, 2]], pa.list_(pa.int64(), 2)),
        pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "x"}]),
        pa.array([[("k", 1)], None, [("k", 2), ("l", 3)]], pa.map_(pa.string(), pa.int64())),
    ):
        whole = hash_values(array)
        assert hash_values(array.slice(1)).tolist() == whole[1:].tolist()
        assert whole[1] == MISSING


def test_few_collide_and_bits_are_even() -> None:
    texts = pa.array([f"{head}{number:07d}" for head in "ab" for number in range(50_000)])
    hashes = hash_text(texts.cast(pa.large_string()))
    assert len(np.unique(hashes)) == len(texts)
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0)
    assert np.abs(bits - 0.5).max() < 0.01  # six standard deviations


@settings(max_examples=25)
@given(st.permutations(["a", "b", "c"]), st.permutations(range(4)))
def test_rows_hash_alike_in_any_order(names: list[str], order: list[int]) -> None:
    table = pa.table({"a": [1, 1, 2, None], "b": ["x", "y", "x", "1"], "c": [0.5, 1, 1, np.nan]})
    hashes = hash_rows(table)
    assert len(np.unique(hashes)) == 4
    moved = table.select(names).take(order)
    assert hash_rows(moved).tolist() == hashes[order].tolist()
    assert hash_rows(moved.to_batches()[0].slice(2)).tolist() == hashes[order[2:]].tolist()


def test_a_value_in_another_column_is_another_row() -> None:
    one = hash_rows(pa.record_batch({"a": ["x"], "b": ["y"]}))
    other = hash_rows(pa.record_batch({"a": ["y"], "b": ["x"]}))
    assert one != other
