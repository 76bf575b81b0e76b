"""Networks over pictures: a small residual one, a small transformer, and what training varies."""

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

SHIFT: Final = 16
"""Pictures are shifted by up to this part of their side: more is learned slowly."""

VARIED: Final = 0.2
"""How far light and contrast are varied, in standard deviations and as a share."""

PATCHES: Final = 8
"""A transformer sees a picture as so many rows of so many patches."""

ROWS: Final = 64
"""So many pictures a model that never learns sees together."""

PIECE: Final = 256
"""So many pictures are seen together where nothing learns."""


@final
@dataclass(frozen=True, slots=True)
class Look:
    """What a network must know of a column of pictures.

    Parameters
    ----------
    size, channels
        The side in pixels, and 1 (grey) or 3.
    mean, std
        Of each channel, from 0 to 1.
    encoder
        ``conv``, ``vit`` or ``pretrained``.
    flip, crop, colour
        What training varies; see `varied` and `Eye`.
    model, config
        Of a pretrained model: its folder or name, and its configuration as JSON.
    learns, pooling
        See `thalweg.blocks.pretrained.Pretrained`.
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    encoder: Literal["conv", "vit", "pretrained"] = "conv"
    flip: bool = True
    crop: bool = True
    colour: bool = False
    model: str = ""
    config: str = ""
    learns: Learns = "frozen"
    pooling: Pooling = "mean"

    @property
    def fixed(self) -> bool:
        """Whether what sees the pictures never learns, so that they need be seen only once."""
        return self.encoder == "pretrained" and self.learns == "frozen"


@final
class Pictures(nn.Module):
    """Embeds columns of pictures, each with a network of its own.

    Parameters
    ----------
    looks
        What is known of each column.
    width
        The size of each embedding.
    """

    def __init__(self, looks: Sequence[Look], width: int) -> None:
        super().__init__()
        self.tokens = len(looks)
        self.width = width
        self._looks = tuple(looks)
        self.eyes = nn.ModuleList(Eye(look, width) for look in looks)

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Embed ``pixels`` [N, C, S, S, channels], or what `settle` made of them, and ``missing``.

        Gives float32 [N, C, width]; missing ones are zeros.
        """
        there = self.present(fields)
        settled = fields.get("settled")
        embedded = []
        for at, eye in enumerate(self.eyes):
            if settled is not None and self._looks[at].fixed:
                net = _known(eye)
                embedded.append(net.finish(settled[:, at, : net.core.width]) * there[:, at, None])
            else:
                embedded.append(self._see(eye, fields["pixels"][:, at], there[:, at]))
        return torch.stack(embedded, dim=1)

    def present(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Say which tokens stand for a picture, bool [N, C]."""
        return fields["missing"] == 0

    def prepare(self, fields: Mapping[str, NDArray[Any]], target: NDArray[np.float64]) -> None:
        """Read the weights of pretrained models."""
        del fields, target
        for look, eye in zip(self._looks, self.eyes, strict=True):
            if look.encoder == "pretrained":
                _known(eye).core.load(look.model)

    @property
    def settles(self) -> bool:
        """Whether a model that never learns sees some column."""
        return any(look.fixed for look in self._looks)

    @torch.no_grad()
    def settle(self, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Replace pictures that a fixed model sees by what it says of them.

        Gives ``settled``, float32 [N, C, most]; other columns keep their ``pixels``.
        """
        places = [at for at, look in enumerate(self._looks) if look.fixed]
        most = max(_known(self.eyes[at]).core.width for at in places)
        settled = torch.zeros(len(fields["missing"]), self.tokens, most)
        for at in places:
            eye = self.eyes[at]
            core = _known(eye).core
            for start in range(0, len(settled), ROWS):
                rows = slice(start, start + ROWS)
                seen = core({"pixel_values": eye.normalised(fields["pixels"][rows, at])})  # type: ignore[operator]
                settled[rows, at, : core.width] = seen
        kept = {"missing": fields["missing"], "settled": settled}
        return kept if len(places) == self.tokens else kept | {"pixels": fields["pixels"]}

    def _see(self, eye: nn.Module, pixels: Tensor, there: Tensor) -> Tensor:
        """Look at the pictures that are there, and only at these: gaps must not count as black."""
        if torch.compiler.is_exporting():
            # A graph cannot choose rows by what they hold: it looks at all, and leaves gaps out.
            looked: Tensor = eye(pixels)
            return torch.where(there[:, None], looked, 0.0)
        if not torch.is_grad_enabled() and len(pixels) > PIECE:
            # Nothing is kept for learning, so large batches need not be in memory at once.
            pieces = zip(torch.split(pixels, PIECE), torch.split(there, PIECE), strict=True)
            return torch.cat([self._see(eye, *piece) for piece in pieces])
        if bool(there.all()) and len(there):
            seen: Tensor = eye(pixels)
            return seen
        embedded = torch.zeros(len(pixels), self.width)
        if bool(there.any()):
            found = eye(pixels[there])
            embedded = embedded.to(found.dtype).masked_scatter(there[:, None], found)
        return embedded


@final
class Eye(nn.Module):
    """Embeds pictures: uint8 [N, S, S, channels] to float32 [N, width].

    It normalises them and, while training, varies them.

    Parameters
    ----------
    look
        What is known of the pictures; those given may be larger, with zeros beside them.
    width
        The size of the embedding.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, look: Look, width: int) -> None:
        super().__init__()
        self._look = look
        shape = (1, look.channels, 1, 1)
        mean, std = torch.tensor(look.mean), torch.tensor(look.std)
        self.register_buffer("mean", 255 * mean.view(shape), persistent=False)
        self.register_buffer("scale", 1 / (255 * std.view(shape)), persistent=False)
        self.net = _net(look, width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed."""
        look = self._look
        if self.training and not look.fixed and (look.crop or look.flip):
            pixels = pixels[:, : look.size, : look.size, : look.channels]
            pixels = varied(pixels, look.size // SHIFT if look.crop else 0, flip=look.flip)
        x = self.normalised(pixels)
        if self.training and not look.fixed and look.colour:
            light, contrast = VARIED * (2 * torch.rand(2, len(x), 1, 1, 1) - 1)
            x = x * (1 + contrast) + light
        embedded: Tensor = self.net(x)
        if look.flip and not self.training and not look.fixed:
            # What is the same for the network in a mirror is judged from both sides.
            embedded = (embedded + self.net(x.flip(3))) / 2
        return embedded

    def normalised(self, pixels: Tensor) -> Tensor:
        """Give float32 [N, channels, S, S] of mean 0 and deviation 1."""
        look = self._look
        pixels = pixels[:, : look.size, : look.size, : look.channels]
        x = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
        return (x - self.mean) * self.scale


@final
class Known(nn.Module):
    """A pretrained model, and a linear map of what it says: float32 [N, width].

    Parameters
    ----------
    core
        Takes pictures and gives one vector for each.
    width
        The size of the embedding.
    """

    def __init__(self, core: Pretrained, width: int) -> None:
        super().__init__()
        self.core = core
        self.norm = nn.LayerNorm(core.width)
        self.last = nn.Linear(core.width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Embed pictures [N, channels, S, S]."""
        return self.finish(self.core({"pixel_values": x}))

    def finish(self, said: Tensor) -> Tensor:
        """Map what the model says."""
        embedded: Tensor = self.last(self.norm(said))
        return embedded


def _net(look: Look, width: int) -> nn.Module:
    """Build what sees the pictures."""
    if look.encoder == "pretrained":
        return Known(Pretrained(look.config, look.learns, look.pooling), width)
    net = SmallViT if look.encoder == "vit" else SmallResNet
    return net(look.size, look.channels, width)


def _known(eye: nn.Module) -> Known:
    """Give the pretrained model of an eye that has one."""
    if not isinstance(eye.net, Known):
        raise AssertionError
    return eye.net


def varied(pixels: Tensor, shift: int, *, flip: bool) -> Tensor:
    """Shift each picture [N, S, S, channels] by up to some pixels and mirror every other one.

    What is shifted in at an edge is the picture's own reflection there.

    Examples
    --------
    >>> picture = torch.arange(9).view(1, 3, 3, 1)
    >>> torch.equal(varied(picture, 0, flip=False), picture)
    True
    """
    rows, side = pixels.shape[0], pixels.shape[1]
    places = torch.arange(side)
    down = places + torch.randint(-shift, shift + 1, (rows, 1))
    right = places + torch.randint(-shift, shift + 1, (rows, 1))
    # What lies beyond an edge is reflected: -1 is 1, and side is side - 2.
    down = (side - 1) - ((side - 1) - down.abs()).abs()
    right = (side - 1) - ((side - 1) - right.abs()).abs()
    if flip:
        right = torch.where(torch.rand(rows, 1) < 0.5, side - 1 - right, right)
    return pixels[torch.arange(rows)[:, None, None], down[:, :, None], right[:, None, :]]


@final
class SmallResNet(nn.Module):
    """A residual network small enough for a processor (He et al. 2015), float32 [N, width].

    Most of its work is done on few pixels: those of a picture are halved three times, and what
    is left is joined by its mean and its maximum.

    Parameters
    ----------
    size, channels
        Of the pictures.
    width
        The size of the embedding.
    """

    def __init__(self, size: int, channels: int, width: int) -> None:
        super().__init__()
        # Larger pictures are halved before as well, so that they cost little more.
        coarse = [nn.AvgPool2d(2)] if size >= 48 else []
        self.body = nn.Sequential(
            *coarse,
            _convolution(channels, 32),
            nn.MaxPool2d(2, ceil_mode=True),
            _convolution(32, 48),
            nn.MaxPool2d(2, ceil_mode=True),
            _convolution(48, 96),
            Residual(96),
            nn.MaxPool2d(2, ceil_mode=True),
            _convolution(96, 192),
            Residual(192),
        )
        self.last = nn.Linear(2 * 192, width)

    def forward(self, x: Tensor) -> Tensor:
        """Embed pictures [N, channels, S, S]."""
        x = self.body(x)
        joined = torch.cat([x.amax(dim=(2, 3)), x.mean(dim=(2, 3))], dim=1)
        embedded: Tensor = self.last(joined)
        return embedded


@final
class Residual(nn.Module):
    """Two convolutions that add to what they are given.

    Parameters
    ----------
    width
        The channels in and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Add."""
        added: Tensor = x + self.body(x)
        return added


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Build a 3 x 3 convolution that keeps the side, normalised."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


@final
class SmallViT(nn.Module):
    """A small transformer over patches (Dosovitskiy et al. 2020), float32 [N, width].

    Parameters
    ----------
    size, channels
        Of the pictures.
    width
        The size of the embedding.
    inner, depth, heads
        The width, the layers and the heads of attention.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        width: int,
        inner: int = 96,
        depth: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        patch = -(-size // PATCHES)
        self._gap = -size % patch
        count = (-(-size // patch)) ** 2
        self.patches = nn.Conv2d(channels, inner, patch, stride=patch)
        self.places = nn.Parameter(0.02 * torch.randn(1, count, inner))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                inner, heads, 2 * inner, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(inner)
        self.last = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Embed pictures [N, channels, S, S]."""
        x = functional.pad(x, (0, self._gap, 0, self._gap))
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        for layer in self.layers:
            x = layer(x)
        embedded: Tensor = self.last(self.norm(x).mean(dim=1))
        return embedded
