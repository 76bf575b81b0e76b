"""What a network without a target learns: how likely a row is, column by column.

Every member foretells each column from those before it in an order of its own, so what the columns
say together is the row's likelihood (NADE, Larochelle and Murray 2011; MADE, Germain et al. 2015).
A row is odd where its columns surprise: each by itself, as a histogram sees it (HBOS, Goldstein and
Dengel 2012), and each given the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, final, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thalweg.blocks.autoregressive import ALWAYS, MaskedMLP, Mixtures, orders
from thalweg.core.errors import ColumnError
from thalweg.data.schema import Schema
from thalweg.kinds import KINDS
from thalweg.kinds.base import Head
from thalweg.models.decoder import foretold
from thalweg.models.recipe import Recipe

IMAGINED: Final = 0.5
"""How many rows of every option are imagined, so that none is impossible."""

START: Final = 0.3
"""How large the last layer's first weights are, beside the usual: shares come first."""


@final
class RowHead(Head):
    """The surprise of each column, in nats: given others, and by itself.

    Parameters
    ----------
    columns
        How many columns are foretold.

    Examples
    --------
    >>> RowHead(2).loss(torch.tensor([[[1.0, 2.0, 7.0, 7.0]]]), {})
    tensor([[3.]])
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns

    @property
    def outputs(self) -> int:
        """Two for each column."""
        return 2 * self._columns

    def start(self) -> Tensor:
        """Never called: what a density starts from are the shares of the training rows."""
        raise AssertionError

    def loss(self, outputs: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Give how unlikely each row is to each member, [members, N]: there is no other target."""
        del target
        return outputs[..., : self._columns].sum(dim=-1)

    def combine(self, outputs: Tensor) -> Tensor:
        """Give the members' mean surprise, [N, 2 columns]."""
        return outputs.float().mean(0)


@runtime_checkable
class Choosing(Protocol):
    """A module that sees a kind's cells as choices; see `thalweg.blocks.choices`."""

    @property
    def options(self) -> list[int]:
        """How many options each column has."""

    def prepare(self, fields: Mapping[str, NDArray[Any]]) -> None:
        """Choose what the options are, by training rows [N, C]."""

    def taken(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Say in which option each cell lies, int64 [N, C]."""

    def __call__(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Give how dense each option is where a cell lies, float32 [N, all options]."""


@final
class Density(nn.Module):
    """The joint density of a row's columns; takes the place of fusion, body and last layer.

    Parameters
    ----------
    schema
        The fitted columns, without a target.
    recipe
        The dials: members, widths, dropout.
    tokens
        Kind -> how many tokens its encoder gives, in order.
    """

    often: Tensor

    def __init__(self, schema: Schema, recipe: Recipe, tokens: Mapping[str, int]) -> None:
        super().__init__()
        groups = schema.by_kind()
        names = foretold(schema)
        if not names:
            raise ColumnError(
                "no column is a number, a category, a boolean or a time",
                "one at least whose cells can be likely or not",
                "Name a --target to learn, or bring such columns.",
            )
        self.choosing = nn.ModuleDict()
        for kind, columns in groups.items():
            module = KINDS[kind].choices([column.state for column in columns])
            if module is not None:
                self.choosing[kind] = module
        options = [count for kind in self.choosing for count in self._chooser(kind).options]
        own = orders(recipe.members, len(names))
        given, done = [], 0
        for kind, count in tokens.items():
            if kind in self.choosing:
                given.append(own[:, done : done + count])
                done += count
            else:
                given.append(np.full((recipe.members, count), ALWAYS))
        self.body = MaskedMLP(
            np.repeat(np.concatenate(given, axis=1), recipe.embedding, axis=1),
            np.repeat(own, options, axis=1),
            recipe.width,
            recipe.depth,
            recipe.dropout,
            recipe.activation,
        )
        self._options = options
        self.mixtures = Mixtures(options)
        self.register_buffer("often", torch.zeros(sum(options)))

    def _chooser(self, kind: str) -> Choosing:
        module = self.choosing[kind]
        if not isinstance(module, Choosing):
            raise AssertionError
        return module

    @torch.no_grad()
    def prepare(self, features: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
        """Find the options, and how many training rows chose each: what learning starts from.

        Parameters
        ----------
        features
            Kind -> field -> array [N, ...] of training rows.
        """
        for kind in self.choosing:
            self._chooser(kind).prepare(features[kind])
        tensors = {
            kind: {name: torch.from_numpy(np.ascontiguousarray(f)) for name, f in fields.items()}
            for kind, fields in features.items()
            if kind in self.choosing
        }
        found = torch.cat([self._chooser(kind).taken(tensors[kind]) for kind in self.choosing], 1)
        first = torch.from_numpy(np.cumsum([0, *self._options[:-1]]))
        counts = torch.bincount((found + first).reshape(-1), minlength=len(self.often))
        imagined = counts.double() + IMAGINED
        whole = self.mixtures.owner.double()
        self.often.copy_((imagined / (imagined @ whole @ whole.T)).log())
        self.body.last.bias.copy_(self.often.expand_as(self.body.last.bias))
        self.body.last.weight.mul_(START)

    def forward(self, slices: Tensor, features: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Give the surprise of every column.

        Parameters
        ----------
        slices
            float32 [members, N, tokens, own].
        features
            Kind -> field -> tensor [N, ...].

        Returns
        -------
        torch.Tensor
            float32 [members, N, 2 columns]: given those before it, then by itself.
        """
        dense = torch.cat([self._chooser(kind)(features[kind]) for kind in self.choosing], dim=1)
        given = -self.mixtures(self.body(slices.flatten(2)), dense)
        alone = -self.mixtures(self.often.expand(1, 1, -1), dense)
        return torch.cat([given, alone.expand_as(given)], dim=-1)
