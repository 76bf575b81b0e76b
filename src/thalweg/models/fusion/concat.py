"""Concatenation: every token has its place, and one that stands for nothing is 0 there."""

from __future__ import annotations

from typing import final

from torch import Tensor

from thalweg.models.fusion.base import Fusion


@final
class Concat(Fusion):
    """One token after the other: what tables need, where every column is always there."""

    @property
    def outputs(self) -> int:
        """All tokens' widths."""
        return self.tokens * self.own

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """See `Fusion.forward`."""
        del present  # what is not there is 0
        return tokens.reshape(*tokens.shape[:2], self.outputs)
