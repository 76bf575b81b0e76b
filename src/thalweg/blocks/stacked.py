"""Several networks of one shape trained as one: every layer holds the weights of all members.

A small network is cheap and a few of them, averaged, are much better than one (Lakshminarayanan
et al. 2017). Stacked into one tensor their layers are one batched matrix product, which costs a
processor far less than as many products one after another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "relu": functional.relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "mish": functional.mish,
}


@final
class StackedLinear(nn.Module):
    """A linear layer for each member: [members, N, inputs] to [members, N, outputs].

    Parameters
    ----------
    members
        How many networks are stacked.
    inputs, outputs
        The layer's widths.
    gain
        Scales the uniform start U(-gain/sqrt(inputs), gain/sqrt(inputs)).
    """

    def __init__(self, members: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        bound = gain / math.sqrt(max(1, inputs))
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each member's rows with its own weights."""
        return torch.baddbmm(self.bias, x, self.weight)


@final
class StackedMLP(nn.Module):
    """Hidden layers for each member: [members, N, inputs] to [members, N, width].

    Parameters
    ----------
    members
        How many networks are stacked.
    inputs
        The width of what comes in.
    width, depth
        The width and number of hidden layers.
    dropout
        The share of hidden units silenced while training.
    activation
        A name in `ACTIVATIONS`.
    gain
        Passed to each `StackedLinear`.
    """

    def __init__(
        self,
        members: int,
        inputs: int,
        width: int,
        depth: int,
        dropout: float = 0.0,
        activation: str = "relu",
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        sizes = [inputs, *[width] * depth]
        self.layers = nn.ModuleList(StackedLinear(members, a, b, gain) for a, b in pairwise(sizes))
        self._activate = ACTIVATIONS[activation]
        self._dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Pass through the hidden layers."""
        for layer in self.layers:
            x = functional.dropout(self._activate(layer(x)), self._dropout, self.training)
        return x
