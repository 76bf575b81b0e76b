"""The contract of a fusion: tokens of all columns in, one vector for each member out.

Members share no weights here: what one of them learns, another does not know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Fusion(nn.Module, ABC):
    """Joins what the kinds made of a row.

    Parameters
    ----------
    members
        How many networks are stacked.
    tokens
        How many tokens a row has.
    own
        The width of a token's slice that belongs to one member.
    """

    def __init__(self, members: int, tokens: int, own: int) -> None:
        super().__init__()
        self.members = members
        self.tokens = tokens
        self.own = own

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many numbers each member gets for a row."""

    @abstractmethod
    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Join the tokens.

        Parameters
        ----------
        tokens
            float32 [members, N, tokens, own]; 0 where a token stands for nothing.
        present
            Bool [N, tokens]: which stand for something. What does not must not count.

        Returns
        -------
        torch.Tensor
            float32 [members, N, outputs].
        """
