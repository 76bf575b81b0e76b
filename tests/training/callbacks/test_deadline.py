from __future__ import annotations

from collections.abc import Callable

import pytest

from thalweg.models.record import Epoch
from thalweg.training.callbacks.deadline import Deadline
from thalweg.training.loop import Loop

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
    ("seconds", "stopped"), [([100.0], ""), ([100.0] * 8, ""), ([100.0] * 10, "time")]
)
def test_no_epoch_is_begun_that_would_end_too_late(
    building: Build, seconds: list[float], stopped: str
) -> None:
    loop = building()
    after(loop, *seconds)
    Deadline(1000).on_epoch(loop)
    assert loop.stopped == stopped


def test_what_ended_already_keeps_its_reason(building: Build) -> None:
    loop = building()
    after(loop, 2000)
    loop.stopped = "plan"
    Deadline(1000).on_epoch(loop)
    assert loop.stopped == "plan"
