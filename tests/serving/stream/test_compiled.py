"""A compiled model over a stream and a table: it says what the model says, and needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import chaos
import numpy as np
import polars as pl
import pytest

from compiled_models import graph, pair, table, wide
from thalweg import api
from thalweg.core.errors import OptionError
from thalweg.models import artifact
from thalweg.models.agreement import CLOSE
from thalweg.models.compiled import CompiledModel

CASES = ["price", "sold", "grade", "tags", "odd"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(name: str) -> Path:
    """Save a model with its graph."""
    model, content = graph(name)
    model.save(Path(name))
    artifact.add(Path(name), {"model.onnx": content})
    return Path(name)


def said(uri: str, **more: Any) -> list[dict[str, Any]]:
    """Give what comes out of a stream."""
    api.stream(api.pipeline("log://events", to=uri, state=uri[6:] + "-state", once=True, **more))
    return [json.loads(one) for one in chaos.payloads(uri)]


def close(one: Any, other: Any) -> bool:
    """Compare two cells: numbers nearly, all others exactly."""
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=CLOSE, atol=CLOSE))
    return bool(one == other)


@pytest.mark.parametrize("name", CASES)
def test_a_stream_says_what_the_model_says(name: str) -> None:
    api.publish(table(120, seed=4), "log://events")
    model = saved(name)
    own, other = said("log://own", model=model), said("log://other", model=model, compiled=True)
    assert len(own) == len(other) > 60
    for one, two in zip(own, other, strict=True):
        assert one.keys() == two.keys()
        apart = [key for key in one if not close(one[key], two[key]) and key != "because"]
        assert not apart
    letters = [
        [json.loads(letter)["reason"] for letter in chaos.payloads(f"log://{state}/dead")]
        for state in ("own-state", "other-state")
    ]
    assert letters[0] == letters[1]


def test_a_table_is_answered_alike(folder: Path) -> None:
    model, rows = saved("sold"), table(300, seed=9)
    own = api.predict(model, rows, to="own.parquet")
    other = api.predict(model, rows, to="other.parquet", compiled=True)
    assert own.schema.equals(other.schema)
    one, two = pl.read_parquet("own.parquet"), pl.read_parquet("other.parquet")
    assert one.drop("probability_no", "probability_yes").equals(
        two.drop("probability_no", "probability_yes")
    )
    for name in ("probability_no", "probability_yes"):
        np.testing.assert_allclose(one[name], two[name], atol=CLOSE)
    aside = (folder / "own.parquet.rejects.ndjson").read_bytes()
    assert aside == (folder / "other.parquet.rejects.ndjson").read_bytes() != b""


def test_a_compiled_model_is_taken_as_it_is() -> None:
    model, compiled = pair("grade")
    rows = table(30, seed=2)
    wanted = api.predict(model, rows)["prediction"].to_pylist()
    assert api.predict(compiled, rows)["prediction"].to_pylist() == wanted
    api.publish(rows, "log://events")
    assert [one["prediction"] for one in said("log://out", model=compiled)] == wanted


def test_no_event_waits_for_what_a_first_prediction_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[dict[str, Any]]] = []
    predict = CompiledModel.predict

    def kept(self: CompiledModel, rows: Any, folder: Path | None = None) -> Any:
        asked.append(rows.to_pylist())
        return predict(self, rows, folder)

    monkeypatch.setattr(CompiledModel, "predict", kept)
    _, compiled = pair("grade")
    api.publish(table(30, seed=2), "log://events")
    said("log://out", model=compiled)
    assert asked[0] == [dict.fromkeys(compiled.columns)]
    assert [len(one) for one in asked] == [1, 30]


def test_what_counts_as_odd_follows_the_stream() -> None:
    api.publish(table(200, seed=6), "log://events")
    model = saved("odd")
    own = said("log://own", model=model, learn=True)
    other = said("log://other", model=model, learn=True, compiled=True)
    assert [one["prediction"] for one in own] == [one["prediction"] for one in other]


def test_drift_is_watched_for() -> None:
    rows = pl.from_arrow(table(15_000, seed=6))
    assert isinstance(rows, pl.DataFrame)
    moved = rows.with_columns(pl.col("x") * 5 + 20)  # unlike the training rows from the start
    api.publish(moved, "log://events")
    dials = {"members": 1, "width": 8, "embedding": 4}
    drop = ["price", "sold", "tags"]
    api.train(rows[:2000], "grade", drop=drop, baselines=(), epochs=1, recipe=dials, out="m")
    api.compile("m")
    told = []
    for name, compiled in (("own", False), ("other", True)):
        said(f"log://{name}", model="m", alerts_to=f"log://{name}-alerts", compiled=compiled)
        alerts = [json.loads(one) for one in chaos.payloads(f"log://{name}-alerts")]
        told.append([(one["name"], one["column"], one["rows"]) for one in alerts])
    assert "x" in {column for _, column, _ in told[0]}
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("grade", {"learn": True}, "learning with a compiled model; .*Leave out --compiled"),
        ("grade", {"target": "grade"}, "learning with a compiled model"),
        ("wide", {"alerts_to": "log://alerts"}, "alerts of a compiled model that reads texts"),
        (None, {"target": "grade"}, "compiled without a model"),
    ],
)
def test_what_it_cannot_do(name: str | None, more: dict[str, Any], told: str) -> None:
    model = None if name is None else pair(name)[1]
    with pytest.raises(OptionError, match=told):
        api.pipeline("log://events", model=model, compiled=True, to="log://out", **more)


def test_a_model_of_texts_and_pictures() -> None:
    rows = wide(40, seed=3)
    model, compiled = pair("wide")
    own, other = api.predict(model, rows), api.predict(compiled, rows)
    np.testing.assert_allclose(
        own["probability_yes"].to_numpy(), other["probability_yes"].to_numpy(), atol=CLOSE
    )


def test_a_model_that_was_not_compiled_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = graph("grade")
    model.save(Path("plain"))
    with pytest.raises(OptionError, match=r"not compiled; .*thalweg compile plain\.$"):
        api.predict("plain", table(3), compiled=True)
    monkeypatch.setattr(model, "path", None)
    with pytest.raises(OptionError, match=r"never saved; .*thalweg compile MODEL\.$"):
        api.predict(model, table(3), compiled=True)


ALONE = """
import sys
from thalweg.cli.main import main
code = main(sys.argv[1:])
sys.exit(", ".join({"torch", "numba", "river", "onnx"} & {*sys.modules}) or code)
"""
STREAM = ["stream", "grade", "--from", "log://events", "--to", "log://out", "--once", "--quiet"]


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "grade", "rows.parquet", "--to", "out.parquet"],
        STREAM,
        [*STREAM, "--alerts-to", "alerts.ndjson"],
    ],
)
def test_no_torch_is_loaded(words: list[str]) -> None:
    saved("grade")
    rows = table(60, seed=1)
    pl.from_arrow(rows).write_parquet("rows.parquet")  # type: ignore[union-attr]
    api.publish(rows, "log://events")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *words, "--compiled"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
