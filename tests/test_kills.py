"""Killed at any moment of profiling, encoding or training a large table, and begun again.

The run ends as if it had never been killed, and nothing is left that loads wrongly.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from processes import ONE_THREAD
from thalweg.core.progress import Silent
from thalweg.data.cache import Cache
from thalweg.data.parts import Wishes
from thalweg.data.prepare import prepare
from thalweg.data.shards import Shards, read_all
from thalweg.data.split import FOLDED_ROWS, Split
from thalweg.sources import open_source

# Children are forked, so that what is slow to import is imported once.
SCRIPT = """
import os, random, signal, sys, time
from pathlib import Path
import matplotlib.pyplot
import torch._dynamo
from thalweg import api
from thalweg.core.progress import Silent
from thalweg.data import gather, prepare, split
from thalweg.lab.study import Question, study
from thalweg.training.train import Run

os.fsync = lambda handle: None  # slow, and needed where the power is cut, not where a run is
source, folder, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
for module in (gather, prepare, split):
    module.FOLDED_ROWS = int(sys.argv[4])
dials = {"members": 2, "width": 16, "embedding": 4, "batch_size": 1024, "averaging": 0.9,
         "epochs": 2, "patience": 20}

def work(place):
    api.profile(source, html=place / "profile.html")
    question = Question(source, "y", None, "random", {}, (), dials, (), place / "cache")
    run = Run(seed=4, folder=place / ".model.run", resume=True, every=0.0)
    study(question, run, place / "model", Silent())

def begin(place):
    child = os.fork()
    if not child:
        work(place)
        os._exit(0)
    return child

def whole(place):
    if os.waitpid(begin(place), 0)[1]:
        sys.exit(f"the run in {place} failed")

began = time.monotonic()
(folder / "unbroken").mkdir()
whole(folder / "unbroken")
took = time.monotonic() - began
moments = random.Random(kills)
for number in range(kills):
    place = folder / f"killed-{number}"
    place.mkdir()
    child = begin(place)
    time.sleep(took * (number + moments.random()) / kills)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(number, *sorted(path.name for path in place.iterdir()))
    whole(place)
"""


def table(rows: int, folder: Path) -> Path:
    random = np.random.default_rng(0)
    x = random.normal(size=rows)
    columns = {
        "x": x,
        "z": random.normal(size=rows).astype(np.float32),
        "town": random.choice(["Ulm", "Bonn", "Kiel", "Trier"], rows),
        "y": np.where(x + random.normal(size=rows) > 0, "yes", "no"),
    }
    path = folder / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("kills", "large"),
    [(3, 5_000), pytest.param(20, FOLDED_ROWS, marks=pytest.mark.soak)],
)
@pytest.mark.timeout(1800)
def test_law_8_a_large_table_killed_at_any_moment(tmp_path: Path, kills: int, large: int) -> None:
    folder, source = tmp_path, table(large + 1_000, tmp_path)
    command = [sys.executable, "-c", SCRIPT, str(source), str(folder), str(kills), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    unbroken = folder / "unbroken"
    weights = (unbroken / "model" / "weights.safetensors").read_bytes()
    facts = json.loads((unbroken / "model" / "model.json").read_text())
    page = (unbroken / "profile.html").read_bytes()
    entries = sorted(path.name for path in (unbroken / "cache").iterdir())
    for number in range(kills):
        place = folder / f"killed-{number}"
        assert (place / "model" / "weights.safetensors").read_bytes() == weights
        again = json.loads((place / "model" / "model.json").read_text())
        for name in ("schema", "calibration", "rows", "recipe"):
            assert again[name] == facts[name]
        assert (place / "profile.html").read_bytes() == page
        assert sorted(path.name for path in (place / "cache").iterdir()) == entries
        cache = Cache(place / "cache")
        for entry in (place / "cache").glob("*/contents.json"):
            assert cache.find(entry.parent.name) is not None
        left = [path.name for path in place.iterdir() if path.name.startswith(".")]
        assert left == []


def test_encoded_rows_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    source = table(FOLDED_ROWS + 1_000, tmp_path)
    for name in ("one", "other"):
        wishes = Wishes("y", {})
        prepare(open_source(source), wishes, Split(), None, Silent(), Cache(tmp_path / name))
    one, other = (
        {path.relative_to(tmp_path / name): path for path in (tmp_path / name).rglob("*.rows")}
        for name in ("one", "other")
    )
    assert one
    assert one.keys() == other.keys()
    for name, path in one.items():
        assert path.read_bytes() == other[name].read_bytes()
    training = next((tmp_path / "one").rglob("training"))
    assert len(read_all(training)) == len(Shards(training))
