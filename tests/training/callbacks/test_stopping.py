from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from thalweg.models.record import Epoch
from thalweg.training.callbacks.stopping import EarlyStopping
from thalweg.training.loop import Loop

Build = Callable[..., Loop]


def run(loop: Loop, stopping: EarlyStopping, losses: Sequence[float]) -> int:
    """Show losses one by one, each with its own weights; say how many were looked at."""
    for number, loss in enumerate(losses):
        with torch.no_grad():
            loop.network.last.bias.fill_(float(number))
        loop.epochs.append(
            Epoch(
                epoch=number,
                seconds=1,
                learning_rate=0.1,
                train_loss=1,
                validation_loss=loss,
                metric=loss,
            )
        )
        stopping.on_epoch(loop)
        if loop.stopped:
            return number + 1
    return len(losses)


@pytest.mark.parametrize(
    ("losses", "seen", "best"),
    [
        ([3, 2, 1, 2, 2, 2, 0], 5, 2),
        ([3, 2, 1, 2, 0, 2, 1], 7, 4),
        ([1, 1, 1, 1], 3, 0),
        ([5, 4, 3, 2], 4, 3),
    ],
)
def test_it_stops_when_nothing_gets_better_and_keeps_the_best(
    building: Build, losses: list[float], seen: int, best: int
) -> None:
    loop, stopping = building(), EarlyStopping(patience=2)
    assert run(loop, stopping, losses) == seen
    assert stopping.best_epoch == best
    stopping.on_end(loop)
    assert loop.network.last.bias.unique().tolist() == [float(best)]


def test_it_recalls_the_best(building: Build) -> None:
    loop, stopping = building(), EarlyStopping(patience=5)
    run(loop, stopping, [3, 1, 2])
    other = EarlyStopping(patience=5)
    other.recall(*stopping.remember())
    assert other.best_epoch == 1
    other.on_end(loop)
    assert loop.network.last.bias.unique().tolist() == [1.0]


def test_what_ended_already_keeps_its_reason(building: Build) -> None:
    loop, stopping = building(), EarlyStopping(patience=1)
    run(loop, stopping, [1])
    loop.stopped = "plan"
    run(loop, stopping, [2, 3])
    assert loop.stopped == "plan"
