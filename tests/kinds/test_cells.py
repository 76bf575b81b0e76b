"""However a column is stored and cut, its cells are encoded to the same bits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import ColumnError, TargetError
from thalweg.kinds import KINDS
from thalweg.kinds.base import Encoded, State
from thalweg.kinds.category import FEW, MISSING, Category, CategoryOptions, CategoryState
from thalweg.kinds.category import _careful_texts as careful_texts
from thalweg.kinds.cells import by_value, may_mean_more, places_of
from thalweg.kinds.check import summarise
from thalweg.kinds.classes import look_up
from thalweg.kinds.evidence import AnyKind, same
from thalweg.stats.parsing import MISSING_TEXTS

ROWS = 300
CATEGORY = Category()


def columns() -> dict[str, pa.Array]:
    random = np.random.default_rng(0)
    gaps = random.random(ROWS) < 0.1
    few = random.integers(-3, 9, ROWS)
    wild = random.normal(size=ROWS)
    wild[:3] = np.nan, np.inf, -np.inf
    flat = [name for name, kind in KINDS.items() if "lists" not in kind.holds]
    found = {f"sample of {name}": KINDS[name].sample(0, ROWS) for name in flat}
    return found | {
        "floats": pa.array(wild, mask=gaps),
        "integers": pa.array(few, mask=gaps),
        "whole floats": pa.array(few.astype(np.float64), mask=gaps),
        "bytes": pa.array(few.astype(np.int8)),
        "beyond float64": pa.array(2**53 + few, mask=gaps),
        "booleans": pa.array(few > 0, mask=gaps),
        "times": pa.array(few * 10**15, pa.timestamp("us"), mask=gaps),
        "decimals": pa.array(few, mask=gaps).cast(pa.decimal128(21, 2)),
        "numbers as text": pa.array([f"{one}.0" for one in few], mask=gaps),
    }


COLUMNS = columns()


def large(cells: pa.Array) -> pa.Array:
    return cells.cast(pa.large_string()) if pa.types.is_string(cells.type) else cells


def view(cells: pa.Array) -> pa.Array:
    return cells.cast(pa.string_view()) if pa.types.is_string(cells.type) else cells


def sliced(cells: pa.Array) -> pa.Array:
    return pa.concat_arrays([cells[5:12], cells, cells[:3]]).slice(7, len(cells))


def dictionary(cells: pa.Array) -> pa.Array:
    return cells.dictionary_encode()


def null_in_the_dictionary(cells: pa.Array) -> pa.Array:
    return cells.dictionary_encode(null_encoding="encode")


def every_value_twice(cells: pa.Array) -> pa.Array:
    once = cells.dictionary_encode()
    values = pa.concat_arrays([once.dictionary, once.dictionary])
    shift = pa.array(np.arange(len(cells)) % 2 * len(once.dictionary), pa.int32())
    return pa.DictionaryArray.from_arrays(pc.add(once.indices, shift), values)


def far_more_values_than_rows(cells: pa.Array) -> pa.Array:
    once = cells.dictionary_encode()
    values = pa.concat_arrays([pa.concat_arrays([cells] * 3).fill_null(cells[10]), once.dictionary])
    places = pc.add(once.indices, 3 * len(cells))
    return pa.DictionaryArray.from_arrays(places, values)


FORMS: list[Callable[[pa.Array], pa.Array]] = [
    *(large, view, sliced, dictionary),
    *(null_in_the_dictionary, every_value_twice, far_more_values_than_rows),
]


def fitted(kind: AnyKind, cells: pa.Array) -> list[State]:
    found: list[State] = []
    with contextlib.suppress(ColumnError):  # words are no pictures
        found = [kind.fit(summarise([cells]), kind.options_type(), "feature")]
    with contextlib.suppress(TargetError):
        found.append(kind.fit(summarise([cells]), kind.options_type(), "target"))
    return found


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("name", COLUMNS)
def test_the_way_of_storing_makes_no_difference(name: str, form: Any) -> None:
    cells = COLUMNS[name]
    for kind in KINDS.values():
        if name.startswith("sample") and not name.endswith(kind.name):
            continue
        for state in fitted(kind, cells):
            plain = kind.encode([cells], [state])
            same(plain, kind.encode([form(cells)], [state]), kind, form.__name__)
            few = kind.encode([form(cells).slice(3, 5)], [state])
            part = Encoded(
                {field: array[3:8] for field, array in plain.fields.items()},
                plain.dropped[3:8],
                plain.unreadable[3:8],
            )
            same(part, few, kind, f"a part of {form.__name__}")
            none = kind.encode([form(cells).slice(0, 0)], [state])
            assert {len(array) for array in none.fields.values()} == {0}


# ---- tables by value


@given(
    st.lists(st.floats(width=64) | st.integers(-9, 9).map(float), max_size=20),
    st.sampled_from([np.float64, np.float32, np.float16]),
)
def test_floats_are_found_by_value(values: list[float], dtype: type[Any]) -> None:
    with np.errstate(over="ignore"):
        given_values = np.array(values, dtype=dtype)
    table = np.array([0, 5, 6, 7, 8, 0])
    known = {-2.0: 5, -1.0: 6, 0.0: 7, 1.0: 8}
    expected = [known.get(float(value), 0) for value in given_values]
    assert by_value(given_values, -3, table).tolist() == expected


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_integers_are_found_by_value_at_their_ends(dtype: type[Any]) -> None:
    ends = np.iinfo(dtype)
    values = np.array([ends.min, ends.max, 1, 2, 3, 4], dtype=dtype)
    assert by_value(values, 1, np.array([0, 7, 8, 0])).tolist() == [0, 0, 0, 7, 8, 0]
    # -5 as unsigned wraps around to a number that no table may know.
    assert by_value(np.array([2**64 - 5], np.uint64), -6, np.array([0, 9, 0])).tolist() == [0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.int64, np.uint64])
@pytest.mark.parametrize("spikes", [(-3.0, 0.0, 40.0), (0.0, 1.0, 2.0**53), (0.0, 0.5)])
def test_a_spike_is_found_in_every_type(dtype: type[Any], spikes: tuple[float, ...]) -> None:
    values = np.array([0, 1, 2, 40, 41, 100, 0], dtype=dtype)
    expected = [spikes.index(value) + 1 if value in spikes else 0 for value in values.tolist()]
    assert places_of(values, spikes).tolist() == expected
    assert places_of(np.tile(values, 100), spikes).tolist() == expected * 100


# ---- texts that may mean more


LETTERS = st.sampled_from("0015.-+e naNA?xé\u00a0\u3000\t\x00")
SAME = st.sampled_from(["10.0", "-0", "0.00", " 10 ", "1e1", "+1", "\u2003x", "x\n", "NaN", "1.e5"])
TEXTS = st.lists(st.text(LETTERS, max_size=8) | SAME | st.none(), min_size=1, max_size=2 * FEW)
STATES = [
    Category().fit(summarise([pa.array(cells)]), CategoryOptions(rare=1), "feature")
    for cells in (["x", "10", "0", "é", "x x"] * 2, ["10", "0.5", "-1", "1e5"] * 2, [1, 5, 10])
]


@given(TEXTS, st.sampled_from(STATES))
@settings(max_examples=100)
def test_a_quick_look_misses_nothing(texts: list[str | None], state: CategoryState) -> None:
    cells = pa.array(texts, pa.string())
    quick = CATEGORY.encode([cells], [state]).fields["codes"][:, 0]
    with_care = look_up(cells, partial(careful_texts, state=state), MISSING)
    assert quick.tolist() == with_care.tolist()
    for count in (1, len(texts)):
        more = pa.concat_arrays([cells[:count]] * (FEW // count + 1))
        many = CATEGORY.encode([more], [state]).fields["codes"][:, 0]
        assert many[:count].tolist() == quick[:count].tolist()


def test_every_word_for_missing_is_looked_at() -> None:
    words = [form for word in MISSING_TEXTS for form in (word, word.upper(), word.title())]
    assert may_mean_more(pa.array(words), np.arange(len(words)), numbers=False).all()


def test_names_and_empty_arrays_are_passed_over() -> None:
    names = pa.array([f"customer-{number:05d}" for number in range(100)])
    assert not may_mean_more(names, np.arange(100), numbers=True).any()
    assert may_mean_more(pa.array(["", ""]), np.arange(2), numbers=True).all()
    assert len(may_mean_more(pa.array([], pa.string()), np.arange(0), numbers=True)) == 0


def test_a_few_rows_of_a_large_dictionary_look_at_their_own_values_only() -> None:
    looked: list[int] = []

    def code(values: pa.Array) -> Any:
        looked.append(len(values))
        return np.asarray(values) + 1

    large = pa.array([*range(1_000), None]).dictionary_encode()
    assert look_up(large.slice(998), code, 0).tolist() == [999, 1_000, 0]
    assert look_up(large.slice(1_000), code, 0).tolist() == [0]
    assert looked == [2]
