"""Judging: rivals choose by honest rows, and rows that cannot be judged do not vanish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import thalweg
from thalweg.core.progress import Silent
from thalweg.data.parts import Prepared, Wishes
from thalweg.data.prepare import prepare
from thalweg.data.split import Split
from thalweg.lab import evaluate
from thalweg.models.model import Model
from thalweg.sources import open_source

QUICK = {"members": 2, "width": 16, "depth": 1}


def table(rows: int = 400, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    x = random.normal(size=rows).round(3)
    return pl.DataFrame(
        {
            "x": x,
            "shop": random.integers(0, 40, rows),
            "day": random.permutation(rows),
            "y": np.where(x + random.normal(size=rows) > 0, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def model() -> Model:
    return thalweg.train(table(), "y", epochs=2, baselines=[], recipe=QUICK, minutes=None)


def prepared(target: str, split: str) -> Prepared:
    wishes = Wishes(target, {"y": "category"})
    return prepare(open_source(table()), wishes, Split.parse(split), None, Silent())


@pytest.mark.parametrize("target", ["y", "x"])
def test_rivals_hold_out_whole_groups(model: Model, target: str) -> None:
    found = prepared(target, "group:shop")
    if target == "x":
        model = thalweg.train(table(), "x", epochs=1, baselines=[], recipe=QUICK, minutes=None)
    held = evaluate._held(model, found)
    assert held is not None
    groups = found.train.groups
    assert not set(groups[held]) & set(groups[~held])
    assert 0.03 < held.mean() < 0.25


def test_a_class_of_one_group_is_learned_from(model: Model) -> None:
    found = prepared("y", "group:shop")
    codes = found.train.arrays.target["code"]
    for group in np.unique(found.train.groups):
        codes[:] = found.train.groups[:, None] == group
        held = evaluate._held(model, found)
        assert held is not None
        assert not held[codes[:, 0] == 1].any()


def test_rivals_choose_by_the_latest_rows_of_a_split_by_time(model: Model) -> None:
    found = prepared("y", "time:day")
    held = evaluate._held(model, found)
    assert held is not None
    assert held.sum() == len(found.validation.arrays) > 0
    assert not held[: len(found.train.arrays)].any()
    assert evaluate._held(model, prepared("y", "random")) is None


def test_rivals_are_told(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def spy(*rows: Any, **words: Any) -> dict[str, Any]:
        del rows
        given.update(words)
        return {}

    monkeypatch.setattr(evaluate, "fit_baselines", spy)
    evaluate._rivals(model, prepared("y", "group:shop"), None, Silent())
    assert given["held"].any()


def spoilt(rows: pl.DataFrame) -> pl.DataFrame:
    """Three rows without a target, two of an unknown class."""
    labels = rows["y"].to_list()
    labels[:5] = [None, "?", None, "maybe", "perhaps"]
    return rows.with_columns(pl.Series("y", labels))


def test_rows_that_cannot_be_judged_are_counted_by_reason(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    spoilt(table(100, seed=1)).write_csv(path)
    with path.open("a") as file:
        file.write("one,cell,too,many,here\n")
    judged = thalweg.evaluate(model, path)
    assert judged.rows == 95
    assert sorted(judged.warnings) == [
        "1 row not judged: could not be read",
        "2 rows not judged: a class that was never trained on",
        "3 rows not judged: no usable target",
    ]
    assert thalweg.evaluate(model, table(50, seed=1)).warnings == []


def test_training_says_what_was_left_out() -> None:
    rows = table().with_columns(y=pl.when(pl.col("day") < 3).then(None).otherwise("y"))
    model = thalweg.train(
        rows,
        "y",
        test=spoilt(table(100, seed=1)),
        columns={"x": "number,missing=drop", "y": "category"},
        epochs=1,
        baselines=[],
        recipe=QUICK,
        minutes=None,
    )
    assert model.evaluation is not None
    told = model.evaluation.warnings
    assert "2 test rows left out: a class that was never trained on" in told
    assert "3 test rows left out: no usable target" in told
    assert "3 training rows left out: no usable target" in told
