"""Gates: all tokens together decide how much each counts, row by row."""

from __future__ import annotations

import math
from typing import Final, final

import torch
from torch import Tensor, nn

from thalweg.blocks.stacked import StackedLinear
from thalweg.models.fusion.base import Fusion

WIDEST: Final = 256
"""No member gets more numbers than this."""


@final
class Gated(Fusion):
    """Gated multimodal units (Arevalo et al. 2017), for any number of tokens.

    Each token is turned into a vector of its own by weights of its place; gates that see all
    tokens, and add up to 1 over those that are there, weigh them.
    """

    def __init__(self, members: int, tokens: int, own: int) -> None:
        super().__init__(members, tokens, own)
        bound = 1 / math.sqrt(own)
        shape = (members, tokens, own, self.outputs)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, tokens, self.outputs))
        self.gates = StackedLinear(members, tokens * own, tokens)

    @property
    def outputs(self) -> int:
        """As many as the tokens have together, up to `WIDEST`."""
        return min(WIDEST, self.tokens * self.own)

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """See `Fusion.forward`."""
        members, rows = tokens.shape[:2]
        values = torch.einsum("mnto,mtod->mntd", tokens, self.weight) + self.bias
        gates = self.gates(tokens.reshape(members, rows, self.tokens * self.own))
        gates = gates.masked_fill(~present, -1e9).softmax(dim=-1) * present
        fused: Tensor = torch.einsum("mnt,mntd->mnd", gates, torch.tanh(values))
        # Gates share out 1; the more tokens there are, the less of it each of them gets.
        return fused * math.sqrt(self.tokens)
