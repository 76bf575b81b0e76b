"""Answers: the best of each row is marked, nothing that is no number reaches the JSON."""

from __future__ import annotations

import json
import math

import pytest

from thalweg.cli.answer import answer_json, pointers, screen, standing, tell_standing
from thalweg.models.record import Baseline, Evaluation, Figure


def figure(value: float) -> Figure:
    return Figure(value=value, low=value * 0.95, high=value * 1.05)


def rival(rmse: float, r2: float) -> Baseline:
    return Baseline(metrics={"rmse": figure(rmse), "r2": figure(r2)}, seconds=1.0)


OWN = {"rmse": figure(43812.3), "r2": figure(0.8512), "coverage": figure(0.9)}
JUDGED = Evaluation(
    task="regression",
    rows=4128,
    metric="rmse",
    metrics=OWN,
    baselines={"linear": rival(69000.0, 0.64), "boosting": rival(46000.0, 0.8612)},
)


def drawn(capsys: pytest.CaptureFixture[str], evaluation: Evaluation) -> list[list[str]]:
    screen().print(standing(evaluation))
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_best_of_each_row_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    heading, rmse, r2, coverage = drawn(capsys, JUDGED)
    assert heading == ["thalweg", "95%", "interval", "boosting", "linear"]
    assert rmse[:3] == ["RMSE", "★", "43,812"]
    assert rmse[-2:] == ["46,000", "69,000"]
    assert r2[:2] == ["R²", "0.8512"]
    assert r2[-3:] == ["★", "0.8612", "0.6400"]
    assert coverage[-2:] == ["–", "–"]
    assert "★" not in coverage


def test_a_model_alone_is_not_called_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    alone = Evaluation(task="regression", rows=4128, metric="rmse", metrics=OWN)
    assert all("★" not in line for line in drawn(capsys, alone))


def test_how_rows_are_called_stands_below(capsys: pytest.CaptureFixture[str]) -> None:
    tell_standing(screen(), JUDGED)
    assert "class" not in capsys.readouterr().out
    two = {"task": "binary", "classes": ["no", "[b]yes[/b]"], "threshold": 0.25}
    tell_standing(screen(), JUDGED.model_copy(update=two), {"threshold": "f1"})
    told = " ".join(capsys.readouterr().out.split())
    assert "calls a row [b]yes[/b] from a probability of 0.25, chosen for F1" in told


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    answer_json({"value": math.nan, "rows": {"test": 3}})
    assert json.loads(capsys.readouterr().out) == {"value": None, "rows": {"test": 3}}


def test_a_command_to_copy_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    long = "thalweg predict " + "x" * 200
    pointers(screen(), {"model": "here", "next": long})
    assert capsys.readouterr().out.splitlines() == ["model  here", f"next   {long}"]
