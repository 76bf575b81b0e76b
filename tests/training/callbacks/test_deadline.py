from __future__ import annotations

from collections.abc import Callable

import pytest

from thalweg.models.record import Epoch
from thalweg.training.callbacks.deadline import Deadline
from thalweg.training.loop import Loop, Passing

Build = Callable[..., Loop]


def after(loop: Loop, *seconds: float) -> None:
    loop.epochs = [
        Epoch(
            epoch=number,
            seconds=one,
            learning_rate=0.1,
            train_loss=1,
            validation_loss=1,
            metric=1,
        )
        for number, one in enumerate(seconds)
    ]


@pytest.mark.parametrize(
    ("seconds", "stopped"),
    [([100.0], ""), ([100.0] * 9, ""), ([100.0] * 9 + [95.0], "time"), ([100.0] * 10, "time")],
)
def test_no_epoch_is_begun_that_is_not_worth_it(
    building: Build, seconds: list[float], stopped: str
) -> None:
    loop = building()
    after(loop, *seconds)
    deadline = Deadline(1000)
    deadline.on_start(loop)
    deadline.on_epoch(loop)
    assert loop.stopped == stopped


def test_an_epoch_that_lasts_too_long_is_cut(building: Build) -> None:
    loop = building()
    after(loop, 600)
    deadline = Deadline(1000)
    loop.passing = Passing(steps=3, seconds=300)
    deadline.on_start(loop)
    deadline.on_step(loop)
    assert not loop.stopped
    loop.judging_seconds = 120
    deadline.on_step(loop)
    assert loop.stopped == "time"


def test_a_slow_training_ends_in_time(building: Build) -> None:
    loop = building(epochs=1_000_000, patience=1_000_000)
    loop.callbacks = [*loop.callbacks, Deadline(0.2)]
    loop.fit()
    assert loop.stopped == "time"
    assert loop.steps_done < loop.steps


def test_what_ended_already_keeps_its_reason(building: Build) -> None:
    loop = building()
    after(loop, 2000)
    loop.stopped = "plan"
    deadline = Deadline(1000)
    deadline.on_start(loop)
    deadline.on_epoch(loop)
    assert loop.stopped == "plan"
