"""Encoders of token ids: convolutions, recurrent layers, attention; and of columns of text.

Ids are whole numbers from 1; 0 pads at the end. Each encoder of one column gives float32
[N, width], and zeros in place of texts without any token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from thalweg.blocks.bag import Bag
from thalweg.blocks.pretrained import Learns, Pooling, Pretrained
from thalweg.blocks.recurrent import both_ways

DROPOUT: Final = 0.3
SIZE: Final = 128
"""How wide shared encoders are inside."""

KERNELS: Final = (2, 3, 4)
LAYERS: Final = 2
HEADS: Final = 4
ROWS: Final = 64
"""So many texts a model that never learns reads together."""


@final
@dataclass(frozen=True, slots=True)
class Reading:
    """How one column of text is read.

    Parameters
    ----------
    encoder
        ``bag``, ``conv``, ``recurrent``, ``transformer`` or ``pretrained``.
    vocabulary
        How many tokens there are; ids are 1 to this.
    length
        The most tokens of a text.
    model, config, learns, pooling
        See `thalweg.blocks.pretrained.Pretrained`.
    """

    encoder: Literal["bag", "conv", "recurrent", "transformer", "pretrained"]
    vocabulary: int
    length: int
    model: str = ""
    config: str = ""
    learns: Learns = "frozen"
    pooling: Pooling = "mean"

    @property
    def fixed(self) -> bool:
        """Whether what reads it never learns."""
        return self.encoder == "pretrained" and self.learns == "frozen"


@final
class TextEncoder(nn.Module):
    """Embed columns of text: one token for each.

    Parameters
    ----------
    readings
        How each column is read.
    width
        The size of each embedding.
    """

    def __init__(self, readings: Sequence[Reading], width: int) -> None:
        super().__init__()
        self.tokens = len(readings)
        self._readings = tuple(readings)
        self.columns = nn.ModuleList(_column(reading, width) for reading in readings)

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Embed ``tokens`` [N, columns, L], or what `settle` made of them, and ``missing``."""
        settled = fields.get("settled")
        embedded = []
        for place, (reading, column) in enumerate(zip(self._readings, self.columns, strict=True)):
            if settled is not None and isinstance(column, ReadText):
                embedded.append(column.finish(settled[:, place, : column.core.width]))
            else:
                embedded.append(column(fields["tokens"][:, place, : reading.length]))
        there = self.present(fields).unsqueeze(-1)
        return torch.stack(embedded, dim=1) * there

    def present(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Say which columns hold something, bool [N, columns]."""
        return fields["missing"] == 0

    def prepare(self, fields: Mapping[str, NDArray[Any]], target: NDArray[np.float64]) -> None:
        """Count what is rare in training rows; read a pretrained model's weights."""
        del target
        for place, (reading, column) in enumerate(zip(self._readings, self.columns, strict=True)):
            if isinstance(column, Bag):
                column.prepare(fields["tokens"][:, place, : reading.length])
            elif isinstance(column, ReadText):
                column.core.load(reading.model)

    @property
    def settles(self) -> bool:
        """Whether a model that never learns reads some column."""
        return any(reading.fixed for reading in self._readings)

    @torch.no_grad()
    def settle(self, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Replace ``tokens`` of columns that are read by a fixed model by what it says of them.

        Gives ``settled``, float32 [N, columns, most]; other columns keep their tokens.
        """
        found = {
            place: _slowly(column.core_of, fields["tokens"][:, place, : reading.length])
            for place, (reading, column) in enumerate(
                zip(self._readings, self.columns, strict=True)
            )
            if reading.fixed and isinstance(column, ReadText)
        }
        most = max(read.shape[1] for read in found.values())
        settled = torch.zeros(len(fields["missing"]), self.tokens, most)
        for place, read in found.items():
            settled[:, place, : read.shape[1]] = read
        kept = {"missing": fields["missing"], "settled": settled}
        return kept if len(found) == self.tokens else kept | {"tokens": fields["tokens"]}


@final
class Shared(nn.Module):
    """A core that reads ids, and a linear map of what it says: [N, L] to [N, width].

    Parameters
    ----------
    core
        Takes ids int64 [N, L], L at least 1, and gives [N, `SIZE`].
    width
        The size of an embedding.
    """

    def __init__(self, core: nn.Module, width: int) -> None:
        super().__init__()
        self.core = core
        self.norm = nn.LayerNorm(SIZE)
        self.linear = nn.Linear(SIZE, width)

    def forward(self, ids: Tensor) -> Tensor:
        """Embed ids [N, L], of any integer type."""
        if not torch.compiler.is_exporting() and not len(ids):
            # Layers of torch cannot do with nothing.
            return self.linear.weight.new_zeros(0, self.linear.out_features)
        read = self.norm(self.core(_trimmed(ids)))
        embedded: Tensor = self.linear(functional.dropout(read, DROPOUT, self.training))
        return embedded


@final
class Convolutions(nn.Module):
    """The strongest answer to each of some short patterns (Kim 2014): ids [N, L] to [N, SIZE].

    Parameters
    ----------
    vocabulary
        How many tokens there are.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.table = _table(vocabulary)
        self.kernels = nn.ModuleList(nn.Conv1d(SIZE, SIZE, size) for size in KERNELS)
        self.joined = nn.Linear(SIZE * len(KERNELS), SIZE)

    def forward(self, ids: Tensor) -> Tensor:
        """Read ids [N, L]."""
        # One more than the longest pattern: the end of a text is a pattern too.
        read = functional.pad(self.table(ids).transpose(1, 2), (0, max(KERNELS)))
        read = functional.dropout(read, DROPOUT, self.training)
        strongest = [functional.relu(kernel(read)).amax(dim=2) for kernel in self.kernels]
        joined: Tensor = self.joined(torch.cat(strongest, dim=1))
        return joined


@final
class Recurrent(nn.Module):
    """Gated recurrent units in both directions (Cho et al. 2014), the maximum over all places.

    Parameters
    ----------
    vocabulary
        How many tokens there are.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.table = _table(vocabulary)
        self.units = nn.GRU(SIZE, SIZE // 2, batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor) -> Tensor:
        """Read ids [N, L]."""
        there = ids > 0
        read = functional.dropout(self.table(ids), DROPOUT, self.training)
        said = both_ways(self.units, read, there.sum(dim=1).clamp_min(1))
        there = torch.cat([torch.ones_like(there[:, :1]), there[:, 1:]], dim=1)
        return said.masked_fill(~there.unsqueeze(-1), -torch.inf).amax(dim=1)


@final
class Attentive(nn.Module):
    """A small transformer (Vaswani et al. 2017), the mean over all places.

    Parameters
    ----------
    vocabulary
        How many tokens there are.
    length
        The most tokens of a text.
    """

    def __init__(self, vocabulary: int, length: int) -> None:
        super().__init__()
        self.table = _table(vocabulary)
        self.places = nn.Parameter(torch.randn(length, SIZE) * 0.02)
        layer = nn.TransformerEncoderLayer(
            SIZE, HEADS, 2 * SIZE, 0.1, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Read ids [N, L]."""
        there = ids > 0
        there = torch.cat([torch.ones_like(there[:, :1]), there[:, 1:]], dim=1)
        read = self.table(ids) + self.places[: ids.shape[1]]
        read = functional.dropout(read, DROPOUT, self.training)
        said = self.layers(read, src_key_padding_mask=~there) * there.unsqueeze(-1)
        mean: Tensor = said.sum(dim=1) / there.sum(dim=1, keepdim=True)
        return mean


@final
class ReadText(nn.Module):
    """A pretrained model that reads ids, and a linear map of what it says: [N, L] to [N, width].

    Parameters
    ----------
    core
        The model; its own ids begin at 0, one lower.
    width
        The size of an embedding.
    """

    def __init__(self, core: Pretrained, width: int) -> None:
        super().__init__()
        self.core = core
        self.norm = nn.LayerNorm(core.width)
        self.linear = nn.Linear(core.width, width)

    def forward(self, ids: Tensor) -> Tensor:
        """Embed ids [N, L], of any integer type."""
        return self.finish(self.core_of(ids))

    def core_of(self, ids: Tensor) -> Tensor:
        """Let the model read ids [N, L]: float32 [N, its own width]."""
        ids = _trimmed(ids)
        there = ids > 0
        own = torch.where(there, ids - 1, self.core.padding)
        said: Tensor = self.core({"input_ids": own, "attention_mask": there.long()}, there)
        return said

    def finish(self, said: Tensor) -> Tensor:
        """Embed what the model said [N, its own width]."""
        embedded: Tensor = self.linear(functional.dropout(self.norm(said), DROPOUT, self.training))
        return embedded


def _column(reading: Reading, width: int) -> nn.Module:
    """Build what reads one column."""
    match reading.encoder:
        case "bag":
            return Bag(reading.vocabulary, width)
        case "conv":
            return Shared(Convolutions(reading.vocabulary), width)
        case "recurrent":
            return Shared(Recurrent(reading.vocabulary), width)
        case "transformer":
            return Shared(Attentive(reading.vocabulary, reading.length), width)
        case "pretrained":
            return ReadText(Pretrained(reading.config, reading.learns, reading.pooling), width)


def _table(vocabulary: int) -> nn.Embedding:
    """Start a table of vectors; that of padding stays 0."""
    table = nn.Embedding(vocabulary + 1, SIZE, padding_idx=0)
    with torch.no_grad():
        table.weight.mul_(0.1)
    return table


def _trimmed(ids: Tensor) -> Tensor:
    """Leave out places that no text of a batch reaches; give int64 [N, 1 or more]."""
    if torch.compiler.is_exporting():
        return ids.to(torch.int64)
    reached = int((ids > 0).sum(dim=1).max()) if ids.numel() else 0
    return ids[:, : max(1, reached)].to(torch.int64)


def _slowly(reader: Any, ids: Tensor) -> Tensor:
    """Read ids [N, L] some at a time, texts of one length together: padding costs as texts do."""
    order = (ids > 0).sum(dim=1).argsort(stable=True)
    pieces = [reader(ids[rows]) for rows in torch.split(order, ROWS)]
    found = torch.cat(pieces)
    back = torch.empty_like(found)
    back[order] = found
    return back
