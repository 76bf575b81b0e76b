"""Texts as bags of subwords and of their pairs and triples: quick, and hard to beat when short.

The order of a text lies in its n-grams, which are hashed into a table of fixed size (Joulin et
al. 2016, fastText) and weighed by how rare they are, so that a linear layer over a bag is what
TF-IDF with a linear model is, and the layers above can only add to it.
"""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

ORDERS: Final = 3
"""The longest n-grams."""

ENTRIES: Final = 1 << 16
"""How many n-grams are known at most: the commonest ones."""

CODES: Final = 1 << 20
"""How many n-grams can be told apart."""

RATE: Final = 3.0
"""Learns quicker than layers do: an entry is seen in few texts, and each moves it but little."""

DROPOUT: Final = 0.5
"""The share of n-grams left out of a text while training."""

START: Final = 0.1
"""The bound of the first weights."""

LEAST: Final = 2
"""In how many training texts an n-gram must stand to count."""

LOOKED_AT: Final = 50_000
"""How many training texts rarity is counted in."""

PIECE: Final = 1 << 18
"""So many tokens are counted at once."""

_PRIMES: Final = (0x9E3779B97F4A7C15 - (1 << 64), 0x2545F4914F6CDD1D, 0x632BE59BD9B4E019)


@final
class Bag(nn.Module):
    """Embed token ids [N, L], 0 for none, as the weighed sum of their n-grams' vectors.

    Each slice of the width has its own slice of the table: networks side by side share nothing.

    Parameters
    ----------
    vocabulary
        How many tokens there are; ids are 1 to this.
    width
        The size of an embedding.
    entries
        How many pairs and triples are known at most.
    """

    rarity: Tensor
    entry: Tensor

    def __init__(self, vocabulary: int, width: int, entries: int = ENTRIES) -> None:
        super().__init__()
        self._first = vocabulary + 1
        self._entries = entries
        size = self._first + entries
        self.weight = nn.Parameter(torch.empty(size, width).uniform_(-START, START))
        self.weight.rate = RATE  # type: ignore[attr-defined] # the optimiser's
        rarity = torch.ones(size)
        rarity[0] = 0
        self.register_buffer("rarity", rarity)
        everything = self._first + torch.arange(CODES) % entries
        self.register_buffer("entry", everything.to(torch.int32))

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed ids [N, L], of any integer type, as float32 [N, width]."""
        places = self.places(tokens)
        weights = self.rarity[places]
        if self.training:
            weights = weights * (torch.rand_like(weights) >= DROPOUT)
        length = weights.square().sum(dim=1, keepdim=True).sqrt()
        weights = weights / length.clamp_min(1e-6)
        if torch.compiler.is_exporting():
            # A graph has no bags: every place is looked up, and those of nothing weigh nothing.
            found = functional.embedding(places, self.weight)
            return torch.bmm(weights[:, None], found).squeeze(1)
        kept = weights > 0
        ends = kept.sum(dim=1).cumsum(0)
        return functional.embedding_bag(
            places[kept],
            self.weight,
            functional.pad(ends, (1, 0))[: len(tokens)],
            mode="sum",
            per_sample_weights=weights[kept],
        )

    def places(self, tokens: Tensor) -> Tensor:
        """Give the place of each n-gram in the table, int64 [N, grams]; 0 for none.

        Parameters
        ----------
        tokens
            Ids [N, L]; all subwords stand first, then all pairs, then all triples.
        """
        ids = tokens.to(torch.int64)
        longer = [torch.where(codes >= 0, self.entry[codes], 0) for codes in _codes(ids)]
        return torch.cat([ids, *longer], dim=1)

    def prepare(self, tokens: NDArray[np.integer[Any]]) -> None:
        """Count in how many training texts [N, L] each n-gram stands.

        The commonest are kept; what is rare weighs more.
        """
        rows = torch.from_numpy(tokens[:: max(1, len(tokens) // LOOKED_AT)])
        pieces = torch.split(rows, max(1, PIECE // max(1, rows.shape[1])))
        counts = torch.zeros(self._first + CODES, dtype=torch.int64)
        for ids in (piece.to(torch.int64) for piece in pieces):
            longer = [torch.where(codes >= 0, codes + self._first, 0) for codes in _codes(ids)]
            found = torch.cat([ids, *longer], dim=1).sort(dim=1).values
            fresh = torch.ones_like(found, dtype=torch.bool)
            fresh[:, 1:] = found[:, 1:] != found[:, :-1]
            counts += torch.bincount(found[fresh], minlength=len(counts))
        commonest = counts[self._first :].argsort(descending=True, stable=True)[: self._entries]
        self.entry.zero_()
        self.entry[commonest] = torch.arange(
            self._first, self._first + self._entries, dtype=torch.int32
        )
        counts = torch.cat([counts[: self._first], counts[self._first + commonest]])
        rarity = 1 + torch.log((1 + len(rows)) / (1 + counts.double()))
        self.rarity.copy_(torch.where(counts >= LEAST, rarity, 0))
        self.rarity[0] = 0


def _codes(ids: Tensor) -> list[Tensor]:
    """Hash the pairs, the triples and so on of ids [N, L]: each int64 [N, less], -1 for none."""
    found, mixed = [], ids * _PRIMES[0]
    for order in range(1, ORDERS):
        later = ids[:, order:]
        mixed = (mixed[:, : later.shape[1]] ^ (later * _PRIMES[order])) * _PRIMES[0]
        found.append(torch.where(later > 0, (mixed >> 24) & (CODES - 1), -1))
    return found
