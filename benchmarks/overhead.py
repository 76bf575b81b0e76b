"""The training loop beside a bare PyTorch loop over the same network, in one run.

    python benchmarks/overhead.py --rows 1500000 --threads 1

Three ways to train an epoch on the same rows, with the same network, optimiser and arithmetic: a
bare loop that has its tensors in memory and does nothing but gather a shuffled batch, forward,
backward and step; Thalweg's loop with its rows in memory; and Thalweg's loop with its rows on
disk. Thalweg's shuffles, schedules, clips, averages, judges and shows progress as it always does.
Rounds alternate, so that a noisy machine is noisy for all; the ratios are of one round each. Beside
the rows per second stand the rows per second of processor time, the reading thread's included:
where others use the machine too, these tell more.

The rows are those of benchmarks/generate.py. Two networks: one small one, comparable to an MLP of
128 and 64 units over embeddings, and what the recipe would take.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

sys.path.insert(0, str(Path(__file__).parent))
from generate import TARGET, chunks
from thalweg.core.progress import Silent
from thalweg.data.arrays import Arrays
from thalweg.data.cache import Cache
from thalweg.data.parts import Prepared, Wishes
from thalweg.data.prepare import prepare
from thalweg.data.shards import Held
from thalweg.data.split import Split
from thalweg.models.network import Network
from thalweg.models.recipe import Recipe
from thalweg.sources import open_source
from thalweg.training import optimizers
from thalweg.training.train import Run, build_loop, build_network, has_bfloat16

SMALL = {"members": 1, "width": 128, "embedding": 8, "depth": 2, "pairs": 0}


class Watch:
    """Tells how many rows a second were shown, by the clock and by the processor."""

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), time.process_time()

    def rates(self, rows: int) -> tuple[float, float]:
        """Stop."""
        clock = time.perf_counter() - self._clock
        return rows / clock, rows / (time.process_time() - self._processor)


def bare(prepared: Prepared, recipe: Recipe, arrays: Arrays, seed: int) -> tuple[float, float]:
    """Train one epoch with nothing around it."""
    network = Network(prepared.schema, recipe, seed)
    network.prepare(prepared.train.arrays)
    network.train()
    features = network.tensors(arrays.features)
    target = {name: torch.from_numpy(array) for name, array in arrays.target.items()}
    optimizer = optimizers.build(
        recipe.optimizer, optimizers.decayed(network, recipe.weight_decay), recipe.learning_rate
    )
    rows = len(arrays)
    steps = int(recipe.share * rows) // recipe.batch_size
    watch = Watch()
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
    return watch.rates(steps * recipe.batch_size)


def ours(prepared: Prepared, recipe: Recipe, seed: int) -> tuple[float, float]:
    """Train one epoch with Thalweg's loop, judging included."""
    loop, _ = build_loop(
        prepared, build_network(prepared, recipe, seed), recipe, Run(seed=seed), Silent()
    )
    watch = Watch()
    loop.fit()
    return watch.rates(loop.loader.rows)


def memory(field: str) -> float:
    """Read how much memory is resident (``VmRSS``) or was at most (``VmHWM``), in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith(field))
    return int(found.split()[1]) / 1024


def measure(prepared: Prepared, recipe: Recipe, rounds: int, name: str) -> None:
    """Alternate the three and print rates and ratios."""
    warm = recipe.turned({"share": min(1.0, 20 * recipe.batch_size / prepared.train.rows)})
    ours(prepared, warm, 0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak until now
    before = memory("VmRSS")
    ours(prepared, recipe, 0)
    added = memory("VmHWM") - before

    store = prepared.train.store
    arrays = store.read(np.arange(len(store.sizes)))
    held = replace(prepared, train=replace(prepared.train, store=Held(arrays)))
    rates: dict[str, list[tuple[float, float]]] = {
        "bare PyTorch": [],
        "in memory": [],
        "on disk": [],
    }
    for number in range(rounds):
        rates["on disk"].append(ours(prepared, recipe, number))
        rates["bare PyTorch"].append(bare(prepared, recipe, arrays, number))
        rates["in memory"].append(ours(held, recipe, number))
    megabytes = len(store) * store.row_bytes / 2**20
    network = Network(prepared.schema, recipe)
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{name}: {count:,} weights, batch {recipe.batch_size}, {len(store):,} rows", end="")
    print(f" of {megabytes:,.0f} MiB; an epoch from disk adds {added:,.0f} MiB", flush=True)
    for way, found in rates.items():
        print(
            f"  {way:14s}" + "".join(_told(found, rates["bare PyTorch"], place) for place in (0, 1))
        )


def _told(found: list[tuple[float, float]], bare: list[tuple[float, float]], place: int) -> str:
    """Give the median rate, and the ratio to the bare loop's: its median and its range."""
    ratios = [one[place] / other[place] for one, other in zip(found, bare, strict=True)]
    rate = statistics.median(one[place] for one in found)
    middle, unit = statistics.median(ratios), ("rows/s", "rows/CPU s")[place]
    return f"{rate:10,.0f} {unit}{middle:6.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def main() -> None:
    """Encode the rows, then measure each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_500_000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", nargs="+", default=["small", "recipe"])
    parser.add_argument("--share", type=float, default=1.0, help="of the rows, in a round")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    source = open_source(pa.Table.from_batches(chunks(given.rows)))
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        prepared = prepare(source, Wishes(TARGET, {}), Split(), None, Silent(), cache)
        del source
        recipe = Recipe.for_table(prepared).turned(
            {"batch_size": given.batch, "epochs": 1, "share": given.share}
        )
        kinds = {"small": recipe.turned(SMALL), "recipe": recipe}
        print(
            f"torch threads: {given.threads}, OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY')}"
        )
        for name in given.networks:
            measure(prepared, kinds[name], given.rounds, name)


if __name__ == "__main__":
    main()
