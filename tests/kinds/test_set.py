from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thalweg.core.errors import TargetError
from thalweg.kinds import KINDS
from thalweg.kinds.check import summarise
from thalweg.kinds.set import Set, SetOptions, SetState

DATA = Path(os.environ.get("THALWEG_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
SET = Set()
FILMS = pa.array(
    [["drama"], ["drama", "war"], [], ["war", "drama", "war"], None, ["drama", "rare"]] * 2
)


def fitted(cells: pa.Array, role="feature", **options: object) -> SetState:
    return SET.fit(summarise([cells]), SetOptions.model_validate(options), role)


def codes(cells: pa.Array, state: SetState) -> list[list[int]]:
    return SET.encode([cells], [state]).fields["codes"][:, 0].tolist()


def test_labels_stand_by_how_common_they_are() -> None:
    state = fitted(FILMS, rare=3)
    assert state.levels == ("drama", "war", "rare")
    assert (state.rows, state.most, state.delimiter) == (10, 3, "")
    # Each label once, the commonest first, and those never seen last.
    asked = pa.array([["war", "drama", "war"], [], None, ["new", "war"], ["new", "newer"]])
    assert codes(asked, state) == [[2, 3, 0], [0, 0, 0], [0, 0, 0], [3, 1, 0], [1, 0, 0]]
    assert SET.encode([asked], [state]).fields["missing"][:, 0].tolist() == [0, 0, 1, 0, 0]
    assert fitted(FILMS, levels=1).levels == ("drama",)


def test_text_and_lists_say_the_same() -> None:
    texts = pa.array(["drama", "drama|war", "", "war|drama", None, "drama| rare"] * 2)
    state = fitted(texts)
    assert state.delimiter == "|"
    assert state.levels == fitted(FILMS).levels
    for cells in (texts, texts.dictionary_encode(), FILMS):
        assert codes(cells, state)[:4] == [[2, 0], [2, 3], [0, 0], [2, 3]]
    assert fitted(pa.array(["a;b, c", "a"] * 9), delimiter="semicolon").levels == ("a", "b, c")
    assert fitted(pa.array(["a b", "b"] * 9), delimiter="none").levels == ("a b", "b")


def test_what_a_gap_becomes() -> None:
    gap = pa.array([None, ["war"]])
    empty = SET.encode([gap], [fitted(FILMS, missing="empty")])
    assert empty.fields["missing"].tolist() == [[0], [0]]
    assert not empty.dropped.any()
    assert SET.encode([gap], [fitted(FILMS, missing="drop")]).dropped.tolist() == [True, False]


def test_of_too_many_labels_the_commonest_are_read() -> None:
    many = [f"label {place:03}" for place in range(100)]
    cells = pa.array([many[: place + 1] for place in range(100)] * 2)
    state = fitted(cells, rare=1)
    found = np.array(codes(pa.array([many[::-1]]), state))
    assert found.tolist() == [list(range(2, 66))]


def test_a_target_marks_its_labels() -> None:
    state = fitted(FILMS, "target")
    assert state.levels == ("drama", "rare", "war")
    asked = pa.array([["war", "drama"], [], None, ["new"], ["new", "rare"]])
    encoded = SET.encode([asked], [state])
    assert encoded.fields["labels"][:, 0].tolist() == [
        [1, 0, 1],
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]
    # Nothing known is there to learn from, or to judge by.
    assert encoded.dropped.tolist() == [False, False, True, True, False]
    assert encoded.unreadable[:, 0].tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("cells", [[[], []], [["a"], ["a"]], [None]])
def test_a_target_that_tells_nothing_apart_is_refused(cells: list[list[str] | None]) -> None:
    with pytest.raises(TargetError):
        fitted(pa.array(cells, pa.list_(pa.string())), "target")


def test_answers_come_as_the_sets_came() -> None:
    shares = np.array([[0.9, 0.2, 0.6], [0.1, 0.1, 0.1]])
    found = SET.decode(shares, fitted(FILMS, "target"))
    assert found["prediction"].to_pylist() == [["drama", "war"], []]
    assert found["probability_rare"].to_pylist() == [0.2, 0.1]
    found = SET.decode(shares, fitted(FILMS, "target"), (0.95, 0.15, 0.7))
    assert found["prediction"].to_pylist() == [["rare"], []]
    text = fitted(pa.array(["a|b", "b|c", "c"]), "target")
    assert SET.decode(shares, text)["prediction"].to_pylist() == ["a|c", ""]
    whole = fitted(pa.array([[10, 9], [2]]), "target")
    assert whole.levels == ("2", "9", "10")
    assert SET.decode(shares, whole)["prediction"].to_pylist() == [[2, 10], []]


def test_textbook_models_see_the_commonest_labels() -> None:
    state = fitted(FILMS, rare=3)
    fields = SET.encode([pa.array([["war", "new"], None, []])], [state]).fields
    made = SET.design(fields, [state])
    assert made.numbers.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert made.codes.shape == (3, 0)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pa.array([["a"], ["a", "b"]] * 20), "set"),
        (pa.array([[1], [2, 3]] * 20), "set"),
        (pa.array(["a|b", "b", "c|a", "d|a", "c", "d", "a", "b|d", "c|d", "a|b|d"] * 5), "set"),
        (pa.array(["Aalen", "Bonn"] * 20), "category"),
        (pa.array(["Bonn, Rhein", "Aalen, Kocher"] * 20), "category"),
    ],
)
def test_what_is_taken_for_a_set(cells: pa.Array, kind: str) -> None:
    summary = summarise([cells])
    assert max(KINDS, key=lambda name: KINDS[name].sniff(summary)) == kind


def test_lists_of_measurements_are_none() -> None:
    assert SET.sniff(summarise([pa.array([[0.1, 0.7], [0.2, 0.3]] * 20)])) == 0
    assert SET.sniff(summarise([pa.array([[1.0, 7.5], [0.2]] * 20)])) == 0


@pytest.mark.skipif(not DATA.exists(), reason="the real tables are not here")
def test_genres_are_recognised() -> None:
    table = pq.read_table(DATA / "recommendation" / "movielens_small.parquet")
    summary = summarise([table["genres"]])
    assert max(KINDS, key=lambda name: KINDS[name].sniff(summary)) == "set"
    state = SET.fit(summary, SetOptions(), "feature")
    assert state.levels[:2] == ("Drama", "Comedy")
    assert len(state.levels) == 20
    assert state.delimiter == "|"
