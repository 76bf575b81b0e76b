"""Autoregressive layers: every column of a row is foretold from the columns before it alone.

A joint density in one pass: masks keep each output from seeing its own column and later ones
(MADE, Germain et al. 2015, "Masked Autoencoder for Distribution Estimation"). Every member of a
stack has an order of its own, so that together they ask for each column given many sets of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from thalweg.blocks.stacked import ACTIVATIONS
from thalweg.core.seeds import derive

ALWAYS: Final = -1
"""The place of what every column may see."""

BOUND: Final = 30.0
"""Logits are kept within this, so that their powers can be added up as they are."""

RAREST: Final = 1e-20
"""The least density: what lies below is rounding."""


def orders(members: int, columns: int) -> NDArray[np.int64]:
    """Give each member's order: the place [members, columns] of every column, from 0.

    Every second order is the one before backwards, so that of two columns each is foretold from
    the other. Orders follow from the sizes alone, so they need not be saved.

    Examples
    --------
    >>> found = orders(2, 4)
    >>> (found[0] + found[1]).tolist()
    [3, 3, 3, 3]
    """
    found = np.empty((members, columns), dtype=np.int64)
    for member in range(members):
        random = np.random.default_rng(derive(member // 2, "order", columns))
        places = random.permutation(columns)
        found[member] = places if member % 2 == 0 else columns - 1 - places
    return found


@final
class MaskedLinear(nn.Module):
    """A linear layer for each member in which some weights are always 0.

    Parameters
    ----------
    mask
        Bool [members, inputs, outputs]: which weights there are.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        members, _, outputs = mask.shape
        seen = mask.sum(dim=1, keepdim=True).clamp_min(1)
        bound = seen.to(torch.float32).rsqrt()
        start = (2 * torch.rand(mask.shape, device=mask.device) - 1) * bound
        self.weight = nn.Parameter(start * mask)
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each member's rows [members, N, inputs] with its own weights."""
        # Masked weights start as 0, get no gradient and so stay 0: only gradients need the mask.
        weight = self.weight * self.mask if self.training else self.weight
        return torch.baddbmm(self.bias, x, weight)


@final
class MaskedMLP(nn.Module):
    """Hidden layers that keep an order: [members, N, inputs] to [members, N, outputs].

    Parameters
    ----------
    given
        int64 [members, inputs]: the place of the column that each input is of, or `ALWAYS`.
    asked
        int64 [members, outputs]: the place of the column that each output is about.
    width, depth
        The width and number of hidden layers.
    dropout
        The share of hidden units silenced while training.
    activation
        A name in `thalweg.blocks.stacked.ACTIVATIONS`.
    """

    def __init__(
        self,
        given: NDArray[np.int64],
        asked: NDArray[np.int64],
        width: int,
        depth: int,
        dropout: float = 0.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        columns = int(asked.max()) + 1
        # A hidden unit of place p sees what stands before p; none sees the last column.
        first = 0 if (given == ALWAYS).any() or columns == 1 else 1
        spread = first + np.arange(width) % max(1, columns - first)
        units = np.broadcast_to(spread, (len(given), width))
        levels: list[NDArray[np.int64]] = [given, *[units] * depth, asked]
        masks = [
            torch.from_numpy(
                before[:, :, None] < after[:, None, :]
                if layer == 0
                else before[:, :, None] <= after[:, None, :]
            )
            for layer, (before, after) in enumerate(pairwise(levels))
        ]
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in masks)
        self._activate = ACTIVATIONS[activation]
        self._dropout = dropout

    @property
    def last(self) -> MaskedLinear:
        """The layer that gives the outputs."""
        layer = self.layers[-1]
        if not isinstance(layer, MaskedLinear):
            raise AssertionError
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """Pass through all layers."""
        for layer in self.layers[:-1]:
            x = functional.dropout(self._activate(layer(x)), self._dropout, self.training)
        outputs: Tensor = self.last(x)
        return outputs


@final
class Mixtures(nn.Module):
    """Several mixtures side by side: how dense each column is where its cell lies.

    Parameters
    ----------
    options
        How many options each column's mixture has.

    Examples
    --------
    >>> two = Mixtures([2, 3])
    >>> two(torch.zeros(1, 1, 5), torch.tensor([[1.0, 0, 0, 0, 1.0]])).exp()
    tensor([[[0.5000, 0.3333]]])
    """

    owner: Tensor

    def __init__(self, options: Sequence[int]) -> None:
        super().__init__()
        columns = np.repeat(np.arange(len(options)), options)
        owner = (columns[:, None] == np.arange(len(options))).astype(np.float32)
        self.register_buffer("owner", torch.from_numpy(owner), persistent=False)

    def forward(self, logits: Tensor, dense: Tensor) -> Tensor:
        """Give the logarithm of each column's density.

        Parameters
        ----------
        logits
            [members, N, all options]: what the options' shares are the powers of.
        dense
            float32 [N, all options]: how dense each option is where the cell lies.

        Returns
        -------
        torch.Tensor
            float32 [members, N, columns].
        """
        with torch.autocast("cpu", enabled=False):
            powers = logits.float().clamp(-BOUND, BOUND).exp()
            mixed, whole = (powers * dense) @ self.owner, powers @ self.owner
            return (mixed / whole).clamp_min(RAREST).log()
