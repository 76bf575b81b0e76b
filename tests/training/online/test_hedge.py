"""The mixture of experts: its bound, sleepers, delayed labels."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.training.online.base import Inputs, Script
from thalweg.training.online.hedge import Hedge


def script(targets: Any, classes: int, delay: int = 0) -> Script:
    rows = pa.record_batch({"n": pa.array(np.arange(len(targets)))})
    inputs = Inputs(np.zeros((len(targets), 0)), np.zeros((len(targets), 0), np.int32))
    pairs = [[row] + [~(row - delay)] * (row >= delay) for row in range(len(targets))]
    steps = np.array(list(chain(*pairs)), np.int64)
    return Script(rows, inputs, np.asarray(targets, float), steps, classes)


def mixed(hedge: Hedge, what: Script, said: Any) -> tuple[Any, Any]:
    answers = np.full((len(what.targets), what.width), np.nan)
    losses = hedge.run(what, said, answers)
    return answers, losses


def experts_of(targets: Any, seed: int, experts: int, switches: list[int]) -> Any:
    """Make experts that guess, but for one at a time that is good, in turn."""
    random = np.random.default_rng(seed)
    said = random.dirichlet(np.ones(3), (len(targets), experts))
    edges = [0, *switches, len(targets)]
    for turn, (start, stop) in enumerate(pairwise(edges)):
        said[start:stop, turn % experts] = 0.05
        rows = np.arange(start, stop)
        said[rows, turn % experts, targets[start:stop].astype(int)] = 0.9
    return said


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    experts=st.integers(2, 5),
    switches=st.lists(st.integers(50, 950), max_size=4, unique=True),
)
def test_the_bound_of_fixed_share(seed: int, experts: int, switches: list[int]) -> None:
    random = np.random.default_rng(seed)
    targets = random.integers(0, 3, 1000)
    said = experts_of(targets, seed, experts, sorted(switches))
    share = 0.01
    hedge = Hedge(experts, numbers=False, share=share, rate=1.0)
    _, losses = mixed(hedge, script(targets, 3), said)
    losses = losses[1::2]
    edges = [0, *sorted(switches), 1000]
    best = sum(
        losses[start:stop, turn % experts].sum()
        for turn, (start, stop) in enumerate(pairwise(edges))
    )
    turns = len(switches)
    moved = share * (1 - 1 / experts)
    bound = np.log(experts) - (999 - turns) * np.log(1 - moved) - turns * np.log(share / experts)
    assert losses[:, -1].sum() <= best + bound + 1e-6


def test_weights_go_to_the_best_and_back_after_a_change() -> None:
    targets = np.zeros(400)
    said = np.tile([[0.9, 0.1], [0.1, 0.9]], (400, 1, 1)).reshape(400, 2, 2)
    targets[200:] = 1
    hedge = Hedge(2, numbers=False)
    answers, _ = mixed(hedge, script(targets, 2), said)
    assert answers[199].argmax() == 0
    assert (answers[220:].argmax(axis=1) == 1).all()
    assert hedge.weights.sum() == pytest.approx(1)


def test_sleepers_keep_their_weight_and_are_not_asked() -> None:
    targets = np.zeros(50)
    said = np.full((50, 3, 2), np.nan)
    said[:, 0] = [0.9, 0.1]
    said[:, 1] = [0.4, 0.6]
    hedge = Hedge(3, numbers=False, share=0.0)
    answers, losses = mixed(hedge, script(targets, 2), said)
    assert hedge.weights[2] == pytest.approx(1 / 3)
    assert hedge.weights[0] > 0.6
    assert answers[0] == pytest.approx([0.65, 0.35])
    assert np.isnan(losses[:, 2]).all()


def test_nobody_says_anything() -> None:
    said = np.full((4, 2, 2), np.nan)
    hedge = Hedge(2, numbers=False)
    answers, losses = mixed(hedge, script(np.zeros(4), 2), said)
    assert np.isnan(answers).all()
    assert np.isnan(losses).all()
    assert hedge.weights.tolist() == [0.5, 0.5]


def test_numbers_on_any_scale() -> None:
    random = np.random.default_rng(0)
    targets = 1e9 * random.normal(size=500)
    said = np.stack([targets + 1e8 * random.normal(size=500), np.zeros(500)], axis=1)[:, :, None]
    hedge = Hedge(2, numbers=True)
    answers, losses = mixed(hedge, script(targets, 0), said)
    assert hedge.weights[0] > 0.9
    assert np.square(answers[50:, 0] - targets[50:]).mean() < 0.03 * targets.var()
    assert np.isfinite(losses[1::2]).all()


@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("delay", [0, 7])
def test_any_cut_and_its_state(numbers: bool, delay: int) -> None:
    random = np.random.default_rng(1)
    targets = random.integers(0, 3, 200).astype(float)
    said = random.random((200, 3, 1)) if numbers else random.dirichlet(np.ones(3), (200, 3))
    what = script(targets, 0 if numbers else 3, delay)
    whole = mixed(Hedge(3, numbers=numbers), what, said)
    hedge = Hedge(3, numbers=numbers)
    answers = np.full((200, what.width), np.nan)
    losses = []
    for start in range(0, len(what.steps), 37):
        other = Hedge(3, numbers=not numbers, share=0.5)
        other.restore(hedge.state())
        losses.append(other.run(what.part(start, start + 37), said, answers))
        hedge = other
    assert answers.tobytes() == whole[0].tobytes()
    assert np.concatenate(losses).tobytes() == whole[1].tobytes()
