"""The worst mistakes: which rows they are, and their cells as the network saw them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.arrays import Arrays
from thalweg.data.schema import Column, Schema
from thalweg.kinds import KINDS
from thalweg.kinds.base import Encoded
from thalweg.kinds.check import summarise
from thalweg.kinds.waves import wav
from thalweg.lab import mistakes
from thalweg.lab.mistakes import pieces_of, worst_mistakes
from thalweg.models.decoder import Answers
from thalweg.models.record import Importance

TEXTS = ["good food, kind people", "bad food", "so so", "good for nothing", None, "bad and good"]
NUMBERS = [1.5, 2.5, None, 4.5, 5.5, 6.5]


def rows(**cells: tuple[str, pa.Array]) -> tuple[Schema, Arrays]:
    """Fit and encode columns of some kinds, each by its name."""
    columns = []
    features: dict[str, dict[str, Any]] = {}
    for name, (kind, array) in cells.items():
        one = KINDS[kind]
        state = one.fit(summarise([array]), one.options_type(), "feature")
        columns.append(Column(name, kind, state))
        features[kind] = dict(one.encode([array], [state]).fields)
    return Schema(tuple(columns)), Arrays(features)


def judged(
    schema: Schema, answers: Callable[[Arrays], np.ndarray], task: str = "binary"
) -> SimpleNamespace:
    """Stand in for a model: its answers follow from the encoded cells by a plain rule."""
    return SimpleNamespace(
        task=task,
        schema=schema,
        classes=["no", "yes"],
        calibration=SimpleNamespace(threshold=None),
        answers=lambda arrays: Answers(answers(arrays)),
    )


def seen(schema: Schema, arrays: Arrays, name: str) -> list[Any]:
    (column,) = (one for one in schema.columns if one.name == name)
    nowhere = np.zeros((len(arrays), 1), np.bool_)
    encoded = Encoded(arrays.features[column.kind], nowhere[:, 0], nowhere)
    return KINDS[column.kind].restore(encoded, 0, column.state).to_pylist()


def test_the_worst_come_first_and_what_was_called_rightly_does_not_come() -> None:
    schema, arrays = rows(size=("number", pa.array(NUMBERS)))
    said = np.array([0.9, 0.2, 0.99, 0.6, 0.05, 0.4])
    model = judged(schema, lambda _: np.stack([1 - said, said], axis=1))
    truth = np.array([1, 1, 0, 0, 0, 0])
    found = worst_mistakes(model, arrays, truth, model.answers(arrays))
    assert [(one.truth, one.prediction) for one in found] == [
        ("no", "yes"),
        ("yes", "no"),
        ("no", "yes"),
    ]
    assert [one.probability for one in found] == pytest.approx([0.99, 0.8, 0.6])
    assert [one.loss for one in found] == pytest.approx(-np.log([0.01, 0.2, 0.4]))
    assert [one.exhibits[0].data for one in found] == ["", "2.5", "4.5"]
    assert found[0].exhibits[0].note == "missing"
    assert len(worst_mistakes(model, arrays, truth, model.answers(arrays), most=1)) == 1
    assert worst_mistakes(model, arrays, (said > 0.5).astype(int), model.answers(arrays)) == []


def test_a_number_is_judged_by_its_distance() -> None:
    schema, arrays = rows(size=("number", pa.array(NUMBERS)))
    model = judged(schema, lambda _: np.array([1.0, 2, 3, 4, 5, 6]), "regression")
    truth = np.array([1.0, 2, 30, 4, 5, 7])
    found = worst_mistakes(model, arrays, truth, model.answers(arrays), most=2)
    assert [(one.truth, one.prediction, one.probability) for one in found] == [
        ("30", "3", None),
        ("7", "6", None),
    ]


def test_labels_are_named_and_a_row_of_none_is_too() -> None:
    schema, arrays = rows(size=("number", pa.array(NUMBERS[:2])))
    model = judged(schema, lambda _: np.array([[0.9, 0.8], [0.1, 0.9]]), "multilabel")
    found = worst_mistakes(model, arrays, np.array([[0, 0], [0, 1]]), model.answers(arrays))
    assert [(one.truth, one.prediction) for one in found] == [
        ("no label", "no, yes"),
        ("yes", "yes"),
    ]


def test_the_words_that_mattered_are_found_by_leaving_each_out() -> None:
    schema, arrays = rows(review=("text", pa.array(TEXTS)), size=("number", pa.array(NUMBERS)))

    def rule(given: Arrays) -> np.ndarray:
        texts = [text or "" for text in seen(schema, given, "review")]
        said = np.array([0.5 + 0.4 * ("good" in t) - 0.3 * ("bad" in t) for t in texts])
        return np.stack([1 - said, said], axis=1)

    model = judged(schema, rule)
    truth = np.array([0, 0, 1, 0, 1, 0])
    found = worst_mistakes(model, arrays, truth, model.answers(arrays))
    pieces = {one.exhibits[0].data: dict(one.exhibits[0].pieces) for one in found}
    first = {piece.strip(" ,"): weight for piece, weight in pieces[TEXTS[0]].items()}
    assert first == pytest.approx({"good": 0.4, "food": 0, "kind": 0, "people": 0}, abs=1e-9)
    both = {piece.strip(): weight for piece, weight in pieces[TEXTS[5]].items()}
    assert both == pytest.approx({"bad": -0.3, "and": 0, "good": 0.4}, abs=1e-9)
    (blank,) = (one.exhibits[0] for one in found if not one.exhibits[0].data)
    assert (blank.note, blank.pieces) == ("missing", [])


def test_one_of_two_columns_of_text_is_changed_at_a_time() -> None:
    state = KINDS["text"].fit(summarise([pa.array(TEXTS)]), KINDS["text"].options_type(), "feature")
    columns = (Column("title", "text", state), Column("body", "text", state))
    schema = Schema(columns)
    cells = [pa.array(["good news"]), pa.array(["bad news today"])]
    arrays = Arrays({"text": KINDS["text"].encode(cells, [state, state]).fields})

    def rule(given: Arrays) -> np.ndarray:
        nowhere = np.zeros((len(given), 2), np.bool_)
        encoded = Encoded(given.features["text"], nowhere[:, 0], nowhere)
        title, body = (KINDS["text"].restore(encoded, c, state).to_pylist() for c in range(2))
        said = np.array(
            [
                0.5 + 0.3 * ("good" in (t or "")) + 0.1 * ("bad" in (b or ""))
                for t, b in zip(title, body, strict=True)
            ]
        )
        return np.stack([1 - said, said], axis=1)

    model = judged(schema, rule)
    (found,) = worst_mistakes(model, arrays, np.array([0]), model.answers(arrays))
    title, body = found.exhibits
    assert [weight for _, weight in title.pieces] == pytest.approx([0.3, 0])
    assert [weight for _, weight in body.pieces] == pytest.approx([0.1, 0, 0])


def test_sounds_come_back_as_files_as_long_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waves = [np.full(800, level, np.int16) for level in (1, 2, 3)]
    cells = pa.array([*(wav(wave, 8_000) for wave in waves), None])
    schema, arrays = rows(noise=("audio", cells))
    model = judged(schema, lambda given: np.tile([0.1, 0.9], (len(given), 1)))
    truth = np.zeros(4, np.int64)
    found = worst_mistakes(model, arrays, truth, model.answers(arrays))
    assert [one.exhibits[0].media for one in found] == ["audio"] * 4
    assert base64.b64decode(found[1].exhibits[0].data) == cells[1].as_py()
    assert found[3].exhibits[0].note == "missing"
    monkeypatch.setattr(mistakes, "MOST_BYTES", 5_000)
    short = worst_mistakes(model, arrays, truth, model.answers(arrays))
    notes = [one.exhibits[0].note for one in short]
    assert notes == ["", "", "too large to be kept here", "missing"]


def test_of_many_columns_those_that_matter_are_shown() -> None:
    schema, arrays = rows(first=("number", pa.array(NUMBERS)))
    (column,) = schema.columns
    names = [f"c{place}" for place in range(30)]
    wide = Schema(tuple(Column(name, "number", column.state) for name in names))
    fields = {
        name: np.repeat(field, 30, axis=1) for name, field in arrays.features["number"].items()
    }
    model = judged(wide, lambda given: np.tile([0.1, 0.9], (len(given), 1)))
    importances = [
        Importance(column="c20", kind="number", value=0.5, low=0, high=1),
        Importance(column="c29", kind="number", value=0.9, low=0, high=1),
    ]
    arrays = Arrays({"number": fields})
    found = worst_mistakes(model, arrays, np.zeros(6, np.int64), model.answers(arrays), importances)
    assert [one.column for one in found[0].exhibits][:3] == ["c29", "c20", "c0"]
    assert len(found[0].exhibits) == mistakes.MOST_VALUES


def test_lists_are_told_by_their_first_items() -> None:
    schema, arrays = rows(place=("vector", pa.array([[0.5, 1, 2, 3, 4, 5, 6], None])))
    model = judged(schema, lambda given: np.tile([0.1, 0.9], (len(given), 1)))
    found = worst_mistakes(model, arrays, np.zeros(2, np.int64), model.answers(arrays))
    cells = [row.exhibits[0].data or row.exhibits[0].note for row in found]
    assert cells == ["0.5, 1, 2, 3, 4 and 2 more", "missing"]


@given(st.text(max_size=300), st.integers(1, 50))
def test_pieces_make_up_the_text(text: str, most: int) -> None:
    pieces = pieces_of(text, most)
    assert "".join(pieces) == text
    assert len(pieces) <= most
