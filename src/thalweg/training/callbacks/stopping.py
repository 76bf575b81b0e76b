"""Keep the weights that did best on the validation rows, and stop when nothing gets better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

from thalweg.training.callbacks.base import Callback
from thalweg.training.state import copy_weights

if TYPE_CHECKING:
    from torch import Tensor

    from thalweg.training.loop import Loop


@final
class EarlyStopping(Callback):
    """Remembers the best epoch; at the end the network has that epoch's weights.

    Parameters
    ----------
    patience
        Epochs without a lower validation loss after which training stops.
    """

    name: ClassVar[str] = "stopping"

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self.best_epoch = -1
        self._best_loss = math.inf
        self._best: dict[str, Tensor] = {}

    def on_epoch(self, loop: Loop) -> None:
        """Keep the weights if they are the best so far; stop if none were for long."""
        epoch = loop.epochs[-1]
        if epoch.validation_loss < self._best_loss or self.best_epoch < 0:
            self._best_loss, self.best_epoch = epoch.validation_loss, epoch.epoch
            with loop.predicting():
                self._best = copy_weights(loop.network)
        elif epoch.epoch - self.best_epoch >= self._patience and not loop.stopped:
            loop.stopped = "early stopping"

    def on_end(self, loop: Loop) -> None:
        """Put the best weights in place."""
        loop.network.load_state_dict(self._best)

    def remember(self) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
        """Give the best weights and when they were."""
        return {"epoch": self.best_epoch, "loss": self._best_loss}, dict(self._best)

    def recall(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from the best so far."""
        self.best_epoch, self._best_loss = facts["epoch"], facts["loss"]
        self._best = dict(tensors)
