from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.models.recipe import Recipe
from thalweg.training.plan import Pace, Plan, fitting

SETTINGS: dict[str, Any] = {"epochs": 3, "columns": {"a": "number"}, "drop": ["b"], "minutes": None}
PLAN = Plan(SETTINGS, "abc", Recipe(epochs=7, learning_rate=1e-3))


@pytest.mark.parametrize(("seconds", "epochs"), [(4.7, 4), (11.5, 10), (1e9, 40)])
def test_epochs_fit_the_time(seconds: float, epochs: int) -> None:
    found = fitting(Recipe(epochs=40), 100, Pace(0.005, 0.5), seconds)
    assert (found.epochs, found.share) == (epochs, 1.0)


@given(
    epochs=st.integers(1, 50),
    share=st.floats(0.1, 1),
    step=st.floats(1e-4, 0.1),
    judging=st.floats(0, 1),
    seconds=st.floats(10, 1000),
)
def test_few_passes_are_parted(
    epochs: int, share: float, step: float, judging: float, seconds: float
) -> None:
    recipe, steps = Recipe(epochs=epochs, share=share), 10_000
    found = fitting(recipe, steps, Pace(step, judging), seconds)
    assert min(4, epochs) <= found.epochs <= epochs
    lasts = found.epochs * (found.share / share * steps * step + judging)
    assert lasts <= seconds
    # The time is spent: but for the margin, and less than an epoch where there are many.
    whole = steps * step + judging
    if found != recipe:
        assert lasts > seconds / 1.2 - (whole if found.share == share else 0)
    # What there is no time for is not begun as something smaller still.
    assert found.share == share or found.epochs == min(4, epochs)
    assert found.share == share or found.patience >= found.epochs


def test_a_time_too_short_for_a_step_is_a_step() -> None:
    assert fitting(Recipe(epochs=40), 100, Pace(0.01, 1.0), 0.001).share == 0.01


def test_a_plan_is_read_back(tmp_path: Path) -> None:
    PLAN.save(tmp_path / "deep" / "plan.json")
    assert Plan.load(tmp_path / "deep" / "plan.json") == PLAN


def test_the_same_run_may_go_on() -> None:
    PLAN.check(dict(SETTINGS), "abc")


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", 4), ("columns", {}), ("drop", []), ("minutes", 5.0)]
)
def test_other_settings_are_named(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"--resume with {name} = .*{name} = .*begun"):
        PLAN.check({**SETTINGS, name: value}, "abc")


def test_other_rows_are_refused() -> None:
    with pytest.raises(OptionError, match="source that has changed"):
        PLAN.check(SETTINGS, "abd")


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "{}", '{"seal": "x"}', "\xff"])
def test_what_is_no_plan_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content, encoding="latin-1")
    with pytest.raises(ArtifactError, match="without --resume"):
        Plan.load(tmp_path / "plan.json")


def test_a_changed_digit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    PLAN.save(path)
    facts = json.loads(path.read_text())
    facts["recipe"]["learning_rate"] = 2e-3
    path.write_text(json.dumps(facts))
    with pytest.raises(ArtifactError, match="hash differs"):
        Plan.load(path)
