"""Attention: a small transformer over the tokens of a row."""

from __future__ import annotations

from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.blocks.stacked import StackedLinear
from thalweg.models.fusion.base import Fusion

DEPTH: Final = 2
HEAD: Final = 16
"""The width of one attention head."""


@final
class Attention(Fusion):
    """A transformer over a token for each column, or more (Gorishniy et al. 2021).

    A learned token is put before them; what becomes of it is the answer. Tokens that stand for
    nothing are not looked at. Every member has a transformer of its own, of narrow width.
    """

    def __init__(self, members: int, tokens: int, own: int) -> None:
        super().__init__(members, tokens, own)
        self._width = HEAD * max(2, round(own / HEAD))
        self.start = StackedLinear(members, own, self._width)
        self.places = nn.Parameter(torch.randn(members, 1, tokens, self._width) * 0.1)
        self.first = nn.Parameter(torch.randn(members, 1, 1, self._width) * 0.1)
        self.layers = nn.ModuleList(_Layer(members, self._width) for _ in range(DEPTH))
        self.norm = _Norm(members, self._width)

    @property
    def outputs(self) -> int:
        """The answer's width, and that of all tokens as they came."""
        return self._width + self.tokens * self.own

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """See `Fusion.forward`."""
        members, rows, count, own = tokens.shape
        flat = self.start(tokens.reshape(members, rows * count, own))
        known = flat.view(members, rows, count, self._width) + self.places
        x = torch.cat([self.first.expand(-1, rows, -1, -1), known], dim=2)
        seen = torch.cat([present.new_ones(rows, 1), present], dim=1)
        for layer in self.layers:
            x = layer(x, seen)
        # Beside the answer the tokens themselves: what is plain in them need not be attended to.
        plain = tokens.reshape(members, rows, count * own)
        return torch.cat([self.norm(x[:, :, 0]), plain], dim=-1)


@final
class _Norm(nn.Module):
    """A layer norm for each member."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(members, 1, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [members, N, width]."""
        return functional.layer_norm(x, x.shape[-1:]) * self.scale + self.bias


@final
class _Layer(nn.Module):
    """Attention and a hidden layer, each normalised before and added (Xiong et al. 2020)."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self._heads = width // HEAD
        self.before = _Norm(members, width)
        self.into = StackedLinear(members, width, 3 * width)
        self.out = StackedLinear(members, width, width)
        self.between = _Norm(members, width)
        self.wide = StackedLinear(members, width, 2 * width)
        self.narrow = StackedLinear(members, 2 * width, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Let tokens [members, N, T, width] look at those that are ``seen`` [N, T]."""
        members, rows, count, width = x.shape
        flat = x.reshape(members, rows * count, width)
        parts = self.into(self.before(flat)).view(members, rows, count, 3, self._heads, HEAD)
        query, key, value = parts.permute(3, 0, 1, 4, 2, 5)
        mask = seen[None, :, None, None, :]
        if torch.compiler.is_exporting():
            # The same in parts that a graph knows for any number of axes.
            weights = query @ key.transpose(-1, -2) * HEAD**-0.5
            looked = weights.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ value
        else:
            looked = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        joined = looked.transpose(2, 3).reshape(members, rows * count, width)
        flat = flat + self.out(joined)
        flat = flat + self.narrow(functional.gelu(self.wide(self.between(flat))))
        output: Tensor = flat.view(members, rows, count, width)
        return output
