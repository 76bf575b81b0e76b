"""The verbs from end to end: what they answer to people and to programs, and what they leave."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import thalweg
from thalweg.cli.main import main

Captured = pytest.CaptureFixture[str]

QUICK = ["--epochs", "4", "--baselines", "constant,linear", "--set", "members=2"]
QUICK += ["--set", "width=16", "--set", "depth=1", "--seed", "3"]


def rows(count: int) -> pl.DataFrame:
    random = np.random.default_rng(1)
    size = random.normal(50, 10, count)
    return pl.DataFrame(
        {
            "size": size.round(3),
            "town": random.choice(["Ulm", "Bonn", "Kiel"], count),
            "price": (size * 3 + random.normal(0, 5, count)).round(3),
            "sold": np.where(size + random.normal(0, 4, count) > 50, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, rows to judge on, and a trained model of each."""
    home = tmp_path_factory.mktemp("home")
    rows(600).write_csv(home / "table.csv")
    rows(200).write_parquet(home / "new.parquet")
    for target in ("price", "sold"):
        words = ["train", str(home / "table.csv"), "--target", target, "--quiet"]
        assert main([*words, "--out", str(home / target), *QUICK]) == 0
    return home


def answer(capsys: Captured, words: list[str]) -> dict[str, Any]:
    """Run a command with --json and give what it answered."""
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert isinstance(told, dict)
    return told


def check_standing(told: dict[str, Any], model: Path, task: str, metrics: set[str]) -> None:
    assert told["task"] == task
    assert Path(told["model"]) == model
    assert told["seconds"] > 0
    assert metrics <= set(told["metrics"])
    for figure in told["metrics"].values():
        assert set(figure) == {"value", "low", "high"}
    for baseline in told["baselines"].values():
        assert metrics <= set(baseline)


@pytest.mark.parametrize(
    ("target", "task", "metrics"),
    [
        ("price", "regression", {"rmse", "mae", "r2"}),
        ("sold", "binary", {"log_loss", "accuracy", "f1", "roc_auc", "average_precision"}),
    ],
)
def test_show_and_evaluate_answer_alike(
    home: Path, capsys: Captured, target: str, task: str, metrics: set[str]
) -> None:
    shown = answer(capsys, ["show", str(home / target)])
    check_standing(shown, home / target, task, metrics)
    assert set(shown["baselines"]) == {"constant", "linear"}
    assert shown["rows"]["train"] + shown["rows"]["validation"] + shown["rows"]["test"] == 600
    judged = answer(capsys, ["evaluate", str(home / target), str(home / "new.parquet")])
    check_standing(judged, home / target, task, metrics)
    assert judged["rows"]["test"] == 200


def test_train_answers_with_what_it_found(home: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "model"
    words = ["train", str(home / "table.csv"), "--target", "price", "--out", str(out), *QUICK]
    told = answer(capsys, words)
    check_standing(told, out, "regression", {"rmse", "mae", "r2"})
    assert sorted(path.name for path in out.iterdir()) == [
        "card.md",
        "model.json",
        "model.json.sha256",
        "report.html",
        "weights.safetensors",
    ]
    assert list(tmp_path.iterdir()) == [out]


def test_train_tells_people_what_to_do_next(home: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "model"
    words = ["train", str(home / "table.csv"), "--target", "sold", "--out", str(out), *QUICK]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    for part in ("thalweg", "constant", "linear", "ROC AUC", "★", "rows to train"):
        assert part in told
    assert str(out / "report.html") in told
    assert f"thalweg predict {out}" in told


def test_evaluate_shows_figures_and_intervals(home: Path, capsys: Captured) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(home / "price"), str(home / "new.parquet"), "-q"]) == 0
    told = capsys.readouterr().out
    for part in ("RMSE", "95% interval", " to ", "200 rows"):
        assert part in told


@pytest.mark.parametrize("ending", ["csv", "parquet", "ndjson"])
def test_predict_writes_every_row(
    home: Path, tmp_path: Path, capsys: Captured, ending: str
) -> None:
    sink = tmp_path / f"predictions.{ending}"
    words = ["predict", str(home / "price"), str(home / "new.parquet"), "--to", str(sink)]
    told = answer(capsys, words)
    assert told["rows"] == 200
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet, "ndjson": pl.read_ndjson}[ending]
    written = read(sink)
    assert written.height == 200
    assert {"prediction", "prediction_low", "prediction_high"} <= set(written.columns)
    errors = written["prediction"] - rows(200)["price"]
    assert float(errors.abs().mean()) < 30


def test_predict_shows_the_first_rows(home: Path, capsys: Captured) -> None:
    capsys.readouterr()
    assert main(["predict", str(home / "sold"), str(home / "new.parquet"), "-q"]) == 0
    told = capsys.readouterr().out
    for part in ("prediction", "probability_", "and 190 more", "--to"):
        assert part in told


def test_show_prints_the_card(home: Path, capsys: Captured) -> None:
    capsys.readouterr()
    assert main(["show", str(home / "price")]) == 0
    assert capsys.readouterr().out == (home / "price" / "card.md").read_text()


def test_a_model_that_python_saved_has_a_card_too(
    home: Path, tmp_path: Path, capsys: Captured
) -> None:
    bare = tmp_path / "bare"
    thalweg.load(home / "price").save(bare)
    assert not (bare / "card.md").exists()
    capsys.readouterr()
    assert main(["show", str(bare)]) == 0
    headings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("## ")]
    card = (home / "price" / "card.md").read_text()
    assert headings == [line for line in card.splitlines() if line.startswith("## ")]


def test_a_run_without_a_limit_is_repeated_without_one(
    home: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "model"
    words = ["train", str(home / "table.csv"), "--target", "price", "--out", str(out), "-q", *QUICK]
    assert main([*words, "--minutes", "inf"]) == 0
    capsys.readouterr()
    assert main(["show", str(out), "--settings"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["minutes"] == float("inf")


def test_profile_quotes_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    rows(30).write_csv("my table.csv")
    assert main(["profile", "my table.csv", "-q", "--column", "size=category"]) == 0
    assert "thalweg train 'my table.csv' --target COLUMN" in capsys.readouterr().out


def test_a_column_with_an_equals_sign_can_be_said(tmp_path: Path, capsys: Captured) -> None:
    rows(30).rename({"size": "a=b"}).write_csv(tmp_path / "table.csv")
    told = answer(capsys, ["profile", str(tmp_path / "table.csv"), "--column", "a=b=category"])
    assert {one["name"]: one["kind"] for one in told["columns"]}["a=b"] == "category"


def test_settings_that_were_shown_repeat_the_run(
    home: Path, tmp_path: Path, capsys: Captured
) -> None:
    capsys.readouterr()
    assert main(["show", str(home / "price"), "--settings"]) == 0
    told = capsys.readouterr().out
    settings = tomllib.loads(told)
    assert settings["target"] == "price"
    assert settings["seed"] == 3
    path = tmp_path / "run.toml"
    path.write_text(told)
    out = tmp_path / "again"
    words = ["train", str(home / "table.csv"), "--settings", str(path), "--out", str(out)]
    told_again = answer(capsys, words)
    before = answer(capsys, ["show", str(home / "price")])
    assert told_again["metrics"] == before["metrics"]


def test_profile_shows_every_column(home: Path, capsys: Captured) -> None:
    capsys.readouterr()
    assert main(["profile", str(home / "table.csv"), "--target", "sold"]) == 0
    told = capsys.readouterr().out
    for part in ("size", "number", "town", "category", "Ulm", "600"):
        assert part in told


def test_profile_in_json(home: Path, capsys: Captured) -> None:
    told = answer(capsys, ["profile", str(home / "table.csv"), "--column", "size=category"])
    assert told["rows"] == 600
    kinds = {column["name"]: column["kind"] for column in told["columns"]}
    assert kinds["size"] == "category"
    assert kinds["town"] == "category"


def test_profile_as_a_page(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "profile.html"
    assert main(["profile", str(home / "table.csv"), "--html", str(page), "-q"]) == 0
    written = page.read_text()
    assert "<html" in written
    assert "http://" not in written.replace("http://www.w3.org", "")


def test_python_and_the_command_line_agree(home: Path, capsys: Captured) -> None:
    told = answer(capsys, ["show", str(home / "price")])
    shown = thalweg.show(home / "price")
    assert json.loads(json.dumps(shown, default=str)) == told
