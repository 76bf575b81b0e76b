"""Small models for the tests of compiled ones, each trained and compiled once."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from thalweg.core.progress import Silent
from thalweg.data.parts import Wishes
from thalweg.data.prepare import prepare
from thalweg.data.split import Split
from thalweg.kinds import KINDS
from thalweg.models.calibration import Calibration
from thalweg.models.compile import compile_model
from thalweg.models.compiled import CompiledModel
from thalweg.models.model import Model
from thalweg.models.recipe import Recipe
from thalweg.sources import open_source
from thalweg.training.train import Run, train

DIALS: dict[str, Any] = {
    "members": 2,
    "width": 16,
    "embedding": 4,
    "epochs": 1,
    "batch_size": 32,
}


def table(rows: int = 400, seed: int = 0) -> pa.Table:
    """Rows with every flat kind, cells that are missing, odd or unreadable, and four targets."""
    random = np.random.default_rng(seed)
    x, z = random.normal(size=(2, rows))
    count = random.integers(0, 5, rows)
    town = random.choice(["Ulm", "Bonn", "Kiel", "Köln", ""], rows)
    when = np.datetime64("2024-01-01") + random.integers(0, 400, rows)
    y = 3 * x + x * z + count + (town == "Ulm") + random.normal(size=rows)
    words = [f"{value:.3f}" if place % 17 else "n/a?" for place, value in enumerate(z)]
    return pa.table(
        {
            "x": pa.array(x, mask=random.random(rows) < 0.1),
            "z": words,
            "count": pa.array(count, mask=random.random(rows) < 0.05),
            "town": pa.array(town, mask=random.random(rows) < 0.05),
            "open": pa.array(random.random(rows) < 0.5, mask=random.random(rows) < 0.05),
            "when": pa.array(when, mask=random.random(rows) < 0.05),
            "price": 1000 * y,
            "sold": np.where(y > 2, "yes", "no"),
            "grade": np.where(y > 4, "high", np.where(y < 0, "low", "middle")),
            "tags": [["a", "b"] if one > 2 else ["b"] if one > 0 else [] for one in y],
        }
    )


def wide(rows: int, seed: int = 0) -> pa.Table:
    """Rows with columns of kinds that do not read raw cells."""
    flat = table(rows, seed).select(["x", "town", "sold"])
    for kind in WIDE:
        flat = flat.append_column(kind, KINDS[kind].sample(seed, rows))
    return flat


TARGETS = ("price", "sold", "grade", "tags")
CASES: dict[str, tuple[str | None, dict[str, str], dict[str, Any]]] = {
    "price": (
        "price",
        {"x": "number,missing=interpolate,along=count", "z": "number"},
        {"pairs": 1},
    ),
    "sold": ("sold", {"count": "number,missing=drop", "z": "number,outliers=flag"}, {}),
    "grade": ("grade", {"z": "number"}, {"fusion": "attention"}),
    "tags": ("tags", {"z": "number", "tags": "set"}, {"fusion": "gated"}),
    "odd": (None, {"z": "number"}, {}),
}
WIDE = {
    "text": "text,encoder=bag",
    "set": "set",
    "vector": "vector",
    "image": "image,encoder=conv",
}


@cache
def graph(name: str) -> tuple[Model, bytes]:
    """Give a model and its graph; see `CASES` and `WIDE`."""
    model = _trained(name)
    return model, compile_model(model)


@cache
def pair(name: str) -> tuple[Model, CompiledModel]:
    """Give a model and what was compiled of it."""
    model, content = graph(name)
    return model, CompiledModel(model.schema, model.calibration, model.identity, "float32", content)


def _trained(name: str) -> Model:
    target, columns, more = ("sold", WIDE, {}) if name == "wide" else CASES[name]
    rows = wide(60) if name == "wide" else table()
    drop = sorted(({*TARGETS} - {target}) & {*rows.column_names})
    wishes = Wishes(target, columns, drop)
    prepared = prepare(open_source(rows), wishes, Split(), None, Silent())
    model = train(prepared, Recipe(**DIALS | more), Run(), Silent())
    if model.task in ("binary", "multiclass", "multilabel"):
        # So little was learned that calibration found nothing: it is to be seen in the graph.
        moved: dict[str, Any] = {"temperature": 1.7}
        if model.task == "multiclass":
            moved["bias"] = (0.1, -0.2, 0.3)
        calibration = Calibration.model_validate(model.calibration.model_dump() | moved)
        model = Model(
            model.schema, model.network, model.recipe, calibration, model.training, model.rows, ""
        )
    return model
