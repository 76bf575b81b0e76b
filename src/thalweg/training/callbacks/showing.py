"""Show the loop's progress: steps, loss, learning rate and the leading metric."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, final

from thalweg.core.progress import Progress
from thalweg.training.callbacks.base import Callback

if TYPE_CHECKING:
    from thalweg.training.loop import Loop


@final
class Showing(Callback):
    """Tells a `Progress` of every step.

    Parameters
    ----------
    progress
        Who is told.
    metric
        The leading metric's name.
    every
        Seconds between two looks at the figures within an epoch.
    """

    name: ClassVar[str] = "showing"

    def __init__(self, progress: Progress, metric: str, every: float = 1.0) -> None:
        self._progress = progress
        self._metric = metric
        self._every = every
        self._due = 0.0

    def on_start(self, loop: Loop) -> None:
        """Begin the stage; a resumed run begins where it stood."""
        self._progress.start("train", loop.steps, "steps")
        if loop.steps_done:
            self._progress.advance(loop.steps_done)
        self._due = time.monotonic() + self._every

    def on_step(self, loop: Loop) -> None:
        """Count the step, and show the figures of a long epoch as it goes on."""
        now, at = time.monotonic(), loop.passing
        if now < self._due or at is None:
            self._progress.advance(1)
            return
        self._due = now + self._every
        figures = {
            "epoch": len(loop.epochs) + 1,
            "loss": float(at.loss) / at.steps,
            "rate": loop.optimizer.param_groups[0]["lr"],
        }
        self._progress.advance(1, figures)

    def on_epoch(self, loop: Loop) -> None:
        """Show the figures."""
        last = loop.epochs[-1]
        figures = {
            "epoch": last.epoch + 1,
            "loss": last.train_loss,
            "validation": last.validation_loss,
            self._metric: last.metric,
            "rate": last.learning_rate,
        }
        self._progress.advance(0, figures)

    def on_end(self, loop: Loop) -> None:
        """End the stage."""
        self._progress.stop()
