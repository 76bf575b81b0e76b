"""Encoders of all columns of sounds: networks learned here, or trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from thalweg.blocks.pretrained import Learns, Pooling, Pretrained
from thalweg.blocks.sounds import TOKENS, ConvSounds, OneSound, RecurrentSounds, valid

PIECE: Final = 256
"""How many sounds are read at a time where nothing is learned."""

SLOW_PIECE: Final = 8
"""How many a pretrained model reads at a time."""


@final
@dataclass(frozen=True, slots=True)
class Sound:
    """How one column's sounds are read.

    Parameters
    ----------
    encoder
        ``conv``, ``recurrent`` or ``pretrained``.
    rate
        Samples in a second.
    samples
        How many are kept at most.
    mels
        How many bands; a pretrained model has its own.
    model, config, learns, pooling
        See `thalweg.blocks.pretrained.Pretrained`.
    """

    encoder: Literal["conv", "recurrent", "pretrained"]
    rate: int
    samples: int
    mels: int
    model: str = ""
    config: str = ""
    learns: Learns = "frozen"
    pooling: Pooling = "mean"

    @property
    def fixed(self) -> bool:
        """Whether a model reads it that never learns."""
        return self.encoder == "pretrained" and self.learns == "frozen"


@final
class ReadSound(nn.Module):
    """A pretrained model that hears waves, and a linear map of what it says.

    Parameters
    ----------
    core
        The model: one that takes waves, such as wav2vec 2.0 or HuBERT.
    samples
        How many samples it always hears: what some of these models say of a sound depends on the
        silence after it.
    width
        The width of a token.
    """

    def __init__(self, core: Pretrained, samples: int, width: int) -> None:
        super().__init__()
        self.core = core
        self.norm = nn.LayerNorm(core.width)
        self.linear = nn.Linear(core.width, TOKENS * width)
        self._samples = samples
        self._places = places(core.model.config, samples)
        self._width = width

    def forward(self, wave: Tensor, length: Tensor) -> Tensor:
        """Embed waves int16 [N, L] of so many samples [N]: float32 [N, TOKENS, width]."""
        return self.finish(self.core_of(wave, length))

    def core_of(self, wave: Tensor, length: Tensor) -> Tensor:
        """Let the model hear: float32 [N, its own width]."""
        there = valid(length, self._samples)
        heard = wave[:, : self._samples].float() / 32768
        count = length.clamp_min(1)[:, None]
        apart = (heard - (heard * there).sum(1, keepdim=True) / count) * there
        deviation = (apart.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
        kept = (length.long() * self._places + self._samples - 1) // self._samples
        there = valid(kept.clamp_min(1), self._places)
        said: Tensor = self.core({"input_values": apart / deviation}, there)
        return said

    def finish(self, said: Tensor) -> Tensor:
        """Embed what the model said [N, its own width]."""
        tokens: Tensor = self.linear(functional.dropout(self.norm(said), 0.1, self.training))
        return tokens.view(said.shape[0], TOKENS, self._width)


def places(config: Any, samples: int) -> int:
    """Say how many places a model that takes waves has for so many samples."""
    count = samples
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        count = (count - kernel) // stride + 1
    return max(1, count)


@final
class SoundEncoder(nn.Module):
    """Embed all columns of sounds, each by a network of its own.

    Parameters
    ----------
    sounds
        The columns.
    width
        The width of a token.
    """

    def __init__(self, sounds: Sequence[Sound], width: int) -> None:
        super().__init__()
        self._sounds = tuple(sounds)
        self.columns = nn.ModuleList(_column(sound, width) for sound in sounds)
        self.tokens = TOKENS * len(sounds)
        self._width = width

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Give float32 [N, tokens, width]; the tokens of a missing sound are 0."""
        if torch.compiler.is_exporting():
            return self._hear_all(fields)
        rows = len(fields["length"])
        if torch.is_grad_enabled() or rows <= PIECE:
            return self._embed(fields)
        # Spectra are large: only learning needs those of all rows at once.
        parts = [
            self._embed({name: field[start : start + PIECE] for name, field in fields.items()})
            for start in range(0, rows, PIECE)
        ]
        return torch.cat(parts)

    def present(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Say which tokens stand for a sound: bool [N, tokens]."""
        return (fields["missing"] == 0).repeat_interleave(TOKENS, dim=1)

    def prepare(self, fields: Mapping[str, NDArray[Any]], target: NDArray[np.float64]) -> None:
        """Read the weights of pretrained models."""
        del fields, target
        for sound, column in zip(self._sounds, self.columns, strict=True):
            if isinstance(column, ReadSound):
                column.core.load(sound.model)

    @property
    def settles(self) -> bool:
        """Whether a model that never learns hears some column."""
        return any(sound.fixed for sound in self._sounds)

    @torch.no_grad()
    def settle(self, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Replace waves that only fixed models hear by what these say of them.

        Gives ``settled``, float32 [N, columns, most]; the waves stay where another column needs
        them.
        """
        wave, length = fields["wave"], fields["length"]
        fixed = [
            (place, column)
            for place, (sound, column) in enumerate(zip(self._sounds, self.columns, strict=True))
            if sound.fixed and isinstance(column, ReadSound)
        ]
        most = max(column.core.width for _, column in fixed)
        settled = torch.zeros(len(length), len(self.columns), most)
        for place, column in fixed:
            there = ((fields["missing"][:, place] == 0) & (length[:, place] > 0)).nonzero()[:, 0]
            for rows in torch.split(there, SLOW_PIECE):
                said = column.core_of(wave[rows, place], length[rows, place])
                settled[rows, place, : column.core.width] = said
        kept = {"length": length, "missing": fields["missing"], "settled": settled}
        return kept if len(fixed) == len(self.columns) else kept | {"wave": wave}

    def _hear_all(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Embed all rows, silent ones too: a graph cannot choose rows by what they hold."""
        length = fields["length"]
        there = (fields["missing"] == 0) & (length > 0)
        embedded = [
            column(fields["wave"][:, place], length[:, place].clamp_min(1))
            for place, column in enumerate(self.columns)
        ]
        kept = [torch.where(there[:, at, None, None], one, 0.0) for at, one in enumerate(embedded)]
        return torch.cat(kept, dim=1)

    def _embed(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Embed some rows."""
        length = fields["length"]
        settled = fields.get("settled")
        there = (fields["missing"] == 0) & (length > 0)
        embedded = []
        for place, (sound, column) in enumerate(zip(self._sounds, self.columns, strict=True)):
            rows = there[:, place].nonzero()[:, 0]
            empty = torch.zeros(len(length), TOKENS, self._width, device=length.device)
            if len(rows) and settled is not None and sound.fixed and isinstance(column, ReadSound):
                found = column.finish(settled[rows, place, : column.core.width])
                empty = empty.index_copy(0, rows, found.float())
            elif len(rows):
                found = column(fields["wave"][rows, place], length[rows, place])
                empty = empty.index_copy(0, rows, found.float())
            embedded.append(empty)
        return torch.cat(embedded, dim=1)


def _column(sound: Sound, width: int) -> nn.Module:
    """Build what reads one column."""
    match sound.encoder:
        case "conv":
            return OneSound(ConvSounds(sound.mels), sound.rate, sound.mels, width)
        case "recurrent":
            return OneSound(RecurrentSounds(sound.mels), sound.rate, sound.mels, width)
        case "pretrained":
            core = Pretrained(sound.config, sound.learns, sound.pooling)
            return ReadSound(core, sound.samples, width)
