"""A run that is killed and resumed ends with the same weights, bit for bit, as one that was not."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from processes import UNCOVERED
from thalweg.cli.main import main

EPOCHS = 40

# Checkpoints come every few seconds; here after every step, so that the run can be short.
EAGER = """
import sys
from thalweg.cli.main import main
from thalweg.training.train import Run

Run.__init__.__defaults__ = (*Run.__init__.__defaults__[:-1], 0.0)
sys.exit(main(sys.argv[1:]))
"""


def command(folder: Path, out: str) -> list[str]:
    words = ["train", str(folder / "table.csv"), "--target", "price", "--out", str(folder / out)]
    words += ["--epochs", str(EPOCHS), "--set", f"patience={EPOCHS}", "--baselines", "none"]
    return [*words, "--set", "members=2", "--set", "width=32", "--seed", "5", "--quiet"]


def weights(folder: Path, out: str) -> bytes:
    return (folder / out / "weights.safetensors").read_bytes()


def epochs_saved(folder: Path) -> int:
    """Count the epochs in the checkpoint that lies beside a model that is not finished."""
    try:
        state = (folder / ".killed.run" / "checkpoint" / "state.json").read_text()
        return len(json.loads(state)["epochs"])
    except (OSError, ValueError):
        return 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(2)
    size = random.normal(50, 10, 400)
    price = size * 3 + random.normal(0, 5, 400)
    pl.DataFrame({"size": size, "price": price}).write_csv(tmp_path / "table.csv")
    return tmp_path


def test_a_killed_run_goes_on_to_the_same_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder, "unbroken")) == 0
    running = subprocess.Popen(
        [sys.executable, "-c", EAGER, *command(folder, "killed")], env=UNCOVERED
    )
    while epochs_saved(folder) < 3:
        assert running.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    running.kill()
    running.wait()
    assert not (folder / "killed").exists()
    assert 3 <= epochs_saved(folder) < EPOCHS

    capsys.readouterr()
    assert main([*command(folder, "killed"), "--set", "width=16", "--resume"]) == 2
    assert "as the run was begun" in capsys.readouterr().err

    assert main([*command(folder, "killed"), "--resume"]) == 0
    assert weights(folder, "killed") == weights(folder, "unbroken")
    assert not (folder / ".killed.run").exists()
