from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import ColumnError
from thalweg.kinds.members import best_split, joined, lists_of, members


def read(array: pa.Array, delimiter: str = "|") -> list[list[str] | None]:
    """Give each row's labels, None for no set."""
    found = members(array, delimiter)
    texts = found.texts.to_pylist()
    cells = [
        [text for cell, text in zip(found.cells, texts, strict=True) if cell == at]
        if there
        else None
        for at, there in enumerate(found.present)
    ]
    return [None if at < 0 else cells[at] for at in found.index]


LISTS = [["b", " a "], None, [], ["", "c", None], ["1.0"]]


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.large_string())])
def test_lists_of_any_sort(kind: pa.DataType) -> None:
    array = pa.array(LISTS, kind)
    assert read(array) == [["b", "a"], None, [], ["c"], ["1"]]
    assert read(array.slice(2, 2)) == [[], ["c"]]


def test_numbers_are_labels_too() -> None:
    assert read(pa.array([[3, 1], None, [7]])) == [["3", "1"], None, ["7"]]
    assert read(pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2))) == [["1", "2"], ["3", "4"]]
    assert read(pa.array([4.0, None])) == [["4"], None]


@pytest.mark.parametrize("coded", [False, True])
def test_texts_are_parted(coded: bool) -> None:
    array = pa.array(["b| a", "", None, "n/a", "c||", " | ", "b| a", "1.0|x"])
    array = array.dictionary_encode() if coded else array
    assert read(array) == [["b", "a"], [], None, None, ["c"], [], ["b", "a"], ["1", "x"]]
    assert read(pa.array(["a, b"]), "") == [["a, b"]]


@pytest.mark.parametrize("cells", [pa.array([{"a": 1}]), pa.array([[["a"]]])])
def test_records_and_lists_of_lists_are_refused(cells: pa.Array) -> None:
    with pytest.raises(ColumnError):
        members(cells, "|")


LABELS = ["rock", "pop", "jazz", "folk", "blues", "soul"]


def tagged(delimiter: str, rows: int = 60) -> list[str]:
    random = np.random.default_rng(0)
    made = [
        delimiter.join(random.permutation(LABELS)[: random.integers(1, 4)]) for _ in range(rows)
    ]
    return sorted(set(made))


@pytest.mark.parametrize("delimiter", ["|", ";", ",", ", ", "/", "\t"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    found = best_split(tagged(delimiter))
    assert found.convincing
    assert found.delimiter == delimiter.strip(" ")


def test_what_is_no_set() -> None:
    random = np.random.default_rng(0)
    digits = random.integers(100, 999, size=(200, 3)).tolist()
    for texts in (
        [f"{a}, {b}" for a, b, _ in digits],  # always two
        [f"{a % 12}/{b % 28}/{c}" for a, b, c in digits],
        [f"{a},{b}" if a % 2 else f"{a}" for a, b, _ in digits],
        [f"Great, {a} times, and {b}{c} more, truly" for a, b, c in digits],
        ["Asian/Pacific", "Black", "White", "Other", "East/West"],
        [f"town {a}" for a, _, _ in digits],
        [],
    ):
        assert not best_split(list(dict.fromkeys(texts))).convincing, texts[:3]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.lists(st.sampled_from(LABELS), max_size=4), max_size=20))
def test_what_is_gathered_or_joined_is_read_again(rows: list[list[str] | None]) -> None:
    held = [at for at, row in enumerate(rows) for _ in row or ()]
    values = pa.array([label for row in rows for label in row or ()], pa.string())
    gone = np.array([row is None for row in rows], dtype=bool)
    lists = lists_of(np.array(held, np.int64), values, len(rows), gone)
    assert lists.to_pylist() == rows
    assert read(lists) == rows
    assert read(joined(lists, ";"), ";") == rows
