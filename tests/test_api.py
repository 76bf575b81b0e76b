"""The verbs from Python: what arguments may be, and what is said of what is there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl
import pytest

from thalweg import api
from thalweg.core.errors import OptionError
from thalweg.core.progress import Progress
from thalweg.models.model import Model
from thalweg.training.train import CHECKPOINT, PLAN

QUICK: dict[str, Any] = {"baselines": [], "recipe": {"members": 1, "width": 8, "epochs": 1}}


def table(rows: int = 200) -> pl.DataFrame:
    random = np.random.default_rng(0)
    size = random.normal(size=rows)
    return pl.DataFrame(
        {
            "id": random.permutation(rows) % 97,
            "size": size,
            "town": random.choice(["Ulm", "Bonn", "Kiel"], rows),
            "price": 3 * size + random.normal(size=rows),
            "sold": np.where(size > 0, "yes", "no"),
        }
    )


@final
class Notes(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def start(self, stage: str, total: int | None, unit: str) -> None:
        return

    def advance(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        return

    def note(self, message: str) -> None:
        self.said.append(message)

    def stop(self) -> None:
        return


def trained(out: Path | str | None = None, target: str = "price", **words: Any) -> Model:
    return api.train(table(), target, out=out, **{**QUICK, **words})


@pytest.mark.parametrize("minutes", [0, -1, math.nan, -math.inf])
def test_minutes_that_cannot_be(minutes: float) -> None:
    with pytest.raises(OptionError, match=r"minutes is .*a number above 0"):
        trained(minutes=minutes)


@pytest.mark.parametrize("minutes", [math.inf, 1e308, None])
def test_no_limit_of_time(minutes: float | None) -> None:
    assert trained(minutes=minutes).training.settings["minutes"] is None


def test_a_lone_name_is_one_name() -> None:
    model = trained(drop="id", baselines="constant")
    assert "id" not in model.schema.names
    assert model.evaluation is not None
    assert set(model.evaluation.baselines) == {"constant"}
    assert model.training.settings["drop"] == ["id"]
    assert model.training.settings["baselines"] == ["constant"]


@pytest.mark.parametrize("target", ["price", "town"])
def test_a_threshold_needs_two_classes(target: str) -> None:
    with pytest.raises(OptionError, match="Leave out --threshold"):
        trained(target=target, threshold="f1")
    trained(target=target)


def test_a_threshold_is_kept_to() -> None:
    assert trained(target="sold", threshold=0.3).calibration.threshold == 0.3
    assert trained(target="sold").calibration == trained(target="sold", threshold="f1").calibration


@pytest.mark.parametrize("out", ["/", ".", "..", "inner/.."])
def test_a_folder_needs_a_name_and_must_be_free(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "home")
    with pytest.raises(OptionError, match=r"a folder with a name|exists and is no model"):
        trained(out)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_model_in_this_very_folder_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path / "model")
    monkeypatch.chdir(tmp_path / "model")
    notes = Notes()
    assert trained(".", progress=notes).path == tmp_path / "model"
    assert f"replaces the model in {tmp_path / 'model'}" in notes.said
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_nothing_is_said_of_a_new_folder(tmp_path: Path) -> None:
    notes = Notes()
    trained(tmp_path / "model", progress=notes)
    assert not [one for one in notes.said if "replaces" in one or "resume" in one]


def test_nothing_to_resume_is_told(tmp_path: Path) -> None:
    notes = Notes()
    trained(tmp_path / "model", progress=notes, resume=True)
    assert any("no checkpoint to resume" in one for one in notes.said)


def test_an_interrupted_run_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, run = tmp_path / "model", tmp_path / ".model.run"

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("thalweg.lab.evaluate.judge", interrupted)
        notes = Notes()
        with pytest.raises(KeyboardInterrupt):
            trained(out, progress=notes)
    assert (run / PLAN).exists()
    assert (run / CHECKPOINT).exists()
    assert any("go on with --resume" in one for one in notes.said)

    notes = Notes()
    with monkeypatch.context() as patched:
        patched.setattr("thalweg.lab.evaluate.judge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(out, progress=notes)
    assert any("starts again" in one for one in notes.said)

    notes = Notes()
    trained(out, progress=notes, resume=True)
    assert any("resumed after epoch 1" in one for one in notes.said)
    assert not any("starts" in one for one in notes.said)
