from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import torch

from thalweg.core.errors import OptionError
from thalweg.training.callbacks.base import Callback
from thalweg.training.loop import Loop
from thalweg.training.plan import pace_of
from thalweg.training.state import Snapshot, copy_weights

Build = Callable[..., Loop]


def weights(loop: Loop) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in copy_weights(loop.network).items()}


def test_an_epoch_shows_every_batch_and_is_judged(building: Build) -> None:
    loop = building()
    loop.fit()
    assert [epoch.epoch for epoch in loop.epochs] == [0, 1, 2]
    assert loop.steps == 3 * loop.loader.steps == loop.steps_done
    assert loop.stopped == "plan"
    assert loop.epochs[-1].metric == pytest.approx(loop.epochs[-1].validation_loss ** 0.5)


def test_it_learns(building: Build) -> None:
    loop = building(epochs=15, learning_rate=1e-2)
    loop.fit()
    losses = [epoch.train_loss for epoch in loop.epochs]
    assert losses[-1] < 0.5 * losses[0]
    assert min(epoch.validation_loss for epoch in loop.epochs) < 0.3


def test_the_rate_follows_the_schedule(building: Build) -> None:
    loop = building(learning_rate=1e-2, schedule="linear", warmup=0)
    loop.fit()
    rates = [epoch.learning_rate for epoch in loop.epochs]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1e-2 / (loop.steps - 1), rel=0.01)


@pytest.mark.parametrize("target", ["price", "rare"])
def test_the_same_seed_is_the_same_training(building: Build, target: str) -> None:
    first, again = building(target), building(target)
    first.fit()
    torch.manual_seed(99)
    again.fit()
    assert weights(first) == weights(again)


def test_random_numbers_elsewhere_are_left_alone(building: Build) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global state is what is looked at
    before, known = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr] # noqa: NPY002
    loop = building()
    pace_of(loop)
    loop.fit()
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == known).all()  # type: ignore[index] # noqa: NPY002


def test_timing_leaves_the_network_alone(building: Build) -> None:
    loop = building()
    before = weights(loop)
    pace = pace_of(loop)
    assert pace.step > 0 < pace.judging
    assert weights(loop) == before
    assert (loop.epochs, loop.steps_done) == ([], 0)
    assert loop.optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize("target", ["price", "rare"])
@pytest.mark.parametrize("averaging", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["adamw", "momentum", "sgd"])
def test_a_snapshot_goes_on_with_equal_bits(
    building: Build, target: str, averaging: float, optimizer: str, tmp_path: Any
) -> None:
    dials = {"averaging": averaging, "optimizer": optimizer, "epochs": 6, "learning_rate": 1e-2}
    whole = building(target, **dials)
    whole.fit()

    first = building(target, **dials)
    for callback in first.callbacks:
        callback.on_start(first)
    with torch.random.fork_rng(devices=[]):
        for epoch in range(3):
            first.run_epoch(epoch)
    first.snapshot().save(tmp_path / "point")

    second = building(target, **dials)
    second.restore(Snapshot.load(tmp_path / "point"))
    assert len(second.epochs) == 3
    second.fit()
    assert weights(second) == weights(whole)
    losses = [epoch.validation_loss for epoch in whole.epochs]
    assert [epoch.validation_loss for epoch in second.epochs] == losses


@final
class Killed(Callback):
    """Keeps a snapshot after a step, and ends the process there."""

    name = "killed"

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        self._step = step

    def on_step(self, loop: Loop) -> None:
        if loop.steps_done == self._step:
            loop.snapshot().save(self._folder)
            raise KeyboardInterrupt


@pytest.mark.parametrize("target", ["price", "rare"])
@pytest.mark.parametrize("averaging", [0.0, 0.9])
@pytest.mark.parametrize("step", [1, 4, 5, 8])
def test_a_snapshot_within_an_epoch_goes_on_with_equal_bits(
    building: Build, target: str, averaging: float, step: int, tmp_path: Path
) -> None:
    whole = building(target, averaging=averaging)
    whole.fit()
    assert whole.loader.steps == 5

    first = building(target, averaging=averaging)
    first.callbacks = [*first.callbacks, Killed(tmp_path / "point", step)]
    with pytest.raises(KeyboardInterrupt):
        first.fit()

    second = building(target, averaging=averaging)
    second.restore(Snapshot.load(tmp_path / "point"))
    assert second.passing is not None
    # A snapshot after the last step of an epoch is before that epoch is judged.
    assert (len(second.epochs), second.passing.steps) == ((step - 1) // 5, (step - 1) % 5 + 1)
    assert second.steps_done == step
    second.fit()
    assert weights(second) == weights(whole)
    for name in ("validation_loss", "train_loss", "steps"):
        wanted = [getattr(epoch, name) for epoch in whole.epochs]
        assert [getattr(epoch, name) for epoch in second.epochs] == wanted
    assert second.seconds > second.epochs[-1].seconds


def test_what_is_stopped_within_an_epoch_is_judged(building: Build) -> None:
    @final
    class Stop(Callback):
        name = "stop"

        def on_step(self, loop: Loop) -> None:
            if loop.steps_done == 7:
                loop.stopped = "time"

    loop = building()
    loop.callbacks = [*loop.callbacks, Stop()]
    loop.fit()
    assert [epoch.steps for epoch in loop.epochs] == [5, 2]
    assert loop.stopped == "time"
    assert loop.steps_done == 7
    assert loop.epochs[-1].train_loss > 0


def test_a_loss_that_is_no_number_is_noticed_within_an_epoch(
    building: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thalweg.training.loop.LOOKED_AT", 2)
    loop = building(learning_rate=1e30, clip=0, epochs=30)
    with pytest.raises(OptionError, match="diverged in epoch 1"):
        loop.fit()
    assert loop.passing is not None
    assert loop.passing.steps < loop.loader.steps


@pytest.mark.parametrize("target", ["price", "rare"])
def test_a_training_that_diverges_says_so(building: Build, target: str) -> None:
    loop = building(target, learning_rate=1e30, clip=0, epochs=30)
    with pytest.raises(OptionError, match=r"diverged in epoch .*learning_rate"):
        loop.fit()


def test_no_member_learns_from_rows_that_it_holds_out(building: Build) -> None:
    loop = building()
    judged = loop.judged
    assert judged.held is not None
    assert np.unique(judged.held).tolist() == [0, 1]
    judged_values = judged.arrays.features["number"]["values"][:, 0].tolist()
    holders = dict(zip(judged_values, judged.held[:, 0].tolist(), strict=True))
    for batch in loop.loader.epoch(0):
        assert batch.weights is not None
        assert batch.weights.shape == (len(batch), 2)
        values = batch.features["number"]["values"][:, 0].tolist()
        learned = [[float(holders.get(value) != member) for member in (0, 1)] for value in values]
        np.testing.assert_array_equal(batch.weights, learned)
