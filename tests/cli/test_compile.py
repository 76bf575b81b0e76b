"""``thalweg compile``: what it prints, what it keeps, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer

from compiled_models import graph, table
from thalweg.cli.compile import compile as compile_verb
from thalweg.core.errors import ArtifactError, OptionError
from thalweg.lab import compiling
from thalweg.models import artifact
from thalweg.models.agreement import DisagreementError
from thalweg.models.compiled import CompiledModel

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved model and rows; compiling it again takes no time."""
    model, content = graph("grade")
    model.save(tmp_path / "grade")
    pq.write_table(table(300, seed=9).drop_columns(["tags"]), tmp_path / "rows.parquet")
    monkeypatch.setattr(
        compiling, "compile_models", lambda _, wanted: dict.fromkeys(wanted, content)
    )
    monkeypatch.setattr(compiling, "TIMED", 0.0)
    return tmp_path


def run(words: list[str]) -> None:
    app = typer.Typer()
    app.command()(compile_verb)
    app(words, standalone_mode=False)


def test_a_model_is_compiled_compared_and_kept(home: Path, capsys: Captured) -> None:
    words = [str(home / "grade"), str(home / "rows.parquet"), "--json", "--quiet"]
    run([*words, "--precision", "float32", "--precision", "int8"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["rows"] == 300
    assert told["made"] is False
    assert told["identity"] == artifact.identity(artifact.read_description(home / "grade"))
    assert {"log_loss", "accuracy"} <= set(told["metrics"])
    full, small = told["variants"]
    assert (full["precision"], small["precision"]) == ("float32", "int8")
    assert full["file"] == "model.onnx"
    assert full["bytes"] == (home / "grade" / "model.onnx").stat().st_size
    assert full["difference"]["largest"] < 1e-5
    assert full["metrics"] == pytest.approx(told["metrics"], abs=1e-4)
    assert min(full["speed"].values()) > 0
    CompiledModel.load(home / "grade")
    assert (home / "grade" / "model.int8.onnx").is_file()


def test_people_see_a_table(home: Path, capsys: Captured) -> None:
    run([str(home / "grade"), "--quiet"])
    said = capsys.readouterr().out
    assert "float32" in said
    assert "1,024 rows that were made" in said
    assert f"thalweg serve {home / 'grade'}" in said
    run([str(home / "grade"), str(home / "rows.parquet"), "--quiet"])
    assert "log loss" in capsys.readouterr().out


def test_metrics_are_those_of_evaluate(home: Path) -> None:
    from thalweg import api
    from thalweg.core.progress import Silent
    from thalweg.sources import open_source

    rows = str(home / "rows.parquet")
    found = compiling.compile_folder(home / "grade", Silent(), source=open_source(rows))
    judged = api.evaluate(str(home / "grade"), rows)
    for name, figure in judged.metrics.items():
        assert found.metrics[name] == pytest.approx(figure.value, abs=1e-9)


def test_what_differs_is_not_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own: Callable[..., Any] = CompiledModel.run

    def wrong(self: CompiledModel, inputs: Any) -> Any:
        run = own(self, inputs)
        run.answers.prediction[...] = np.roll(run.answers.prediction, 1, axis=1)
        return run

    monkeypatch.setattr(CompiledModel, "run", wrong)
    with pytest.raises(DisagreementError, match="differs from the model"):
        run([str(home / "grade"), "--quiet"])
    assert not (home / "grade" / "model.onnx").exists()


def test_mistakes_are_told(home: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        run([str(home / "nothing"), "--quiet"])
    with pytest.raises(OptionError, match="Did you mean 'float16'"):
        run([str(home / "grade"), "--quiet", "--precision", "float61"])
