"""Show the loop's progress: steps, loss, learning rate and the leading metric."""

from __future__ import annotations

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
    """

    name: ClassVar[str] = "showing"

    def __init__(self, progress: Progress, metric: str) -> None:
        self._progress = progress
        self._metric = metric

    def on_start(self, loop: Loop) -> None:
        """Begin the stage; a resumed run begins where it stood."""
        self._progress.start("train", loop.steps, "steps")
        if loop.epochs:
            self._progress.advance(len(loop.epochs) * loop.loader.steps)

    def on_step(self, loop: Loop) -> None:
        """Count the step."""
        self._progress.advance(1)

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
