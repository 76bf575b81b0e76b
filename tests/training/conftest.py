"""A small table, and the loop around a tiny network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from thalweg.core.progress import Silent
from thalweg.data.parts import Prepared, Wishes
from thalweg.data.prepare import prepare
from thalweg.data.split import Split
from thalweg.models.recipe import Recipe
from thalweg.sources import open_source
from thalweg.training.loop import Loop
from thalweg.training.train import Run, build_loop, build_network

Prepare = Callable[..., Prepared]
Build = Callable[..., Loop]

RECIPE = Recipe(members=2, width=8, embedding=3, epochs=3, batch_size=64, dropout=0.2)


def table(rows: int = 400, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    town = random.choice(["Ulm", "Bonn"], rows)
    price = 3 * x + (town == "Ulm") + random.normal(size=rows)
    rare = np.where(price > 4, "yes", "no")
    return pa.table({"x": x, "town": town, "price": price, "rare": rare})


@pytest.fixture(scope="session")
def preparing() -> Prepare:
    """Prepare the table for a target."""

    def prepared(target: str = "price", *, rows: int = 400, validation: float | None = None) -> Any:
        wishes = Wishes(target, {}, sorted({"price", "rare"} - {target}))
        split = Split(validation=validation)
        return prepare(open_source(table(rows)), wishes, split, None, Silent())

    return prepared


@pytest.fixture(scope="session")
def building(preparing: Prepare) -> Build:
    """Build a loop around a fresh network."""

    def built(target: str = "price", run: Run | None = None, **dials: Any) -> Loop:
        prepared, recipe, run = preparing(target), RECIPE.turned(dials), run or Run()
        network = build_network(prepared, recipe, run.seed)
        return build_loop(prepared, network, recipe, run, Silent())[0]

    return built
