"""A small trained model of each task, and a stream that it can read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pytest

from thalweg.core.progress import Silent
from thalweg.data.arrays import Arrays
from thalweg.data.parts import Wishes
from thalweg.data.prepare import prepare
from thalweg.data.split import Split
from thalweg.models.model import Model
from thalweg.models.recipe import Recipe
from thalweg.sources import open_source
from thalweg.training.online.base import Script
from thalweg.training.online.check import stream
from thalweg.training.train import Run, train

RECIPE = Recipe(members=2, width=16, embedding=4, epochs=4, batch_size=64, dropout=0.1)


def with_target(script: Script) -> pa.Table:
    """Give the rows of a stream with their targets."""
    targets = pa.array(script.targets.tolist())
    if script.classes:
        targets = pa.array([f"class {int(code)}" for code in script.targets])
    return pa.Table.from_batches([script.rows]).append_column("target", targets)


@pytest.fixture(scope="session")
def modelling() -> Callable[[int], Model]:
    """Train a model of so many classes (0 for a number) once."""
    kept: dict[int, Model] = {}

    def made(classes: int) -> Model:
        if classes not in kept:
            early = with_target(stream(1200, classes, 7)).slice(0, 600)
            wishes = Wishes("target", {}, [])
            prepared = prepare(open_source(early), wishes, Split(), None, Silent())
            kept[classes] = train(prepared, RECIPE, Run(), Silent())
        return kept[classes]

    return made


@pytest.fixture(scope="session")
def readable() -> Callable[[Script, Model], Script]:
    """Give a stream with its rows as a model reads them."""

    def read(script: Script, model: Model) -> Script:
        return replace(script, arrays=Arrays(model.schema.encode(script.rows).fields))

    return read
