"""Sounds for a network: log-mel spectra, spectra altered while training, and what reads them."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.blocks.mel import FLOOR, Frames, mel_filters
from thalweg.blocks.recurrent import both_ways

TOKENS: Final = 4
"""The tokens of a sound: it says more than one column of a table."""

CHANNELS: Final = (32, 64, 96)
HIDDEN: Final = 128

HEIGHT: Final = 0.12
HASTE: Final = 0.15
SHIFT: Final = 2.0
"""How far voices differ: shares of their height and their haste, and whole bands."""

LEVELS: Final = 3
"""What is said of a spectrum beside its shape: its mean, its deviation and its length."""


@final
class LogMel(nn.Module):
    """Turn waves into log-mel spectra.

    Parameters
    ----------
    rate
        Samples in a second.
    mels
        How many bands.
    """

    taper: Tensor
    filters: Tensor

    def __init__(self, rate: int, mels: int) -> None:
        super().__init__()
        self._frames = Frames(rate)
        taper = torch.from_numpy(self._frames.taper())
        self.register_buffer("taper", taper, persistent=False)
        filters = torch.from_numpy(mel_filters(rate, mels))
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, wave: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Give log-mel spectra.

        Parameters
        ----------
        wave
            int16 [N, L], one row at least.
        length
            int [N]: how many samples are there, one at least.

        Returns
        -------
        tuple
            float32 [N, mels, T], and int64 [N]: how many of the T frames are there.
        """
        own = self._frames
        with torch.autocast(wave.device.type, enabled=False):
            # Silence after the longest sound of the batch says nothing.
            longest = wave.shape[1] if torch.compiler.is_exporting() else int(length.max())
            heard = wave[:, :longest].float() / 32768
            padded = functional.pad(heard, (own.fft // 2, own.fft // 2))
            bands = self._power(padded) @ self.filters
            return (bands + FLOOR).log().transpose(1, 2), own.count(length.long())

    def _power(self, padded: Tensor) -> Tensor:
        """Give the power of each frame's frequencies, [N, T, frequencies]."""
        own = self._frames
        if torch.compiler.is_exporting():
            # ONNX has no complex numbers: each frequency is a product with a cosine and a sine.
            frames = functional.conv1d(padded[:, None], self._waves(), stride=own.hop)
            cosine, sine = frames.chunk(2, dim=1)
            return (cosine.square() + sine.square()).transpose(1, 2)
        spectra = torch.stft(
            padded, own.fft, own.hop, window=self.taper, center=False, return_complex=True
        )
        return (spectra.real.square() + spectra.imag.square()).transpose(1, 2)

    def _waves(self) -> Tensor:
        """Give the tapered cosines and sines of a frame, float32 [2 frequencies, 1, fft]."""
        fft = self._frames.fft
        turns = torch.outer(torch.arange(fft // 2 + 1), torch.arange(fft)) % fft
        angles = turns.double() * (2 * torch.pi / fft)
        waves = torch.cat([angles.cos(), -angles.sin()]) * self.taper.double()
        return waves.float()[:, None]


def valid(frames: Tensor, longest: int) -> Tensor:
    """Say which of the frames are there: bool [N, longest]."""
    return torch.arange(longest, device=frames.device) < frames[:, None]


def standardised(spectra: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Take loudness and contrast out of each spectrum, and say what they were.

    Returns
    -------
    tuple
        float32 [N, mels, T], 0 in frames that are not there, and float32 [N, 3].
    """
    there = valid(frames, spectra.shape[2])[:, None]
    count = (frames * spectra.shape[1])[:, None, None]
    mean = (spectra * there).sum((1, 2), keepdim=True) / count
    apart = (spectra - mean) * there
    deviation = (apart.square().sum((1, 2), keepdim=True) / count + 1e-4).sqrt()
    levels = torch.stack([mean.flatten() / 5 + 2, deviation.flatten() / 3, frames.log() - 4], 1)
    return apart / deviation, levels


def warped(spectra: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Say each sound by another voice: higher or lower, quicker or slower.

    Vocal tracts differ in length, and speakers in haste (Jaitly and Hinton 2013).
    """
    rows, mels, longest = spectra.shape
    draw = torch.rand(3, rows, 1, 1, device=spectra.device) * 2 - 1
    height = 1 + HEIGHT * draw[0]
    haste = 1 + HASTE * draw[1]
    bands = torch.arange(mels, device=spectra.device)[None, :, None] * height + SHIFT * draw[2]
    times = torch.arange(longest, device=spectra.device)[None, None, :] * haste
    grid = torch.stack(
        [
            (times * 2 / max(1, longest - 1) - 1).expand(rows, mels, longest),
            (bands * 2 / max(1, mels - 1) - 1).expand(rows, mels, longest),
        ],
        dim=3,
    )
    moved = functional.grid_sample(
        spectra[:, None], grid, padding_mode="border", align_corners=True
    )[:, 0]
    kept = (frames / haste.flatten()).long().clamp(1, longest)
    return moved * valid(kept, longest)[:, None], kept


def masked(spectra: Tensor, frames: Tensor) -> Tensor:
    """Hide stripes of bands and of time, two each (SpecAugment, Park et al. 2019)."""
    rows, mels, longest = spectra.shape
    for axis, size, most in ((1, mels, 0.2), (2, longest, 0.15)):
        for _ in range(2):
            draw = torch.rand(2, rows, 1, device=spectra.device)
            whole = torch.full_like(draw[0], size) if axis == 1 else frames[:, None].float()
            width = draw[0] * most * whole
            start = draw[1] * (whole - width)
            place = torch.arange(size, device=spectra.device)
            shown = (place < start) | (place >= start + width)
            spectra = spectra * (shown[:, :, None] if axis == 1 else shown[:, None])
    return spectra


@final
class MaskedNorm(nn.Module):
    """Normalise groups of channels over the frames that are there (Wu and He 2018).

    Unlike a batch's norm it is the same alone and in a batch, and has no memory that a running
    average of the weights would have to know of.
    """

    def __init__(self, channels: int, groups: int = 8) -> None:
        super().__init__()
        self._groups = groups
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """Normalise [N, channels, bands, T]; what is not ``there`` [N, 1, 1, T] becomes 0."""
        rows, channels, bands, _ = x.shape
        x = x * there
        grouped = x.reshape(rows, self._groups, -1)
        count = there.sum((2, 3)) * (bands * channels // self._groups)
        mean = grouped.sum(2) / count
        variance = grouped.square().sum(2) / count - mean.square()
        scale = (variance.clamp_min(0) + 1e-5).rsqrt()
        each = channels // self._groups
        by_channel = scale.repeat_interleave(each, 1)[:, :, None, None] * self.weight
        offset = self.bias - mean.repeat_interleave(each, 1)[:, :, None, None] * by_channel
        return torch.addcmul(offset, x, by_channel) * there


@final
class Residual(nn.Module):
    """Two convolutions beside a short cut (He et al. 2016), halving bands and frames at will."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.first_norm, self.second_norm = MaskedNorm(outputs), MaskedNorm(outputs)
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self._stride = stride

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Give [N, outputs, bands, T] and how many frames are there."""
        frames = (frames + self._stride - 1) // self._stride
        first = self.first(x)
        there = valid(frames, first.shape[3])[:, None, None].to(first.dtype)
        inner = functional.relu(self.first_norm(first, there))
        outer = self.second_norm(self.second(inner), there) + self.short(x)
        return functional.relu(outer) * there, frames


@final
class ConvSounds(nn.Module):
    """A small residual network over spectra, pooled over time: [N, mels, T] to [N, size]."""

    def __init__(self, mels: int) -> None:
        super().__init__()
        steps = [CHANNELS[0], *CHANNELS]
        self.stem = nn.Conv2d(1, CHANNELS[0], 3, (2, 1), 1)
        self.blocks = nn.ModuleList(Residual(a, b, stride=2) for a, b in pairwise(steps))
        bands = (mels + 1) // 2
        for _ in CHANNELS:
            bands = (bands + 1) // 2
        self.size = 2 * CHANNELS[-1] * bands

    def forward(self, spectra: Tensor, frames: Tensor) -> Tensor:
        """Give the mean and the largest over time of what is heard at each height."""
        stem = functional.relu(self.stem(spectra[:, None]))
        x = stem * valid(frames, stem.shape[3])[:, None, None]
        for block in self.blocks:
            x, frames = block(x, frames)
        return pooled(x.flatten(1, 2), frames)


@final
class RecurrentSounds(nn.Module):
    """Gated recurrent units over pairs of frames, both ways: [N, mels, T] to [N, size]."""

    def __init__(self, mels: int) -> None:
        super().__init__()
        self.stem = nn.Conv1d(mels, HIDDEN, 5, 2, 2)
        self.units = nn.GRU(HIDDEN, HIDDEN, batch_first=True, bidirectional=True)
        self.size = 4 * HIDDEN

    def forward(self, spectra: Tensor, frames: Tensor) -> Tensor:
        """Give the mean and the largest over time of the units' states."""
        x = functional.relu(self.stem(spectra)).transpose(1, 2)
        frames = (frames + 1) // 2
        return pooled(both_ways(self.units, x, frames).transpose(1, 2), frames)


def pooled(x: Tensor, frames: Tensor) -> Tensor:
    """Pool [N, channels, T] over the frames that are there: [N, 2 * channels], mean and largest."""
    there = valid(frames, x.shape[2])[:, None]
    mean = (x * there).sum(2) / frames[:, None]
    largest = x.masked_fill(~there, -torch.inf).amax(2)
    return torch.cat([mean, largest], dim=1)


@final
class OneSound(nn.Module):
    """Embed one column of sounds: [N, L] to [N, TOKENS, width].

    Parameters
    ----------
    reader
        What reads the spectra.
    rate
        Samples in a second.
    mels
        The bands of the spectra.
    width
        The width of a token.
    """

    def __init__(
        self, reader: ConvSounds | RecurrentSounds, rate: int, mels: int, width: int
    ) -> None:
        super().__init__()
        self.spectra = LogMel(rate, mels)
        self.bands = nn.Parameter(torch.zeros(mels, 1))
        self.reader = reader
        self.hidden = nn.Linear(self.reader.size + LEVELS, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)
        self.last = nn.Linear(HIDDEN, TOKENS * width)
        self._width = width

    def forward(self, wave: Tensor, length: Tensor) -> Tensor:
        """Embed waves int16 [N, L] of so many samples [N]; one row at least, each with a sample."""
        spectra, frames = self.spectra(wave, length)
        spectra, levels = standardised(spectra, frames)
        spectra = (spectra + self.bands) * valid(frames, spectra.shape[2])[:, None]
        if self.training:
            spectra, frames = warped(spectra, frames)
            spectra = masked(spectra, frames)
        read = torch.cat([self.reader(spectra, frames), levels], dim=1)
        hidden = functional.relu(self.norm(self.hidden(read)))
        tokens: Tensor = self.last(functional.dropout(hidden, 0.2, self.training))
        return tokens.view(wave.shape[0], TOKENS, self._width)
