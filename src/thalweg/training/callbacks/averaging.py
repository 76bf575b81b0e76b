"""A running average of the weights, which predicts better than the last ones (Polyak 1992)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch

from thalweg.training.callbacks.base import Callback

if TYPE_CHECKING:
    from torch import Tensor, nn

    from thalweg.training.loop import Loop


@final
class Averaging(Callback):
    """Keeps an exponential moving average of the weights and lends it to the judge.

    Parameters
    ----------
    decay
        The weight of what was there. It rises from 0.1 over the first steps, so that the start is
        soon forgotten, and never makes the average reach back over more than a twentieth of the
        training: a short one would end before its average has come along.
    """

    name: ClassVar[str] = "averaging"

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._steps = 0
        self._average: dict[str, Tensor] = {}

    def on_start(self, loop: Loop) -> None:
        """Begin from the network's own weights."""
        self._decay = min(self._decay, max(0.0, 1 - 20 / loop.steps))
        if not self._average:
            self._average = {n: p.detach().clone() for n, p in _learning(loop).items()}

    def on_step(self, loop: Loop) -> None:
        """Move the average towards the weights."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        # By name: what was recalled stands in another order.
        weights = {name: p.detach() for name, p in _learning(loop).items()}
        average = [self._average[name] for name in weights]
        torch._foreach_lerp_(average, list(weights.values()), 1 - decay)

    @contextlib.contextmanager
    def predicting(self, loop: Loop) -> Iterator[None]:
        """Swap the average in, and the weights back."""
        own = {name: p.data for name, p in _learning(loop).items()}
        for name, parameter in _learning(loop).items():
            parameter.data = self._average[name]
        try:
            yield
        finally:
            for name, parameter in _learning(loop).items():
                parameter.data = own[name]

    def remember(self) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
        """Give the average and its age."""
        return {"steps": self._steps}, dict(self._average)

    def recall(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from an average."""
        self._steps = facts["steps"]
        # Copied, for what was read from a file need not be aligned as weights are.
        self._average = {name: value.clone() for name, value in tensors.items()}


def _learning(loop: Loop) -> dict[str, nn.Parameter]:
    """Give the parameters that learn, by name."""
    return {name: p for name, p in loop.network.named_parameters() if p.requires_grad}
