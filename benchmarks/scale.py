"""What a table costs as it grows: time, memory and disk from 200,000 to 20 million rows.

    python benchmarks/scale.py bench-results --rows 200000 2000000 20000000 --plot docs/scale.svg

Each table is made by `generate.py` (24 columns) and each figure measured in a process of its own,
beside its limit: a bare Polars streaming scan of all columns for the profile, a bare PyArrow
read-and-encode for encoding. The second training finds the encoded rows of the first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import generate
from thalweg.core.progress import Progress


class Begun(Exception):  # noqa: N818 - no error
    """The first step of training was done."""


@final
class Stages(Progress):
    """Remembers how long each stage took; may end the work with the first step of training."""

    def __init__(self, *, only_first_step: bool = False) -> None:
        self._only_first_step = only_first_step
        self.began = time.perf_counter()
        self.stages: dict[str, tuple[int, float]] = {}
        self.first_step: float | None = None
        self._stage, self._since, self._done = "", 0.0, 0

    def start(self, stage: str, total: int | None, unit: str) -> None:
        """Begin a stage."""
        self.stop()
        self._stage, self._since, self._done = stage, time.perf_counter(), 0

    def advance(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        """Count."""
        self._done += amount
        if self._stage == "train" and self.first_step is None:
            self.first_step = time.perf_counter() - self.began
            if self._only_first_step:
                raise Begun

    def note(self, message: str) -> None:
        """Say nothing."""

    def stop(self) -> None:
        """Add up what the stage took."""
        if self._stage:
            done, spent = self.stages.get(self._stage, (0, 0.0))
            more = time.perf_counter() - self._since
            self.stages[self._stage] = (done + self._done, spent + more)
        self._stage = ""


# ---- what is measured, each in a process of its own -------------------------------------------


def scan(path: str) -> dict[str, Any]:
    """Drain a bare Polars streaming scan of all columns."""
    import polars as pl

    rows = 0
    began = time.perf_counter()
    batches = pl.scan_parquet(path).collect_batches(chunk_size=500_000, maintain_order=False)
    for batch in batches:
        rows += batch.height
    return {"rows": rows, "seconds": time.perf_counter() - began}


def read_and_encode(path: str) -> dict[str, Any]:
    """Read with PyArrow, standardise numbers and take the codes of texts: the least there is."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    rows = 0
    began = time.perf_counter()
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(262_144):
            for column in batch.columns:
                if pa.types.is_dictionary(column.type):
                    column.indices.to_numpy(zero_copy_only=False).astype(np.int32)
                    continue
                values = column.to_numpy(zero_copy_only=False)
                if values.dtype.kind == "f":
                    ((values - 0.1) * 0.9).astype(np.float32)
                else:
                    values.astype(np.int64)
            rows += batch.num_rows
            if rows >= 4_000_000:
                break
    return {"rows": rows, "seconds": time.perf_counter() - began}


def profile(path: str) -> dict[str, Any]:
    """Profile as the verb does."""
    import thalweg

    began = time.perf_counter()
    found = thalweg.profile(path)
    return {"rows": found.summary.rows, "seconds": time.perf_counter() - began}


def train(path: str, cache: str, out: str) -> dict[str, Any]:
    """Train for one epoch as the verb does, judgement and report included, without rivals."""
    import thalweg

    progress = Stages()
    words: dict[str, Any] = {"epochs": 1, "minutes": None, "baselines": []}
    model = thalweg.train(path, generate.TARGET, out=out, cache=cache, progress=progress, **words)
    progress.stop()
    seconds = time.perf_counter() - progress.began
    figures = {} if model.evaluation is None else model.evaluation.metrics
    return {
        "rows": model.rows.train,
        "seconds": seconds,
        "first_step": progress.first_step,
        "stages": progress.stages,
        "roc_auc": figures["roc_auc"].value,
    }


def begin(path: str, cache: str, out: str) -> dict[str, Any]:
    """Train again on rows that were encoded before, until the first step is done."""
    import thalweg

    progress = Stages(only_first_step=True)
    with contextlib.suppress(Begun):
        thalweg.train(
            path, generate.TARGET, epochs=1, minutes=None, out=out, cache=cache, progress=progress
        )
    return {"first_step": progress.first_step, "stages": progress.stages}


CHILDREN = {
    "scan": scan,
    "read_and_encode": read_and_encode,
    "profile": profile,
    "train": train,
    "begin": begin,
}


def measured(name: str, *arguments: str) -> dict[str, Any]:
    """Run one measurement in a fresh process; add its peak memory in MiB."""
    with subprocess.Popen(  # noqa: S603 - this very script
        [sys.executable, __file__, "--child", name, *arguments], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{name} {' '.join(arguments)} failed")
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return {**found, "peak": usage.ru_maxrss / 1024}


# ---- the table and the plot --------------------------------------------------------------------


def measure(rows: int, folder: Path) -> dict[str, Any]:
    """Measure everything at one size."""
    path = folder / f"rows-{rows}.parquet"
    if not path.exists():
        generate.write(rows, path)
    cache, out = folder / "cache", folder / "model"
    shutil.rmtree(cache, ignore_errors=True)
    found: dict[str, Any] = {"rows": rows, "file": path.stat().st_size}
    for name in ("scan", "profile", "read_and_encode"):
        found[name] = measured(name, str(path))
    found["train"] = measured("train", str(path), str(cache), str(out))
    found["cached"] = sum(one.stat().st_size for one in cache.rglob("*") if one.is_file())
    found["again"] = measured("begin", str(path), str(cache), str(out))
    shutil.rmtree(folder / ".model.run", ignore_errors=True)
    shutil.rmtree(cache, ignore_errors=True)
    return found


def rate(one: Mapping[str, Any]) -> float:
    """Give rows per second."""
    return float(one["rows"] / max(1e-9, one["seconds"]))


def stage(one: Mapping[str, Any], name: str) -> tuple[float, float]:
    """Give a stage's rows (or steps) and seconds; nothing where it was not needed."""
    done, seconds = one["stages"].get(name, (0, 0.0))
    return done, seconds


def table(results: list[dict[str, Any]]) -> str:
    """Write the figures as Markdown."""
    lines = [
        "| rows | file | profile | of a Polars scan | peak | fit | encode and write | of PyArrow "
        "alone | encoded rows | train, 1 epoch | in all | peak | second time: first step after |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in results:
        encoded, encode_seconds = stage(one["train"], "encode")
        _, fit_seconds = stage(one["train"], "fit")
        _, train_seconds = stage(one["train"], "train")
        speed = encoded / encode_seconds if encode_seconds else 0.0
        cells = [
            f"{one['rows']:,}",
            f"{one['file'] / 1e6:,.0f} MB",
            f"{one['profile']['seconds']:.1f} s ({rate(one['profile']):,.0f}/s)",
            f"{rate(one['profile']) / rate(one['scan']):.3f}",
            f"{one['profile']['peak']:,.0f} MiB",
            f"{fit_seconds:.1f} s",
            f"{encode_seconds:.1f} s ({speed:,.0f}/s)",
            f"{speed / rate(one['read_and_encode']):.3f}",
            f"{one['cached'] / 1e6:,.0f} MB",
            f"{train_seconds:.0f} s",
            f"{one['train']['seconds']:.0f} s",
            f"{one['train']['peak']:,.0f} MiB",
            f"{one['again']['first_step']:.1f} s",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Draw time and memory against rows."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "thalweg"
    from matplotlib import pyplot as plt

    rows = [one["rows"] for one in results]
    figure, (time_axes, memory_axes) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for label, seconds in (
        ("profile", [one["profile"]["seconds"] for one in results]),
        ("fit", [stage(one["train"], "fit")[1] for one in results]),
        ("encode and write", [stage(one["train"], "encode")[1] for one in results]),
        ("one epoch", [stage(one["train"], "train")[1] for one in results]),
        ("train, in all", [one["train"]["seconds"] for one in results]),
    ):
        time_axes.loglog(rows, seconds, marker="o", label=label)
    time_axes.set(xlabel="rows (24 columns)", ylabel="seconds", title="Time grows with rows")
    for name in ("profile", "train"):
        memory_axes.semilogx(rows, [one[name]["peak"] for one in results], marker="o", label=name)
    memory_axes.axhline(2048, color="grey", linestyle="--", label="2 GiB")
    memory_axes.set(
        xlabel="rows (24 columns)",
        ylabel="peak memory, MiB",
        title="Memory does not",
        ylim=(0, None),
    )
    for axes in (time_axes, memory_axes):
        axes.legend(frameon=False)
        axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000, 2_000_000, 20_000_000])
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    results = []
    for rows in given.rows:
        results.append(measure(rows, given.folder))
        (given.folder / "scale.json").write_text(json.dumps(results, indent=1))
        print(json.dumps(results[-1]), flush=True)
    results.sort(key=lambda one: int(one["rows"]))
    names = ("thalweg", "torch", "pyarrow", "polars", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    cores = len(os.sched_getaffinity(0))
    print(
        f"\n{platform.machine()}, {cores} cores, Python {platform.python_version()}, {versions}\n"
    )
    print(table(results))
    if given.plot:
        plot(results, given.plot)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(CHILDREN[sys.argv[2]](*sys.argv[3:])))
    else:
        main()
