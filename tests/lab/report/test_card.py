from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from thalweg.data.schema import Column, Ignored, Schema
from thalweg.kinds.base import State
from thalweg.lab.report import render_card
from thalweg.lab.report.card import escaped, quoted
from thalweg.models.record import Baseline, Figure, Slice

Story = Any  # the dataclass of conftest.py
HOSTILE = "|`` <img src=x>\n\n# Title [a](javascript:b) ```\x1b[31m"


@pytest.fixture(params=["binary", "multiclass", "regression"])
def story(request: pytest.FixtureRequest) -> Story:
    return request.getfixturevalue(request.param)


def card_of(story: Story, **changes: Any) -> str:
    given = story.given() | {"fingerprint": "9f2c" * 16} | changes
    del given["profile"]
    return render_card(**given)


def test_every_part_of_a_model_card_is_there(story: Story) -> None:
    card = card_of(story)
    assert card.startswith("# ")
    for title in (
        "How well it does",
        "Where it is weak",
        "What it was trained on",
        "Limits",
        "How to use it",
        "How it was trained",
    ):
        assert f"\n## {title}\n" in card
    assert f"Predicts `{story.schema.target.name}`" in card
    assert "9f2c" * 16 in card
    assert f"    thalweg predict {story.name} new_rows.csv --to predictions.csv" in card
    assert "`occupation = 'Prof-specialty'`" in card
    assert card == card_of(story)


def test_figures_stand_beside_baselines(binary: Story) -> None:
    card = card_of(binary)
    assert "| metric | Thalweg | boosted trees | linear | constant |" in card
    assert "| log loss | 0.2932 (0.2861 to 0.3003) | **0.2775** (0.2704 to 0.2846) |" in card
    assert "A baseline is better at log loss, by more than chance explains." in card
    assert "is it known before the target is?" in card


def test_a_model_that_was_not_judged_says_so(binary: Story) -> None:
    assert "It was not judged yet" in card_of(binary, evaluation=None)


def test_it_says_how_rows_are_called(binary: Story, multiclass: Story) -> None:
    settings = {"threshold": "f1"}
    training = binary.training.model_copy(update={"settings": settings})
    card = card_of(binary, training=training)
    assert "are about the class \\>50K" in card
    assert "0.413, chosen for F1 on rows it had not learned from; rivals decide at 0.5" in card
    assert "are about the class" not in card_of(multiclass)


def test_folds_epochs_and_the_fingerprint_are_said_as_they_are(binary: Story) -> None:
    folded = card_of(binary, rows=binary.rows.model_copy(update={"validation": 0}))
    assert "each member of the network held out an eighth of its own" in folded
    assert "to validate" not in folded
    assert "epoch 16 kept" in folded
    assert "names, sizes and times of change" in folded


def test_few_rows_are_named_as_a_limit(binary: Story) -> None:
    few = binary.rows.model_copy(update={"train": 312})
    assert "It learned from 312 rows only" in card_of(binary, rows=few)
    assert "rows only" not in card_of(binary)


def test_hostile_names_neither_mark_up_nor_break_a_table(binary: Story) -> None:
    state = State()
    schema = Schema(
        (Column(HOSTILE, "category", state, HOSTILE),),
        Column(HOSTILE, "category", state, HOSTILE),
        (Ignored(HOSTILE, HOSTILE),),
    )
    figure = Figure(value=0.5, low=0.4, high=0.6)
    told = binary.judged(
        metric=HOSTILE,
        metrics={HOSTILE: figure},
        baselines={HOSTILE: Baseline(metrics={HOSTILE: figure}, seconds=1)},
        classes=[HOSTILE, "b"],
        slices=[Slice(where=HOSTILE, rows=1, loss=1, rest=1, value=2, probability=0)],
        warnings=[HOSTILE],
    )
    training = told.training.model_copy(
        update={"settings": {HOSTILE: HOSTILE}, "versions": {HOSTILE: HOSTILE}, "stopped": HOSTILE}
    )
    card = card_of(replace(told, schema=schema, training=training, name=HOSTILE))
    assert "\x1b" not in card
    assert [line for line in card.splitlines() if line.startswith("# ")] == [card.splitlines()[0]]
    rows = [line for line in card.splitlines() if line.startswith("|")]
    bars = [row.replace("\\|", "").count("|") for row in rows]
    assert bars == [4, 4, 4, 6, 6, 6, 4, 4, 4]


def test_quoting_survives_any_backticks() -> None:
    assert quoted("") == "` `"
    assert quoted("`") == "`` ` ``"
    assert quoted("a``b") == "```a``b```"
    assert escaped("&lt; \\") == "\\&lt; \\\\"


@pytest.mark.parametrize("missing", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_shown(story: Story, missing: float) -> None:
    none = Figure(value=missing, low=missing, high=missing)
    told = story.judged(metrics=dict.fromkeys(story.evaluation.metrics, none), slices=[])
    card = card_of(told)
    assert "nan" not in card
    assert "(inf" not in card
    assert "None" not in card
