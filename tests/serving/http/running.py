"""A real server in a process of its own, and two small models for it to serve."""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

import processes
from thalweg import api
from thalweg.models import artifact
from thalweg.models.compile import compile_model
from thalweg.models.model import Model

COMMAND: Final = (sys.executable, "-m", "thalweg", "serve")
NAME: Final = "some"


def table(rows: int = 400, seed: int = 1) -> pa.Table:
    """Make rows of every kind that is compiled, with what they cost as the target."""
    random = np.random.default_rng(seed)
    amounts = random.gamma(2.0, 30.0, rows).round(2)
    member = random.random(rows) < 0.4
    return pa.table(
        {
            "city": random.choice(["Ulm", "Bonn", "Kiel", "Köln"], rows),
            "amount": amounts,
            "member": member,
            "at": np.datetime64("2024-01-01T00:00:00", "s") + random.integers(0, 10**7, rows),
            "large": np.where(amounts + 10 * member + random.normal(0, 5, rows) > 60, "yes", "no"),
        }
    )


def rows_of(count: int, seed: int = 2) -> list[dict[str, Any]]:
    """Give rows as JSON has them."""
    rows = table(count, seed).drop_columns(["large"]).to_pylist()
    return [{**row, "at": row["at"].isoformat()} for row in rows]


@cache
def model(seed: int = 0) -> Path:
    """Train and compile a model of `table`; another seed gives one that differs."""
    place = Path(tempfile.mkdtemp(prefix="thalweg-served-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    folder = place / "model"
    dials = {"members": 1, "width": 8, "embedding": 4}
    api.train(table(), "large", recipe=dials, baselines=(), epochs=1 + seed, out=folder, seed=seed)
    graph = compile_model(Model.load(folder))
    artifact.add(folder, {artifact.graph_name("float32"): graph})
    return folder


@dataclass
class Running:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def complaints(self) -> list[str]:
        """Give what it has logged of its own faults."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [one for one in lines if '"level": "error"' in one or "Traceback" in one]

    def stop(self) -> int:
        """End it in order, and give its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(60)


@contextmanager
def running(model: Path, options: Sequence[str] = ()) -> Iterator[Running]:
    """Serve a model on a port that is free."""
    log = Path(tempfile.mkstemp(prefix="thalweg-serve-", suffix=".log")[1])
    words = [*COMMAND, f"{NAME}={model}", "--port", "0", *options]
    with log.open("w") as told:
        process = subprocess.Popen(
            words, stdout=told, stderr=told, text=True, env=processes.ONE_THREAD
        )
    found = Running(process, 0, log)
    try:
        found.port = _port(found)
        yield found
    finally:
        found.stop()
        log.unlink()


def _port(server: Running) -> int:
    """Wait for the line that says where it listens."""
    end = time.monotonic() + 60
    while time.monotonic() < end and server.process.poll() is None:
        for line in server.log.read_text(encoding="utf-8").splitlines():
            if '"event": "ready"' in line:
                return int(json.loads(line)["url"].rpartition(":")[2])
        select.select([], [], [], 0.05)
    raise AssertionError(f"it does not start: {server.log.read_text(encoding='utf-8')[-3000:]}")


def replaced(folder: Path, model: Path) -> None:
    """Put another model into a folder that is served: it is there whole, or not at all."""
    new, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    shutil.copytree(model, new)
    if folder.exists():
        os.rename(folder, old)  # noqa: PTH104 - one name for the same act as below
    os.rename(new, folder)  # noqa: PTH104
    shutil.rmtree(old, ignore_errors=True)
