"""Several labels a row, from rows to report: trained, judged beside rivals, saved and asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import thalweg
from thalweg.core.errors import OptionError
from thalweg.lab.report.standing import decision
from thalweg.models.model import Model

TAGS = ("cold", "old", "wet")


def table(rows: int = 400, seed: int = 0) -> pl.DataFrame:
    """Rows whose tags hang on two numbers and on what else is known of them."""
    random = np.random.default_rng(seed)
    heat, age = random.normal(size=(2, rows))
    wet = random.random(rows) < 0.3
    tags = [
        [tag for tag, there in zip(TAGS, row, strict=True) if there]
        for row in zip(heat < -0.5, age > 0.8, wet, strict=True)
    ]
    said = [["rain"] if one else ["sun", "wind"] for one in wet]
    return pl.DataFrame({"heat": heat, "age": age, "said": said, "tags": tags})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return thalweg.train(
        table(),
        "tags",
        out=tmp_path_factory.mktemp("model") / "tags",
        epochs=25,
        minutes=None,
        baselines=["constant", "linear"],
        recipe={"members": 2, "width": 32, "depth": 1},
    )


def test_it_is_judged_label_by_label(model: Model) -> None:
    found = model.evaluation
    assert found is not None
    assert (found.task, found.metric, found.classes) == ("multilabel", "micro_f1", [*TAGS])
    assert found.metrics["micro_f1"].value > 0.7
    assert found.baselines["linear"].metrics["micro_f1"].value > 0.7
    assert found.baselines["constant"].metrics["micro_f1"].value == 0
    assert [label.name for label in found.labels] == [*TAGS]
    assert min(label.f1 for label in found.labels) > 0.5
    assert found.confusion == []
    assert found.importances[0].column in {"heat", "said"}
    assert set(found.calibration) == {"all labels"}
    assert decision(found, {}).startswith("Thalweg gives a label from a probability of its own")


def test_answers_are_lists_and_stay_so_when_saved(model: Model) -> None:
    rows = table(50, seed=1).to_arrow()
    columns = model.predict(rows).columns
    assert columns.schema.names == ["prediction", *(f"probability_{tag}" for tag in TAGS)]
    assert pa.types.is_list(columns["prediction"].type)
    wanted = rows["tags"].to_pylist()
    right = [
        set(a) == set(b) for a, b in zip(columns["prediction"].to_pylist(), wanted, strict=True)
    ]
    assert np.mean(right) > 0.4
    assert model.path is not None
    assert Model.load(model.path).predict(rows).columns.equals(columns)


def test_card_and_report_say_how_each_label_fares(model: Model) -> None:
    assert model.path is not None
    for name in ("card.md", "report.html"):
        found = [path for path in Path(model.path).iterdir() if path.suffix == Path(name).suffix]
        text = found[0].read_text("utf-8")
        assert "micro-F1" in text
        assert "cold" in text
        assert "average precision" in text.lower()


def test_labels_as_text_come_back_as_text() -> None:
    rows = table(200).with_columns(pl.col("tags").list.join(";"))
    model = thalweg.train(
        rows,
        "tags",
        columns={"tags": "set,delimiter=semicolon"},
        epochs=1,
        minutes=None,
        baselines=[],
        recipe={"members": 1, "width": 8, "depth": 1},
        threshold=0.2,
    )
    assert model.calibration.threshold == (0.2, 0.2, 0.2)
    answers = set(model.predict(rows.to_arrow()).columns["prediction"].to_pylist())
    assert answers <= {"", "cold", "old", "wet", "cold;old", "cold;wet", "old;wet", "cold;old;wet"}


def test_what_has_no_classes_is_not_balanced() -> None:
    with pytest.raises(OptionError, match="several labels a row"):
        thalweg.train(table(100), "tags", balance="weights", epochs=1, baselines=[])
