"""Odd rows without a target: train, save, load, predict, evaluate, stream; the laws hold too."""

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

QUICK = {"members": 2, "width": 32, "epochs": 20, "batch_size": 64}


def table(rows: int = 1_500, seed: int = 0) -> pl.DataFrame:
    """Amounts that go with a shop, hours that do not, and some gaps."""
    random = np.random.default_rng(seed)
    shop = random.choice(["corner", "market", "mall"], rows, p=[0.5, 0.3, 0.2])
    amount = random.lognormal(np.where(shop == "mall", 5.0, 2.0), 0.3)
    found = pl.DataFrame(
        {
            "shop": shop,
            "amount": amount.round(2),
            "items": random.poisson(3, rows),
            "member": random.random(rows) < 0.3,
            "gap": random.random(rows) < 0.02,
        }
    )
    return found.with_columns(amount=pl.when("gap").then(None).otherwise("amount")).drop("gap")


def odd(rows: int = 40) -> pl.DataFrame:
    """Amounts of a mall in a corner shop: each cell is ordinary, together they are not."""
    random = np.random.default_rng(9)
    return table(rows, 9).with_columns(
        shop=pl.lit("corner"), amount=pl.Series(random.lognormal(5.0, 0.3, rows))
    )


@pytest.fixture(scope="module")
def model() -> Model:
    return thalweg.train(table(), recipe=QUICK, baselines=[], minutes=None)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    both = pl.concat([table(1_200).with_columns(fraud=0), odd(30).with_columns(fraud=1)])
    both.sample(fraction=1, shuffle=True, seed=1).write_parquet(folder / "rows.parquet")
    words = [str(folder / "rows.parquet"), "--truth", "fraud", "--out", str(folder / "model")]
    dials = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
    assert main(["train", *words, *dials, "--quiet"]) == 0
    return folder


def answers(model: Model, rows: pl.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
    columns = model.predict(rows.to_arrow()).columns
    return {
        name: column.to_numpy(zero_copy_only=False)
        for name, column in zip(columns.schema.names, columns.columns, strict=True)
    }


def test_the_task_needs_no_target(model: Model) -> None:
    assert model.task == "anomaly"
    assert model.schema.target is None
    assert model.classes == ["normal", "anomaly"]
    found = model.predict(table(5).to_arrow()).columns
    names = ["prediction", "anomaly_score", "anomaly_probability", "because"]
    assert found.schema.names == names


def test_false_alarms_on_fresh_ordinary_rows_are_as_wanted(model: Model) -> None:
    found = answers(model, table(20_000, 7))
    assert 0.003 < (found["prediction"] == "anomaly").mean() < 0.025
    likely = found["anomaly_probability"]
    assert 0.06 < (likely <= 0.1).mean() < 0.15
    assert ((likely > 0) & (likely <= 1)).all()


def test_what_goes_together_is_learned(model: Model) -> None:
    found = answers(model, odd(200))
    assert (found["prediction"] == "anomaly").mean() > 0.3
    because = found["because"][found["prediction"] == "anomaly"]
    assert np.isin(because, ["shop", "amount"]).mean() > 0.9


@pytest.mark.parametrize(
    ("column", "value"),
    [("amount", 1e9), ("amount", -1e9), ("items", 4_000), ("shop", "never seen")],
)
def test_an_odd_cell_is_odd(model: Model, column: str, value: object) -> None:
    rows = table(200, 3).with_columns(pl.lit(value).alias(column))
    before, after = answers(model, table(200, 3)), answers(model, rows)
    assert (after["anomaly_score"] > before["anomaly_score"]).mean() > 0.95
    assert (after["prediction"] == "anomaly").mean() > 0.9
    assert (after["because"] == column).mean() > 0.9


def test_missing_cells_are_read(model: Model) -> None:
    rows = table(50, 3).with_columns(pl.lit(None, pl.Float64).alias("amount"))
    found = answers(model, rows)
    assert np.isfinite(found["anomaly_score"]).all()
    empty = table(1, 3).select(
        pl.lit(None, dtype).alias(name) for name, dtype in rows.schema.items()
    )
    assert np.isfinite(answers(model, empty)["anomaly_score"]).all()
    assert len(answers(model, table(50).head(0))["anomaly_score"]) == 0


def test_one_row_is_answered_as_among_others(model: Model) -> None:
    rows = pl.concat([table(300, 4), odd(20)])
    whole = answers(model, rows)
    order = np.random.default_rng(0).permutation(len(rows))
    mixed = answers(model, rows[order])
    np.testing.assert_allclose(mixed["anomaly_score"], whole["anomaly_score"][order], rtol=1e-5)
    for place in range(0, len(rows), 16):
        one = answers(model, rows[place : place + 1])
        np.testing.assert_allclose(
            one["anomaly_score"], whole["anomaly_score"][place : place + 1], rtol=1e-5, atol=1e-5
        )


def test_a_saved_model_answers_in_equal_bits(model: Model, tmp_path: Path) -> None:
    rows = pl.concat([table(100, 4), odd(20)]).to_arrow()
    before = model.predict(rows).columns
    model.save(tmp_path / "model")
    again = thalweg.load(tmp_path / "model")
    assert again.predict(rows).columns.equals(before)
    assert again.calibration == model.calibration
    names = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert names == ["model.json", "model.json.sha256", "weights.safetensors"]


def test_the_same_seed_gives_the_same_model() -> None:
    one, other = (
        thalweg.train(table(300), recipe=QUICK | {"epochs": 2}, baselines=[], minutes=None)
        for _ in range(2)
    )
    rows = table(50, 2).to_arrow()
    assert one.predict(rows).columns.equals(other.predict(rows).columns)


def test_a_run_that_is_resumed_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thalweg.training.callbacks.checkpoints import Checkpoints
    from thalweg.training.loop import Loop

    dials = QUICK | {"epochs": 4}
    words: dict[str, Any] = {"recipe": dials, "baselines": [], "minutes": None}
    wanted = thalweg.train(table(300), out=tmp_path / "whole", **words)
    after = Checkpoints.on_step

    def killed(self: Checkpoints, loop: Loop) -> None:
        self._every = 0.0
        after(self, loop)
        if loop.steps_done == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "on_step", killed)
    with pytest.raises(KeyboardInterrupt):
        thalweg.train(table(300), out=tmp_path / "killed", **words)
    monkeypatch.setattr(Checkpoints, "on_step", after)
    found = thalweg.train(table(300), out=tmp_path / "killed", resume=True, **words)
    rows = table(50, 2).to_arrow()
    assert found.predict(rows).columns.equals(wanted.predict(rows).columns)


def test_the_truth_is_judged_by_and_not_learned(home: Path) -> None:
    model = thalweg.load(home / "model")
    assert "fraud" not in model.schema.names
    assert [one.because for one in model.schema.ignored if one.name == "fraud"]
    judged = model.evaluation
    assert judged is not None
    assert judged.metric == "roc_auc"
    assert judged.metrics["roc_auc"].value > 0.8
    assert set(judged.baselines) == {"isolation_forest", "tails", "mahalanobis"}
    assert judged.metrics["roc_auc"].value > judged.baselines["tails"].metrics["roc_auc"].value
    for name in ("average_precision", "precision", "recall", "false_alarms", "flagged"):
        figure = judged.metrics[name]
        assert figure.low <= figure.value <= figure.high


def test_evaluating_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = pl.concat(
        [table(400, 5).with_columns(ok=pl.lit("yes")), odd(20).with_columns(ok=pl.lit("no"))]
    )
    fresh.write_csv(home / "fresh.csv")
    words = ["evaluate", str(home / "model"), str(home / "fresh.csv"), "--json"]
    assert main([*words, "--truth", "ok=no"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"]["roc_auc"]["value"] > 0.9
    assert main(words) == 0  # the truth that it was trained with is not there
    told = json.loads(capsys.readouterr().out)
    assert told["metric"] == "flagged"
    assert set(told["metrics"]) == {"flagged"}
    assert main([*words, "--truth", "nothing"]) == 2
    assert "nothing" in capsys.readouterr().err


def test_the_report_and_the_card_tell(home: Path) -> None:
    report = (home / "model" / "report.html").read_text()
    for words in ("Finding odd rows", "The tail", "The oddest rows", "false alarms", "Isolation"):
        assert words.lower() in report.lower(), words
    assert "Predicting" not in report
    card = (home / "model" / "card.md").read_text()
    assert "Says how odd a row is, by 4 columns." in card


def test_a_stream_is_scored_as_a_table_is(home: Path) -> None:
    rows = pl.read_parquet(home / "rows.parquet").drop("fraud").head(300)
    events = f"log://{home}/events"
    thalweg.publish(rows, events)
    work = thalweg.pipeline(
        events, model=home / "model", to=f"{home}/scored/", state=home / "state", once=True
    )
    assert thalweg.stream(work).rows == 300
    found = pl.read_parquet(home / "scored" / "*.parquet")
    wanted = thalweg.predict(home / "model", rows)
    np.testing.assert_allclose(
        np.sort(found["anomaly_score"].to_numpy()),
        np.sort(wanted["anomaly_score"].to_numpy()),
        rtol=1e-5,
        atol=1e-5,
    )


def test_large_tables_go_by_the_disk(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from thalweg.data import gather, prepare, split

    for module in (gather, prepare, split):
        monkeypatch.setattr(module, "FOLDED_ROWS", 500)
    rows = table(2_000).with_columns(fraud=pl.Series(np.arange(2_000) % 50 == 0))
    found = thalweg.train(
        rows, truth="fraud", recipe=QUICK | {"epochs": 2}, baselines=[], minutes=None, cache="none"
    )
    assert found.rows.validation > 0
    assert found.evaluation is not None
    assert "roc_auc" in found.evaluation.metrics


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"split": "stratified"}, "without a target"),
        ({"balance": "weights"}, "without a target"),
        ({"recipe": {"mixup": 0.2}}, "without a target"),
        ({"threshold": "f1"}, "share of ordinary rows"),
        ({"threshold": 1.5}, "share of ordinary rows"),
        ({"baselines": ["linear"]}, "no baseline 'linear'"),
        ({"truth": "shp"}, "shop"),
        ({"target": "member", "truth": "shop"}, "a target is the truth"),
    ],
)
def test_what_makes_no_sense_without_a_target_is_said(words: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        thalweg.train(table(100), **words)


def test_the_threshold_is_the_share_of_false_alarms() -> None:
    found = thalweg.train(
        table(), threshold=0.1, recipe=QUICK | {"epochs": 4}, baselines=[], minutes=None
    )
    share = (answers(found, table(5_000, 7))["prediction"] == "anomaly").mean()
    assert 0.05 < share < 0.17
