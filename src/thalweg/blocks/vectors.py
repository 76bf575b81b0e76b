"""Vectors of fixed length for a network: standardised place by place, then projected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thalweg.blocks.embedding import ColumnLinear

BOUND: Final = 8.0
"""How far a standardised value may lie from the middle: wild ones must not blow up the network."""

LEAST: Final = 1e-6
"""A place of a smaller deviation is constant."""

SHORT: Final = 16
LONG: Final = 64


def tokens_for(size: int) -> int:
    """Say how many tokens a vector of so many numbers deserves.

    Examples
    --------
    >>> [tokens_for(size) for size in (2, 16, 64, 384)]
    [1, 1, 2, 4]
    """
    return 1 if size <= SHORT else 2 if size <= LONG else 4


@final
class VectorEmbedding(nn.Module):
    """Embed all columns of vectors: a linear map each, so that every member has its own slice.

    Parameters
    ----------
    sizes
        How many numbers the vectors of each column have.
    width
        The width of a token.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        longest = max(sizes)
        self._each = tokens_for(longest)
        self._width = width
        self.tokens = self._each * len(sizes)
        self.project = ColumnLinear(len(sizes), longest, self._each * width)
        self.register_buffer("mean", torch.zeros(len(sizes), longest))
        self.register_buffer("scale", torch.ones(len(sizes), longest))

    def prepare(self, fields: Mapping[str, NDArray[Any]], target: NDArray[np.float64]) -> None:
        """Learn the mean and deviation of each place from training rows."""
        del target
        for column in range(len(self.mean)):
            there = fields["missing"][:, column] == 0
            if not there.any():
                continue
            values = fields["vectors"][there, column]
            deviation = values.std(axis=0, dtype=np.float64)
            constant = deviation < LEAST
            self.mean[column] = torch.from_numpy(values.mean(axis=0, dtype=np.float64))
            self.scale[column] = torch.from_numpy(np.where(constant, 1.0, 1 / (deviation + LEAST)))

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Give float32 [N, tokens, width]; the tokens of a missing vector are 0."""
        values = ((fields["vectors"] - self.mean) * self.scale).clamp(-BOUND, BOUND)
        there = (fields["missing"] == 0)[:, :, None]
        embedded: Tensor = self.project(values) * there
        return embedded.reshape(values.shape[0], self.tokens, self._width)

    def present(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Say which tokens stand for a vector: bool [N, tokens]."""
        return (fields["missing"] == 0).repeat_interleave(self._each, dim=1)
