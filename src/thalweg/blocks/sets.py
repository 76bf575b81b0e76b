"""Sets: the labels of a cell, in no order, embedded together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn

from thalweg.blocks.embedding import START


@final
class BagEmbedding(nn.Module):
    """Embed sets of small whole numbers: one table for all columns.

    The embeddings of a set are added up and divided by the root of how many there are, so that
    neither their sum grows with large sets nor their mean hides how large they are.

    Parameters
    ----------
    sizes
        For each column how many codes it has; codes are 0 (nothing) to size - 1.
    width
        The size of each embedding.
    """

    offsets: Tensor

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.tokens = len(sizes)
        size = torch.tensor(sizes, dtype=torch.int64)
        starts = size.cumsum(0) - size
        self.register_buffer("offsets", starts, persistent=False)
        table = torch.empty(sum(sizes), width).uniform_(-START, START)
        # What was never seen starts as nothing.
        table[starts] = 0
        table[starts + 1] = 0
        self.table = nn.Parameter(table)
        self.bias = nn.Parameter(torch.empty(len(sizes), width).uniform_(-START, START))
        self.missing = nn.Parameter(torch.zeros(len(sizes), width))

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Embed ``codes`` [N, columns, most], 0 for nothing, and ``missing`` [N, columns]."""
        codes = fields["codes"].to(torch.int64)
        held = codes > 0
        places = torch.where(held, codes + self.offsets[:, None], 0)
        bags = self._bags(places, held)
        root = held.sum(dim=-1, keepdim=True).clamp_min(1).to(bags.dtype).sqrt()
        missing = fields["missing"].to(bags.dtype).unsqueeze(-1)
        embedded: Tensor = bags / root + self.bias + missing * self.missing
        return embedded

    def _bags(self, places: Tensor, held: Tensor) -> Tensor:
        """Add up the embeddings at places [N, columns, most] that are ``held``."""
        if torch.compiler.is_exporting():
            # A graph has no bags: every place is looked up, and those of nothing are left out.
            found = nn.functional.embedding(places, self.table)
            return (found * held[..., None]).sum(dim=2)
        bags: Tensor = nn.functional.embedding_bag(
            places.flatten(0, 1), self.table, mode="sum", padding_idx=0
        )
        return bags.view(*places.shape[:2], self.table.shape[1])
