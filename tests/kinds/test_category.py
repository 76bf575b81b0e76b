from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import ColumnError, TargetError
from thalweg.kinds import KINDS
from thalweg.kinds.category import Category, CategoryOptions, CategoryState
from thalweg.kinds.check import summarise

CATEGORY = Category()


def fitted(cells: pa.Array, role="feature", **options: object) -> CategoryState:
    return CATEGORY.fit(summarise([cells]), CategoryOptions.model_validate(options), role)


def codes(cells: pa.Array, state: CategoryState) -> list[int]:
    return CATEGORY.encode([cells], [state]).fields["codes"][:, 0].tolist()


TOWNS = pa.array(["Bonn"] * 6 + ["Aalen"] * 4 + [" Celle "] * 2 + ["Rare", "?", "", None])


def test_levels_stand_by_how_common_they_are() -> None:
    state = fitted(TOWNS)
    assert state.levels == ("Bonn", "Aalen", "Celle")
    assert state.counts == (6, 4, 2)
    cells = pa.array(["Celle", "Bonn ", "bonn", "Rare", "Never", "NA", " ?", None])
    assert codes(cells, state) == [4, 2, 1, 1, 1, 0, 0, 0]


def test_the_list_can_be_cut() -> None:
    assert fitted(TOWNS, levels=1).levels == ("Bonn",)
    assert fitted(TOWNS, rare=1).levels == ("Bonn", "Aalen", "Celle", "Rare")


def test_what_a_gap_becomes() -> None:
    gap = pa.array([None, "Aalen"])
    assert codes(gap, fitted(TOWNS, missing="frequent")) == [2, 3]
    dropping = fitted(TOWNS, missing="drop")
    assert CATEGORY.encode([gap], [dropping]).dropped.tolist() == [True, False]


def test_one_number_is_one_level_however_it_is_written() -> None:
    state = fitted(pa.array([1, 2, 2, 1, 10, 10]))
    assert state.form == "whole"
    for ways in (pa.array([1, 10]), pa.array([1.0, 10.0]), pa.array(["1.0", " 10"])):
        assert codes(ways, state) == codes(pa.array(["1", "1e1"]), state)
    assert codes(pa.array(["x", "3", "nan", None]), state) == [1, 1, 0, 0]
    assert codes(pa.array([np.nan, np.inf, 1.5]), state) == [0, 1, 1]


def test_codes_with_leading_zeros_and_huge_keys_stay_text() -> None:
    assert fitted(pa.array(["01", "1", "01", "1"])).form == "text"
    keys = pa.array([2**60, 2**60 + 1] * 3)
    state = fitted(keys)
    assert state.form == "text"
    assert sorted(set(codes(keys, state))) == [2, 3]


def test_codes_are_as_narrow_as_the_longest_list_allows() -> None:
    few = fitted(pa.array(["a", "b"] * 5))
    for levels, dtype in ((100, np.int8), (200, np.int16), (40_000, np.int32)):
        many = pa.array([f"level {i}" for i in range(levels)] * 2)
        state = fitted(many, levels=100_000, rare=1)
        got = CATEGORY.encode([many, many], [few, state]).fields["codes"]
        assert got.dtype == dtype
        assert len(np.unique(got[:, 1])) == levels


def test_lists_are_refused() -> None:
    with pytest.raises(ColumnError, match="list"):
        codes(pa.array([["a"]]), fitted(TOWNS))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.text(max_size=5), max_size=30), st.lists(st.text(max_size=5)))
def test_any_text_has_a_code(cells: list[str | None], probes: list[str]) -> None:
    state = fitted(pa.array(cells, pa.string()), rare=1)
    got = np.array(codes(pa.array([*cells, *probes], pa.string()), state))
    assert ((got >= 0) & (got < len(state.levels) + 2)).all()
    assert (got[: len(cells)] != 1).all()


# ---- targets


def classes(cells: pa.Array, state: CategoryState) -> list[int]:
    got = CATEGORY.encode([cells], [state])
    assert got.fields["code"].dtype == np.int64
    found = np.where(got.dropped, -1, got.fields["code"][:, 0])
    return found.tolist()


def test_classes_stand_in_order() -> None:
    assert fitted(pa.array(["yes", "no", "no"]), "target").levels == ("no", "yes")
    state = fitted(pa.array([10, 9, 2, 10]), "target")
    assert state.levels == ("2", "9", "10")
    assert state.counts == (1, 1, 2)
    assert CATEGORY.task(state) == "multiclass"
    assert classes(pa.array(["10", "2", "9.0"]), state) == [2, 0, 1]


def test_labels_that_differ_by_a_full_stop_or_case_are_known() -> None:
    state = fitted(pa.array([" <=50K", " >50K", " <=50K"]), "target")
    assert classes(pa.array([" >50K.", " <=50K.", ">50k", ">60K", "?", None]), state) == [
        *(1, 0, 1),
        *(-1, -1, -1),
    ]
    got = CATEGORY.encode([pa.array([">60K", "?", None, ">50K"])], [state])
    assert got.unreadable[:, 0].tolist() == [True, False, False, False]


def test_a_loose_spelling_of_two_classes_is_neither() -> None:
    state = fitted(pa.array(["a", "A", "b"]), "target")
    assert classes(pa.array(["a.", "b.", "a", "A"]), state) == [-1, 2, 1, 0]
    state = fitted(pa.array(["a", "A"]), "target")
    assert classes(pa.array(["a.", "A"]), state) == [-1, 0]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (pa.array(["a", "a", None]), "one class only: 'a'"),
        (pa.nulls(4), "no value"),
        (pa.array([f"c{i}" for i in range(1_200)]), "1,000"),
    ],
)
def test_targets_that_nothing_can_be_learned_from(cells: pa.Array, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        fitted(cells, "target")


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (pa.array(["b", "a"]), pa.array(["a", "b"])),
        (pa.array([3, 1]), pa.array([1, 3])),
        (pa.array([0.5, 1.5]), pa.array([0.5, 1.5])),
        (pa.array([True, False]), pa.array([False, True])),
    ],
)
def test_a_prediction_is_in_the_user_s_own_terms(cells: pa.Array, values: pa.Array) -> None:
    state = fitted(cells, "target")
    columns = CATEGORY.decode(np.array([[0.9, 0.1], [0.3, 0.7]], np.float32), state)
    assert columns["prediction"].equals(values)
    names = [f"probability_{level}" for level in state.levels]
    assert list(columns) == ["prediction", *names]
    assert columns[names[1]].to_pylist() == pytest.approx([0.1, 0.7])
    assert columns[names[1]].type == pa.float64()


def test_the_threshold_is_for_the_second_class() -> None:
    state = fitted(pa.array(["no", "yes"]), "target")
    shares = np.array([[0.75, 0.25], [0.85, 0.15]], np.float32)
    assert CATEGORY.decode(shares, state, 0.2)["prediction"].to_pylist() == ["yes", "no"]


# ---- guesses


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pa.array(["a", "b", "c"] * 30), "category"),
        (pa.array(["01234", "98765", "00001"] * 30), "category"),
        (pa.array([1, 2, 3] * 30), "number"),
        (pa.array([0, 1] * 30), "boolean"),
        (pa.array([0.0, 1.0] * 30), "boolean"),
        (pa.array([1, 2] * 30), "number"),
        (pa.array([0, 1] * 300 + [2]), "number"),
        (pa.array(["no", "yes"] * 300 + ["maybe"]), "boolean"),
        (pa.array([0] * 30), "number"),
        (pa.array(["0", "1"] * 30), "boolean"),
        (pa.array(["No", "Yes", "?"] * 30), "boolean"),
        (pa.array(["No", "Up"] * 30), "category"),
        (pa.array(["No"] * 30), "category"),
        (pa.array([True, False]), "boolean"),
        (pa.array(["2021-01-01", "2021-02-01"] * 30), "datetime"),
        (pa.array(["M", "F"] * 30), "category"),
        (pa.array(["1", "2.5", "?"] * 30), "number"),
    ],
)
def test_a_column_is_what_a_person_would_say(cells: pa.Array, kind: str) -> None:
    summary = summarise([cells])
    scores = {name: one.sniff(summary) for name, one in KINDS.items()}
    assert max(scores, key=lambda name: scores[name]) == kind, scores


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([f"person {i}" for i in range(200)]),
        pa.array([f"a long text of many words {i} that goes on and on" for i in range(200)]),
    ],
)
def test_fresh_text_is_hardly_anything(cells: pa.Array) -> None:
    others = [kind for kind in KINDS.values() if kind.name != "text"]
    assert max(kind.sniff(summarise([cells])) for kind in others) < 0.3
