"""The last label once more."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from thalweg.training.online.base import Inputs, Script
from thalweg.training.online.experts.last import Last


def script(targets: list[float], steps: list[int], classes: int) -> Script:
    rows = pa.record_batch({"n": pa.array(np.arange(len(targets)))})
    inputs = Inputs(np.zeros((len(targets), 0)), np.zeros((len(targets), 0), np.int32))
    return Script(rows, inputs, np.array(targets), np.array(steps), classes)


def told(script: Script, last: Last) -> np.ndarray:
    said = np.full((len(script.targets), script.width), np.nan)
    last.run(script, said)
    return said


def test_it_repeats_the_label_that_came_last() -> None:
    said = told(script([2, 0, 0, 1], [0, ~0, 1, 2, ~1, 3, ~2, ~3], 3), Last(numbers=False))
    assert np.isnan(said[0]).all()
    assert said[1].tolist() == [0, 0, 1]  # no other class was seen yet
    assert said[2].tolist() == [0, 0, 1]
    assert said[3].argmax() == 0
    assert said[3, 1] == 0


def test_it_knows_how_often_it_is_right() -> None:
    random = np.random.default_rng(0)
    targets = np.cumsum(random.random(3000) < 0.1) % 2
    steps = np.stack([np.arange(3000), ~np.arange(3000)], axis=1).ravel().tolist()
    said = told(script(targets.tolist(), steps, 2), Last(numbers=False))
    assert (said[1:].argmax(axis=1) == targets[:-1]).all()
    assert abs(said[1000:].max(axis=1).mean() - 0.9) < 0.02


def test_labels_in_turn_leave_it_undecided_but_true_to_itself() -> None:
    targets = np.arange(500) % 2
    steps = np.stack([np.arange(500), ~np.arange(500)], axis=1).ravel().tolist()
    said = told(script(targets.tolist(), steps, 2), Last(numbers=False))
    assert (said[1:].argmax(axis=1) == targets[:-1]).all()
    assert said[400:].max() < 0.51


def test_numbers_are_repeated() -> None:
    said = told(script([4.5, 7, 1, 0], [0, ~0, 1, ~1, 2, 3], 0), Last(numbers=True))
    assert said[1:, 0].tolist() == [4.5, 7, 7]
