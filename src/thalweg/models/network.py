"""The network: encoders from the kinds, fusion, stacked members, a head from the target's kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thalweg.blocks.stacked import StackedMLP
from thalweg.core.errors import OptionError, near
from thalweg.core.progress import Progress
from thalweg.core.seeds import derive
from thalweg.data.arrays import Arrays, target_columns
from thalweg.data.schema import Schema
from thalweg.kinds import KINDS
from thalweg.kinds.base import Head, LossOptions, Masks, Prepares, Settles
from thalweg.models.decoder import Outputs, foretold
from thalweg.models.density import Density, RowHead
from thalweg.models.fusion import FUSIONS
from thalweg.models.recipe import Recipe

PREDICT_ROWS: Final = 1024
"""The most rows looked at together: what a layer makes of so many stays in the cache."""

SETTLED: Final = 256
"""Rows whose fixed parts are done together: progress is told after each."""

EMBEDDED: Final = 128
"""The most numbers that stand for a row where it is embedded."""

PREDICT_BYTES: Final = 1 << 20
"""So much encoded input is looked at together: what networks make of it is a hundred times more."""


@final
@dataclass(frozen=True, slots=True)
class Blend:
    """Which rows are mixed while training, and how (Zhang et al. 2018; Verma et al. 2019).

    Parameters
    ----------
    partners
        int64 [N]: the row that each row is mixed with.
    share
        How much of the row itself stays.
    """

    partners: Tensor
    share: float


@final
class Network(nn.Module):
    """Several small networks over all columns, trained side by side and averaged.

    Each kind embeds all of its columns at once; every member has embeddings of its own, which
    are slices of one wide table. The members' hidden layers are one batched matrix product.

    Parameters
    ----------
    schema
        The fitted columns. Without a target the network learns how likely rows are.
    recipe
        The dials: members, widths, dropout.
    seed
        Draws the first weights.
    """

    def __init__(self, schema: Schema, recipe: Recipe, seed: int = 0) -> None:
        super().__init__()
        groups = {kind: [c.state for c in columns] for kind, columns in schema.by_kind().items()}
        self.head = head = _head(schema, recipe)
        self._members = recipe.members
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights"))
            self.encoders = nn.ModuleDict(
                {
                    kind: KINDS[kind].encoder(
                        states, recipe.embedding * recipe.members, recipe.pairs
                    )
                    for kind, states in groups.items()
                }
            )
            tokens = {kind: tokens_of(encoder) for kind, encoder in self.encoders.items()}
            self.density = Density(schema, recipe, tokens) if schema.target is None else None
            if self.density is not None:
                return
            fusion = FUSIONS.get(recipe.fusion)
            if fusion is None:
                raise OptionError(
                    f"fusion is {recipe.fusion!r}",
                    "one of " + ", ".join(FUSIONS),
                    near(recipe.fusion, FUSIONS),
                )
            self.fusion = fusion(recipe.members, sum(tokens.values()), recipe.embedding)
            self.body = StackedMLP(
                recipe.members,
                self.fusion.outputs,
                recipe.width,
                recipe.depth,
                recipe.dropout,
                recipe.activation,
            )
            self.last = head.layer(recipe.members, recipe.width)

    def forward(
        self, features: Mapping[str, Mapping[str, Tensor]], blend: Blend | None = None
    ) -> Tensor:
        """Give every member's outputs.

        Parameters
        ----------
        features
            Kind -> field -> tensor [N, ...].
        blend
            Mix what the encoders made of each row with that of another.

        Returns
        -------
        torch.Tensor
            float32 [members, N, outputs].
        """
        outputs: Tensor
        if self.density is not None:
            outputs = self.density(self._slices(features, blend)[0], features)
        else:
            outputs = self.last(self.hidden(features, blend))
        return outputs

    def hidden(
        self, features: Mapping[str, Mapping[str, Tensor]], blend: Blend | None = None
    ) -> Tensor:
        """Give every member's last hidden layer, float32 [members, N, width]; see `forward`."""
        found: Tensor = self.body(self.fusion(*self._slices(features, blend)))
        return found

    def _slices(
        self, features: Mapping[str, Mapping[str, Tensor]], blend: Blend | None
    ) -> tuple[Tensor, Tensor]:
        """Give every member's tokens [members, N, tokens, own], and which of them there are."""
        tokens = torch.cat(
            [encoder(features[kind]) for kind, encoder in self.encoders.items()], dim=1
        )
        present = torch.cat(
            [
                encoder.present(features[kind])
                if isinstance(encoder, Masks)
                else tokens.new_ones(tokens.shape[0], tokens_of(encoder), dtype=torch.bool)
                for kind, encoder in self.encoders.items()
            ],
            dim=1,
        )
        if blend is not None:
            tokens = torch.lerp(tokens[blend.partners], tokens, blend.share)
            present = present | present[blend.partners]
        rows, count, width = tokens.shape
        own = width // self._members  # nothing is left to be inferred: there may be no rows
        return tokens.view(rows, count, self._members, own).permute(2, 0, 1, 3), present

    def settle(self, features: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Do, once, the work of parts that never learn; `forward` takes what comes of it."""
        return {
            kind: encoder.settle(features[kind])
            if isinstance(encoder, Settles) and encoder.settles
            else dict(features[kind])
            for kind, encoder in self.encoders.items()
        }

    @property
    def settles(self) -> bool:
        """Whether some part never learns."""
        encoders = self.encoders.values()
        return any(isinstance(one, Settles) and one.settles for one in encoders)

    def prepare(self, arrays: Arrays) -> None:
        """Let the encoders choose what depends on training rows, once, before the first step."""
        if self.density is not None:
            self.density.prepare(arrays.features)
            return
        target = target_columns(arrays.target)
        for kind, encoder in self.encoders.items():
            if isinstance(encoder, Prepares):
                encoder.prepare(arrays.features[kind], target)

    def clip(self, norm: float) -> None:
        """Bound the gradient: the members' together as if each were bound to ``norm``."""
        nn.utils.clip_grad_norm_(self.parameters(), norm * math.sqrt(self._members), foreach=True)

    @staticmethod
    def tensors(
        features: Mapping[str, Mapping[str, NDArray[Any]]],
    ) -> dict[str, dict[str, Tensor]]:
        """See arrays as tensors, without copying."""
        return {
            kind: {
                name: torch.from_numpy(np.ascontiguousarray(array))
                for name, array in fields.items()
            }
            for kind, fields in features.items()
        }


def _head(schema: Schema, recipe: Recipe) -> Head:
    """Give the head of the target's kind; without a target, that of the columns themselves."""
    if schema.target is None:
        return RowHead(len(foretold(schema)))
    head = KINDS[schema.target.kind].head(
        schema.target.state, LossOptions(recipe.label_smoothing, recipe.focusing)
    )
    if head is None:
        raise AssertionError
    return head


def piece_rows(arrays: Arrays) -> int:
    """Say how many rows are looked at together; it depends on the kinds of columns alone.

    Wide rows (pictures, sounds) go by few.
    """
    fields = [array for kind in arrays.features.values() for array in kind.values()]
    row = sum(array.itemsize * math.prod(array.shape[1:]) for array in fields)
    return int(max(16, min(PREDICT_ROWS, 2 ** round(math.log2(PREDICT_BYTES / max(1, row))))))


def tokens_of(encoder: nn.Module) -> int:
    """Say how many tokens an encoder gives for a row."""
    tokens = encoder.tokens
    if not isinstance(tokens, int):
        raise AssertionError
    return tokens


def spread_of(outputs: Tensor) -> Tensor:
    """Give the standard deviation of the members' outputs [members, N, outputs], float32 [N]."""
    apart = outputs - outputs.mean(dim=0)
    return apart.square().mean(dim=0).sqrt().mean(dim=-1)


@torch.inference_mode()
def settled(network: Network, arrays: Arrays, progress: Progress) -> Arrays:
    """Do the work of a network's fixed parts once for each row.

    Parameters
    ----------
    network
        Should be in evaluation mode.
    arrays
        Encoded rows [N].
    progress
        Told of every piece.

    Returns
    -------
    Arrays
        The rows as `forward_all` takes them too; the same ones where no part is fixed.
    """
    if not network.settles:
        return arrays
    progress.start("settle", len(arrays), "rows")
    size, pieces = min(SETTLED, piece_rows(arrays)), []
    for start in range(0, max(1, len(arrays)), size):
        rows = arrays.take(slice(start, start + size))
        features = {
            kind: {name: tensor.numpy() for name, tensor in fields.items()}
            for kind, fields in network.settle(network.tensors(rows.features)).items()
        }
        pieces.append(Arrays(features, rows.target))
        progress.advance(len(rows))
    progress.stop()
    return Arrays.join(pieces)


@torch.inference_mode()
def forward_all(network: Network, arrays: Arrays, held: NDArray[np.int64] | None = None) -> Outputs:
    """Run a network over many rows in pieces of fixed size.

    Parameters
    ----------
    network
        Should be in evaluation mode.
    arrays
        Encoded rows [N].
    held
        int64 [N, judges]: the members whose answers count for each row, because they never
        learned from it; by default all members answer together.

    Returns
    -------
    Outputs
        What the members say, and how far apart they are.
    """
    answers, spreads = [], []
    size = piece_rows(arrays)
    for start in range(0, max(1, len(arrays)), size):
        rows = slice(start, start + size)
        outputs = network(network.tensors(arrays.take(rows).features)).float()
        spreads.append(spread_of(outputs).numpy())
        if held is not None:
            judges = torch.from_numpy(held[rows]).T
            outputs = outputs[judges, torch.arange(judges.shape[1])]
        answers.append(network.head.combine(outputs).numpy())
    return Outputs(np.concatenate(answers), np.concatenate(spreads))


@torch.inference_mode()
def embed_all(network: Network, arrays: Arrays) -> NDArray[np.float32]:
    """Give what a network makes of each row before its last layer.

    Parameters
    ----------
    network
        Should be in evaluation mode.
    arrays
        Encoded rows [N], their fixed parts done or not; see `settled`.

    Returns
    -------
    numpy.ndarray
        float32 [N, D]: the last hidden layers of the first members, as many as fit into 128
        numbers, one after the other. Of a member that is wider than that, the first 128.
    """
    found = []
    size = piece_rows(arrays)
    for start in range(0, max(1, len(arrays)), size):
        rows = arrays.take(slice(start, start + size))
        hidden = network.hidden(network.tensors(rows.features)).float()
        members = max(1, min(len(hidden), EMBEDDED // hidden.shape[2]))
        joined = hidden[:members].permute(1, 0, 2).flatten(1)[:, :EMBEDDED]
        found.append(joined.numpy())
    return np.concatenate(found)
