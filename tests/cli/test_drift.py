"""``thalweg drift``: a table, a page, an object; a model in place of the table before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import thalweg
from thalweg.cli.main import main
from thalweg.core.errors import OptionError
from thalweg.models.model import Model
from thalweg.stats import TableSummary
from thalweg.stats.drift.reference import Reference

Captured = pytest.CaptureFixture[str]


def rows(seed: int, shift: float = 0.0) -> pl.DataFrame:
    drawn = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "size": drawn.normal(50 + shift, 10, 600),
            "town": drawn.choice(["Ulm", "Bonn", "Kiel"], 600),
            "sold": drawn.choice(["yes", "no"], 600),
        }
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows(1).write_csv("before.csv")
    rows(12).write_parquet("same.parquet")
    rows(3, 6).with_columns(pl.lit("a<b>").alias("x<y>")).drop("sold").write_parquet("b.parquet")
    return tmp_path


def test_it_prints_what_has_changed_the_farthest_first(home: Path, capsys: Captured) -> None:
    assert main(["drift", "before.csv", "b.parquet", "--html", "page.html"]) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    order = [line.split()[0] for line in lines[1:5]]
    assert order == ["sold", "x<y>", "size", "town"]
    assert "the column is gone" in lines[1]
    assert "mean 49.56 → 56." in lines[3]
    assert "no" in lines[4]
    assert "3 of 4 columns have changed; 600 rows before, 600 after" in told
    assert "page  page.html" in told
    page = Path("page.html").read_text(encoding="utf-8")
    assert '<bdi class="name">x&lt;y&gt;</bdi>' in page
    assert page.count('<svg class="bars"') == 2
    assert "no such column" in page
    assert "Distribution of size before" in page


def test_it_says_where_nothing_has(home: Path, capsys: Captured) -> None:
    assert main(["drift", "before.csv", "same.parquet", "--html", "page.html", "-q"]) == 0
    assert "0 of 3 columns have changed" in capsys.readouterr().out
    assert "None of 3 columns has changed" in Path("page.html").read_text(encoding="utf-8")


def test_it_answers_with_an_object(home: Path, capsys: Captured) -> None:
    assert main(["drift", "before.csv", "b.parquet", "--json", "-q"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["rows_before"], told["rows_after"], told["drifted"]) == (600, 600, 3)
    (size,) = (one for one in told["columns"] if one["name"] == "size")
    assert size["drifted"]
    assert size["reasons"] == ["distribution"]
    assert size["measure"] == "ks"


def test_mistakes_are_told_in_a_line(home: Path, capsys: Captured) -> None:
    assert main(["drift", "before.csv", "bb.parquet", "-q"]) == 2
    assert "Did you mean 'b.parquet'" in capsys.readouterr().err
    Path("empty.csv").write_text("size,town\n")
    assert main(["drift", "before.csv", "empty.csv", "-q"]) == 2
    assert "empty.csv has no rows" in capsys.readouterr().err


def test_a_model_stands_for_the_rows_that_it_was_trained_on(home: Path) -> None:
    recipe = {"members": 1, "width": 8, "depth": 1}
    model = thalweg.train("before.csv", "sold", out="model", epochs=1, baselines=[], recipe=recipe)
    summary = TableSummary()
    summary.update(rows(1).to_arrow())
    model.reference = Reference.of(summary)
    found = thalweg.drift(model, "b.parquet")
    # The target need not be there.
    assert [one.name for one in found.drifted] == ["size"]
    assert found.before == "the model"
    model.reference = None
    with pytest.raises(OptionError, match="keeps no reference of its training rows"):
        thalweg.drift(model, "b.parquet")
    loaded = Model.load(Path("model"))
    if loaded.reference is not None:
        found = thalweg.drift("model", "same.parquet")
        assert (found.before, found.drifted) == ("model", ())
