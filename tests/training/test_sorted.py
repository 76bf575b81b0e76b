"""Rows on disk that are sorted by what is to be learned are learned as well as shuffled ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pytest
import torch

from thalweg.core.progress import Silent
from thalweg.data.loader import Loader
from thalweg.data.parts import Prepared, Wishes
from thalweg.data.prepare import prepare
from thalweg.data.shards import Shards, ShardWriter
from thalweg.data.split import Split
from thalweg.models.network import forward_all
from thalweg.models.recipe import Recipe
from thalweg.sources import open_source
from thalweg.training.callbacks.base import Callback
from thalweg.training.loop import Loop
from thalweg.training.state import Snapshot, copy_weights
from thalweg.training.train import Judge, Run, build_loop, build_network

ROWS = 24_000
RECIPE = Recipe(members=1, width=16, embedding=4, epochs=2, batch_size=256, learning_rate=5e-3)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, 3))
    likely = x[:, 0] * x[:, 1] + x[:, 2] - 1.5
    y = np.where(likely + random.logistic(size=ROWS) > 0, "yes", "no")
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y})
    split = Split(test=0.2, validation=0.1)
    return prepare(open_source(table), Wishes("y", {}), split, None, Silent())


@pytest.fixture(autouse=True)
def _small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make about four pools of what would otherwise be one."""
    monkeypatch.setattr("thalweg.data.shards.BLOCK", 64)
    monkeypatch.setattr("thalweg.data.loader.LEAST_BLOCKS", 8)
    monkeypatch.setattr("thalweg.training.train.Loader", partial(Loader, pool_bytes=500_000))


def learned(prepared: Prepared) -> float:
    """Train, and give the log loss on the test rows."""
    loop, _ = build_loop(prepared, build_network(prepared, RECIPE, 0), RECIPE, Run(), Silent())
    loop.fit()
    loop.network.eval()
    test = prepared.test.arrays
    return Judge(test, "binary")(forward_all(loop.network, test))[0]


@pytest.fixture(scope="module")
def in_memory(prepared: Prepared) -> float:
    return learned(prepared)


@pytest.mark.parametrize("by", ["target", "feature"])
def test_sorted_rows_are_learned_within_a_percent(
    prepared: Prepared, in_memory: float, by: str, tmp_path: Path
) -> None:
    rows = prepared.train.arrays
    keys = {
        "target": rows.target["code"][:, 0],
        "feature": rows.features["number"]["values"][:, 2],
    }
    with ShardWriter(tmp_path / "rows") as writer:
        writer.write(rows.take(np.argsort(keys[by], kind="stable")))
    store = Shards(tmp_path / "rows")
    assert len(store.sizes) > 250
    found = learned(replace(prepared, train=replace(prepared.train, store=store)))
    assert found < 1.01 * in_memory
    shares = np.bincount(prepared.test.arrays.target["code"][:, 0]) / len(prepared.test.arrays)
    assert found < 0.9 * -(shares * np.log(shares)).sum()


def test_a_run_from_disk_that_was_killed_goes_on_to_the_same_weights(
    prepared: Prepared, tmp_path: Path
) -> None:
    with ShardWriter(tmp_path / "rows") as writer:
        writer.write(prepared.train.arrays.take(slice(0, 6000)))
    part = replace(prepared.train, store=Shards(tmp_path / "rows"))
    part_prepared = replace(prepared, train=part)
    recipe = RECIPE.turned({"share": 0.7, "averaging": 0.9})

    @final
    class Killed(Callback):
        name = "killed"

        def on_step(self, loop: Loop) -> None:
            if loop.steps_done == 25:
                loop.snapshot().save(tmp_path / "point")

    whole, _ = build_loop(
        part_prepared, build_network(part_prepared, recipe, 0), recipe, Run(), Silent()
    )
    whole.callbacks = [*whole.callbacks, Killed()]
    whole.fit()
    assert whole.loader.steps == 16
    again, _ = build_loop(
        part_prepared, build_network(part_prepared, recipe, 0), recipe, Run(), Silent()
    )
    again.restore(Snapshot.load(tmp_path / "point"))
    again.fit()
    wanted, found = copy_weights(whole.network), copy_weights(again.network)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
