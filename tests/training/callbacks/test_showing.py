from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

from thalweg.core.progress import Progress
from thalweg.training.callbacks.showing import Showing
from thalweg.training.loop import Loop

Build = Callable[..., Loop]


@final
class Seen(Progress):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def start(self, stage: str, total: int | None, unit: str) -> None:
        self.told.append((stage, total, unit))

    def advance(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        self.told.append((amount, dict(figures or {})))

    def note(self, message: str) -> None:
        raise AssertionError(message)

    def stop(self) -> None:
        self.told.append("stop")


def test_every_step_and_epoch_is_told(building: Build) -> None:
    loop, seen = building(), Seen()
    loop.callbacks = [*loop.callbacks, Showing(seen, "rmse", every=1000)]
    loop.fit()
    assert seen.told[0] == ("train", loop.steps, "steps")
    assert seen.told[-1] == "stop"
    assert sum(one[0] for one in seen.told[1:-1]) == loop.steps
    figures = [one[1] for one in seen.told[1:-1] if one[1]]
    assert [one["epoch"] for one in figures] == [1, 2, 3]
    assert figures[-1]["rmse"] == loop.epochs[-1].metric


def test_the_figures_of_a_long_epoch_are_told_as_it_goes_on(building: Build) -> None:
    loop, seen = building(epochs=1), Seen()
    loop.callbacks = [*loop.callbacks, Showing(seen, "rmse", every=0)]
    loop.fit()
    steps = [one[1] for one in seen.told[1:-1] if one[0] == 1]
    assert len(steps) == loop.steps
    assert all(one["epoch"] == 1 for one in steps)
    assert steps[-1]["loss"] == loop.epochs[0].train_loss


def test_a_resumed_run_begins_where_it_stood(building: Build) -> None:
    loop, seen = building(), Seen()
    loop.run_epoch(0)
    Showing(seen, "rmse").on_start(loop)
    assert seen.told == [("train", loop.steps, "steps"), (loop.loader.steps, {})]
