from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from thalweg.core.errors import ArtifactError, ColumnError
from thalweg.core.progress import Silent
from thalweg.data.parts import Wishes
from thalweg.data.prepare import prepare
from thalweg.data.schema import Schema
from thalweg.data.split import Split
from thalweg.models import artifact
from thalweg.models.model import Model
from thalweg.models.network import Network
from thalweg.models.recipe import Recipe
from thalweg.sources import open_source
from thalweg.training.train import Run, train

ROWS = 700
RECIPE = Recipe(members=2, width=16, embedding=4, epochs=3, batch_size=32)


def table(rows: int = ROWS, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    town = random.choice(["Ulm", "Bonn"], rows)
    price = 3 * x + (town == "Ulm") + random.normal(size=rows)
    return pa.table(
        {
            "x": pa.array(x, mask=random.random(rows) < 0.05),
            "town": town,
            "price": price,
            "sold": np.where(price > 2, "yes", "no"),
            "grade": np.where(price > 2, "high", np.where(price < -2, "low", "middle")),
        }
    )


def trained(target: str, columns: dict[str, str] | None = None, **words: Any) -> Model:
    rest = {"price", "sold", "grade"} - {target}
    wishes = Wishes(target, columns or {}, sorted(rest))
    prepared = prepare(open_source(table()), wishes, Split(), None, Silent())
    return train(prepared, RECIPE, Run(**words), Silent())


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {target: trained(target) for target in ("price", "sold", "grade")}


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("price", ["prediction", "prediction_low", "prediction_high"]),
        ("sold", ["prediction", "probability_no", "probability_yes"]),
        (
            "grade",
            ["prediction", "probability_high", "probability_low", "probability_middle"],
        ),
    ],
)
def test_answers_are_in_the_users_own_terms(
    models: dict[str, Model], target: str, names: list[str]
) -> None:
    model, rows = models[target], table()
    found = model.predict(rows).columns
    assert found.schema.names == names
    assert found.num_rows == ROWS
    assert {type(one) for one in found["prediction"].to_pylist()} == {type(rows[target][0].as_py())}
    shares = [name for name in names if name.startswith("probability_")]
    assert model.classes == [name.removeprefix("probability_") for name in shares]
    if model.task != "regression":
        total = sum(found[name].to_numpy() for name in shares)
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_the_threshold_decides(models: dict[str, Model]) -> None:
    model = models["sold"]
    found = model.predict(table()).columns
    probability = found["probability_yes"].to_numpy()
    for threshold in (0.2, 0.5, 0.9):
        moved = model.calibration.model_copy(update={"threshold": threshold})
        other = Model(
            model.schema, model.network, model.recipe, moved, model.training, model.rows, ""
        )
        decided = other.predict(table()).columns["prediction"].to_pylist()
        assert decided == ["yes" if one >= threshold else "no" for one in probability]


def test_intervals_hold_the_prediction_and_nine_tenths_of_new_rows(
    models: dict[str, Model],
) -> None:
    new = table(4000, seed=9)
    found = models["price"].predict(new).columns
    names = ("prediction_low", "prediction", "prediction_high")
    low, middle, high = (found[name].to_numpy() for name in names)
    assert (low <= middle).all()
    assert (middle <= high).all()
    held = (low <= new["price"].to_numpy()) & (new["price"].to_numpy() <= high)
    assert held.mean() == pytest.approx(0.9, abs=0.045)


@pytest.mark.parametrize("target", ["price", "sold", "grade"])
def test_any_cut_gives_the_same_answers(models: dict[str, Model], target: str) -> None:
    model, rows = models[target], table()
    whole = model.predict(rows).columns
    assert model.predict(rows).columns.equals(whole)
    for size in (1, 7, 256):
        for start in range(0, 60, size):
            part = model.predict(rows.slice(start, size)).columns
            for name in whole.schema.names[1:]:
                np.testing.assert_allclose(
                    part[name].to_numpy(), whole[name].to_numpy()[start : start + size], atol=1e-5
                )


@pytest.mark.parametrize("target", ["price", "sold", "grade"])
def test_no_rows_give_no_answers_of_the_same_types(models: dict[str, Model], target: str) -> None:
    model, rows = models[target], table()
    empty = model.predict(rows.slice(0, 0))
    assert empty.columns.num_rows == len(empty.dropped) == 0
    assert empty.columns.schema == model.predict(rows).columns.schema


def test_other_columns_are_passed_over(models: dict[str, Model]) -> None:
    rows = table()
    few = rows.select(["town", "x"]).append_column("more", pa.array([[1]] * ROWS))
    model = models["price"]
    assert model.predict(few).columns.equals(model.predict(rows).columns)


def test_a_missing_column_names_near_ones(models: dict[str, Model]) -> None:
    rows = table().rename_columns(["x", "twon", "price", "sold", "grade"])
    with pytest.raises(ColumnError, match=r"'town' not found.*'twon'"):
        models["price"].predict(rows)


@pytest.mark.parametrize("column", ["x", "town"])
@pytest.mark.parametrize("cells", [pa.array([[1.0]] * 3), pa.array([{"a": 1}] * 3)])
def test_cells_of_several_values_are_refused(
    models: dict[str, Model], column: str, cells: pa.Array
) -> None:
    rows = table(3)
    rows = rows.set_column(rows.schema.get_field_index(column), column, cells)
    with pytest.raises(ColumnError, match=repr(column)):
        models["price"].predict(rows)


def test_unreadable_cells_are_named_and_taken_as_missing(models: dict[str, Model]) -> None:
    rows = table(4)
    texts = rows.set_column(0, "x", pa.array(["1.5", "one", "?", None]))
    found = models["price"].predict(texts)
    assert {name: cells.tolist() for name, cells in found.unreadable.items()} == {
        "x": [False, True, False, False]
    }
    holes = rows.set_column(0, "x", pa.array([1.5, None, None, None]))
    assert found.columns.equals(models["price"].predict(holes).columns)


def test_rows_that_are_set_aside_have_no_answer() -> None:
    model = trained("price", {"x": "number,missing=drop"})
    rows = table(50)
    found = model.predict(rows)
    gone = rows["x"].is_null().to_pylist()
    assert any(gone)
    assert found.dropped.tolist() == gone
    for name in found.columns.schema.names:
        assert found.columns[name].is_null().to_pylist() == gone


@pytest.mark.parametrize("target", ["price", "sold", "grade"])
def test_saved_and_loaded_it_answers_with_equal_bits(
    models: dict[str, Model], target: str, tmp_path: Path
) -> None:
    model, rows = models[target], table()
    model.save(tmp_path / "model", {"card.md": "# Card"})
    again = Model.load(tmp_path / "model")
    assert again.predict(rows).columns.equals(model.predict(rows).columns)
    assert again.schema == model.schema
    assert (again.recipe, again.calibration) == (model.recipe, model.calibration)
    assert (again.training, again.rows, again.classes) == (
        model.training,
        model.rows,
        model.classes,
    )
    assert again.path == tmp_path / "model"


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.update(schema=[]),
        lambda f: f["schema"].update(format=2),
        lambda f: f["schema"].update(target=None),
        lambda f: f["schema"]["columns"].pop(),
        lambda f: f["schema"]["columns"][0].update(kind="smell"),
        lambda f: f["schema"]["columns"][0]["state"].update(edges=[]),
        lambda f: f["recipe"].update(width=17),
        lambda f: f["recipe"].update(width=-1),
        lambda f: f["recipe"].update(activation="exec"),
        lambda f: f.pop("calibration"),
        lambda f: f.update(training="long"),
        lambda f: f.update(rows={}),
        lambda f: f.update(evaluation=[1]),
        lambda f: f.update(recipe=None),
    ],
)
def test_a_strangers_description_is_an_error_in_one_line(
    models: dict[str, Model], tmp_path: Path, change: Callable[[Any], object]
) -> None:
    folder = tmp_path / "model"
    models["price"].save(folder)
    facts = json.loads((folder / artifact.DESCRIPTION).read_bytes())
    change(facts)
    content = json.dumps(facts).encode()
    (folder / artifact.DESCRIPTION).write_bytes(content)
    (folder / artifact.SEAL).write_text(hashlib.sha256(content).hexdigest())
    with pytest.raises(ArtifactError) as caught:
        Model.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dial", ["width", "depth", "members", "embedding"])
def test_no_larger_network_is_built_than_the_weights_are(
    models: dict[str, Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dial: str,
) -> None:
    folder = tmp_path / "model"
    models["price"].save(folder)
    facts = json.loads((folder / artifact.DESCRIPTION).read_bytes())
    facts["recipe"][dial] += 3
    content = json.dumps(facts).encode()
    (folder / artifact.DESCRIPTION).write_bytes(content)
    (folder / artifact.SEAL).write_text(hashlib.sha256(content).hexdigest())
    built: list[torch.device] = []

    def watched(schema: Schema, recipe: Recipe) -> Network:
        network = Network(schema, recipe)
        built.extend(one.device for one in network.parameters())
        return network

    monkeypatch.setattr("thalweg.models.model.Network", watched)
    with pytest.raises(ArtifactError, match="not those of the network that it describes"):
        Model.load(folder)
    assert {device.type for device in built} == {"meta"}


def test_weights_of_another_network_are_refused(models: dict[str, Model], tmp_path: Path) -> None:
    folder, other = tmp_path / "model", tmp_path / "other"
    models["price"].save(folder)
    models["grade"].save(other)
    weights = (other / artifact.WEIGHTS).read_bytes()
    (folder / artifact.WEIGHTS).write_bytes(weights)
    with pytest.raises(ArtifactError, match="damaged"):
        Model.load(folder)
    facts = json.loads((folder / artifact.DESCRIPTION).read_bytes())
    facts["files"][artifact.WEIGHTS] = hashlib.sha256(weights).hexdigest()
    content = json.dumps(facts).encode()
    (folder / artifact.DESCRIPTION).write_bytes(content)
    (folder / artifact.SEAL).write_text(hashlib.sha256(content).hexdigest())
    with pytest.raises(ArtifactError, match="no model that this version can read"):
        Model.load(folder)
