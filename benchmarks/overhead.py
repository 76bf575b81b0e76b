"""The training loop beside a bare PyTorch loop over the same network, in one run.

    python benchmarks/overhead.py

Both train the default network on the same rows, batch 1024, with the same optimiser and
arithmetic. The bare loop has its tensors in memory and does nothing but gather a shuffled batch,
forward, backward and step; Thalweg's loop shuffles, schedules, clips, averages, judges and shows
progress as it always does. Rounds alternate, so that a noisy machine is noisy for both. The
judging of validation rows happens once an epoch and is counted.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import pyarrow as pa
import torch

from thalweg.core.progress import Silent
from thalweg.data.prepare import Prepared, Wishes, prepare
from thalweg.data.split import Split
from thalweg.models.network import Network
from thalweg.models.recipe import Recipe
from thalweg.sources import open_source
from thalweg.training import optimizers
from thalweg.training.train import Run, build_loop, has_bfloat16


def table(rows: int, columns: int, seed: int = 0) -> pa.Table:
    """Make numbers, categories and a non-linear binary target."""
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, columns)).astype(np.float32)
    codes = random.zipf(1.5, size=(rows, columns // 2)).clip(max=200)
    signal = numbers[:, 0] * numbers[:, 1] + np.sin(numbers[:, 2] * 2) + (codes[:, 0] % 3 - 1)
    data = {f"n{i}": numbers[:, i] for i in range(columns)}
    data |= {f"c{i}": np.char.add("v", codes[:, i].astype(str)) for i in range(columns // 2)}
    data["y"] = np.where(signal + random.normal(size=rows) > 0, "yes", "no")
    return pa.table(data)


def bare(prepared: Prepared, recipe: Recipe, seed: int) -> float:
    """Train one epoch with nothing around it; give rows per second."""
    network = Network(prepared.schema, recipe, seed)
    network.prepare(prepared.train.arrays)
    network.train()
    arrays = prepared.train.arrays
    features = network.tensors(arrays.features)
    target = {name: torch.from_numpy(array) for name, array in arrays.target.items()}
    optimizer = optimizers.build(
        recipe.optimizer, optimizers.decayed(network, recipe.weight_decay), recipe.learning_rate
    )
    rows = len(arrays)
    steps = rows // recipe.batch_size
    began = time.perf_counter()
    order = torch.randperm(rows)
    for step in range(steps):
        index = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        batch = {
            kind: {name: tensor[index] for name, tensor in fields.items()}
            for kind, fields in features.items()
        }
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            outputs = network(batch)
        loss = network.head.loss(outputs.float(), {n: t[index] for n, t in target.items()})
        torch.autograd.backward(loss.mean(dim=1).sum())
        optimizer.step()
    return steps * recipe.batch_size / (time.perf_counter() - began)


def ours(prepared: Prepared, recipe: Recipe, seed: int) -> float:
    """Train one epoch with Thalweg's loop; give rows per second, judging included."""
    loop, _ = build_loop(prepared, recipe, Run(seed=seed), Silent())
    began = time.perf_counter()
    loop.fit()
    return loop.loader.rows / (time.perf_counter() - began)


def main() -> None:
    """Alternate the two and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    source = open_source(table(given.rows, given.columns))
    prepared = prepare(source, Wishes("y", {}), Split(validation=0.1), None, Silent())
    recipe = Recipe.for_table(prepared).turned({"batch_size": 1024, "epochs": 1})
    ours(prepared, recipe, 0), bare(prepared, recipe, 0)  # warm up
    pairs = [(ours(prepared, recipe, r), bare(prepared, recipe, r)) for r in range(given.rounds)]
    ratios = [mine / theirs for mine, theirs in pairs]
    print(f"Thalweg's loop  {statistics.median(p[0] for p in pairs):10,.0f} rows/s")
    print(f"bare PyTorch    {statistics.median(p[1] for p in pairs):10,.0f} rows/s")
    middle, least, most = statistics.median(ratios), min(ratios), max(ratios)
    print(f"ratio           {middle:10.3f}  (from {least:.3f} to {most:.3f})")


if __name__ == "__main__":
    main()
