"""Images: pictures as files, base64 or numbers; decoded in parallel, seen by a small network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from thalweg.core.errors import ColumnError, OptionError, TargetError
from thalweg.core.threads import ordered
from thalweg.kinds.base import (
    Design,
    Encoded,
    Kind,
    Options,
    Role,
    State,
    Threshold,
)
from thalweg.kinds.cells import is_text, present
from thalweg.kinds.pictures import (
    SPELT,
    SUFFIXES,
    Cell,
    Channels,
    RefusedError,
    cells_of,
    decode,
    encode_png,
    format_of,
)
from thalweg.stats import ColumnSummary

if TYPE_CHECKING:
    from torch import nn

    from thalweg.blocks.images import Look

Learned = tuple[float, Channels, tuple[float, ...], tuple[float, ...]]
"""The side, the channels, and the mean and standard deviation of each channel, from 0 to 1."""

EncoderName = Literal["conv", "vit", "pretrained"]
Learns = Literal["frozen", "last", "whole"]
Pooling = Literal["mean", "cls"]

LOOKED_AT: Final = 256
"""How many pictures of a column are looked at to learn its size and its light."""

MOST_SIDE: Final = 64
"""The largest side that is chosen without being asked for."""

PIECE: Final = 64
"""How many pictures a thread decodes at a time."""

PRETRAINED_SIDE: Final = 224
"""The side of what a pretrained model sees that does not say so."""

POOLED: Final = 8
"""The side of what textbook models see."""


@final
class ImageOptions(Options):
    """What may be said about a column of pictures.

    Parameters
    ----------
    encoder
        ``conv``, a small residual network (default); ``vit``, a small transformer over patches;
        ``pretrained``, which is the default where a model is named.
    size
        The side in pixels that the network sees. By default that of the training pictures (the
        median of their shorter sides), at most 64, or what a pretrained model was made for.
    flip
        Whether to show pictures mirrored as well while training. Default true; say ``false``
        where left and right matter, as for digits.
    crop
        Whether to shift pictures by up to a sixteenth while training. Default true.
    colour
        Whether to vary light and contrast while training. Default false.
    model
        For ``pretrained``: the folder or name of a Hugging Face model of pictures.
    train
        How much of a pretrained model learns: nothing (``frozen``, default), its ``last`` two
        layers, or the ``whole`` of it.
    pooling
        What a pretrained model says of a picture: the ``mean`` over its patches (default) or the
        first one (``cls``).
    """

    encoder: EncoderName | None = None
    size: Annotated[int, Field(ge=8, le=512)] | None = None
    flip: bool = True
    crop: bool = True
    colour: bool = False
    model: str | None = None
    train: Learns = "frozen"
    pooling: Pooling = "mean"


@final
class ImageState(State):
    """What is learned about a column of pictures.

    Parameters
    ----------
    size
        The side in pixels of what the network sees.
    channels
        1 where all pictures are grey, else 3.
    mean, std
        Of each channel, on the scale from 0 to 1.
    encoder, flip, crop, colour, train, pooling
        See `ImageOptions`.
    model
        The pretrained model's folder or name, from which its weights are read once.
    config
        The pretrained model's configuration, as JSON.
    """

    size: int
    channels: Channels
    mean: tuple[float, ...]
    std: tuple[float, ...]
    encoder: EncoderName
    flip: bool
    crop: bool
    colour: bool
    train: Learns
    pooling: Pooling
    model: str = ""
    config: str = ""


@final
class Image(Kind[ImageState, ImageOptions]):
    """Pictures.

    Fields: ``pixels`` uint8 [N, C, S, S, channels], with S and channels the largest of all
    columns and zeros beside smaller pictures; ``missing`` uint8 [N, C].
    """

    name = "image"
    description = "Pictures: the bytes or paths of files, base64, or lists of numbers. Only read."
    holds = frozenset({"bytes", "lists"})
    attaches = True
    grouped = False
    packages = ("PIL",)
    state_type = ImageState
    options_type = ImageOptions

    def sniff(self, summary: ColumnSummary) -> float:
        """Say whether most cells begin as picture files do, or name such files."""
        cells = summary.cells()[:LOOKED_AT]
        if not len(cells):
            return 0.0
        if is_text(cells.type):
            named = pc.match_substring_regex(cells, SUFFIXES)
            for start in SPELT:
                named = pc.or_(named, pc.starts_with(cells, start))
            share = pc.mean(named).as_py()
        elif "binary" in str(cells.type):
            share = np.mean([format_of(cell.as_py()[:12]) is not None for cell in cells])
        else:
            return 0.0
        return 0.95 if share >= 0.8 else 0.0

    def fit(self, summary: ColumnSummary, options: ImageOptions, role: Role) -> ImageState:
        """Learn the side, the channels and the light of up to 256 pictures."""
        if role == "target":
            raise TargetError(
                "a target of pictures",
                "a number, a class or a yes or no",
                "Choose another target; pictures can only be read.",
            )
        encoder = options.encoder or ("pretrained" if options.model else "conv")
        if (encoder == "pretrained") != bool(options.model):
            raise OptionError(
                f"encoder={encoder} with "
                + (f"model={options.model}" if options.model else "no model"),
                "a model with encoder=pretrained, and none with others",
                "Say model=FOLDER (or a Hugging Face name), or choose another encoder.",
            )
        side, channels, mean, std = _listed(summary) if summary.sizes.count else _looked(summary)
        state = ImageState(
            size=options.size or min(MOST_SIDE, max(8, 4 * round(side / 4))),
            channels=channels,
            mean=mean,
            std=std,
            encoder=encoder,
            **options.model_dump(include={"flip", "crop", "colour", "train", "pooling"}),
        )
        return _as_trained(state, options) if options.model else state

    def encode(self, arrays: Sequence[pa.Array], states: Sequence[ImageState]) -> Encoded:
        """Decode every picture; see the class for the fields."""
        rows = len(arrays[0])
        side = max(state.size for state in states)
        channels = max(state.channels for state in states)
        pixels = np.zeros((rows, len(states), side, side, channels), np.uint8)
        missing = np.ones((rows, len(states)), np.uint8)
        refused: dict[str, NDArray[np.bool_]] = {}
        for column, (array, state) in enumerate(zip(arrays, states, strict=True)):
            view = pixels[:, column, : state.size, : state.size, : state.channels]
            for row, reason in enumerate(_all_decoded(array, view)):
                if reason is None:
                    missing[row, column] = 0
                elif reason:
                    flags = np.zeros((rows, len(states)), bool)
                    refused.setdefault(reason, flags)[row, column] = True
        dropped = np.zeros(rows, bool)
        for flags in refused.values():
            dropped |= flags.any(axis=1)
        unreadable = np.zeros((rows, len(states)), bool)
        return Encoded({"pixels": pixels, "missing": missing}, dropped, unreadable, refused)

    def decode(
        self, outputs: NDArray[np.floating[Any]], state: ImageState, threshold: Threshold = None
    ) -> dict[str, pa.Array]:
        """Refuse: a picture is no target."""
        raise AssertionError

    def restore(self, encoded: Encoded, column: int, state: ImageState) -> pa.Array:
        """Give what the network sees as PNG files; missing cells are null."""
        pixels = encoded.fields["pixels"][:, column, : state.size, : state.size, : state.channels]
        gone = encoded.fields["missing"][:, column].astype(bool)
        files = [None if void else encode_png(one) for one, void in zip(pixels, gone, strict=True)]
        return pa.array(files, pa.large_binary())

    def design(self, fields: Mapping[str, NDArray[Any]], states: Sequence[ImageState]) -> Design:
        """Show pictures as 8 x 8 fields of mean light for each channel."""
        rows = len(fields["missing"])
        numbers = []
        for column, state in enumerate(states):
            seen = fields["pixels"][:, column, : state.size, : state.size, : state.channels]
            gone = fields["missing"][:, column].astype(bool)
            pooled = np.concatenate(
                [_pooled(seen[start : start + 4096]) for start in range(0, max(1, rows), 4096)]
            )
            pooled[gone] = np.nan
            numbers.append(pooled)
        return Design(np.concatenate(numbers, axis=1), np.empty((rows, 0), np.int32))

    def common(self, state: ImageState) -> bool:
        """Say yes: one network sees the pictures for all members."""
        return True

    def encoder(self, states: Sequence[ImageState], width: int, pairs: int = 0) -> nn.Module:
        """Build a network for each column."""
        from thalweg.blocks.images import Pictures

        looks = [_look(state) for state in states]
        return Pictures(looks, width)

    def sample(self, seed: int, rows: int) -> pa.Array:
        """Make small pictures of bright and dark corners as PNG files, with gaps."""
        random = np.random.default_rng(seed)
        light = random.integers(0, 256, (rows, 2, 2, 1), np.uint8)
        pixels = light.repeat(6, axis=1).repeat(6, axis=2)
        gone = random.random(rows) < 0.05
        files = [None if void else encode_png(one) for one, void in zip(pixels, gone, strict=True)]
        return pa.array(files, pa.large_binary())


def _as_trained(state: ImageState, options: ImageOptions) -> ImageState:
    """Show pictures to a pretrained model as those were that it learned from."""
    from thalweg.blocks.pretrained import describe

    model = str(options.model)
    config = describe(model)
    facts = json.loads(config)
    size = facts.get("image_size")
    if isinstance(size, int) and options.size not in {None, size}:
        raise OptionError(
            f"size={options.size} with the model {model!r}",
            f"size={size}, which it was made for",
            "Leave the size out.",
        )
    channels: Channels = 1 if facts.get("num_channels") == 1 else 3
    mean, std = _preprocessing(model, channels)
    learned = {"channels": channels, "mean": mean, "std": std, "model": model, "config": config}
    size = size if isinstance(size, int) else options.size or PRETRAINED_SIDE
    return state.model_copy(update=learned | {"size": size})


def _preprocessing(model: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Read the light that a model is used to; 0.5 and 0.5 where it does not say so."""
    file = Path(model).expanduser() / "preprocessor_config.json"
    facts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    mean, std = (facts.get(name) or [0.5] * channels for name in ("image_mean", "image_std"))
    return tuple(map(float, mean)), tuple(map(float, std))


def _look(state: ImageState) -> Look:
    """Say what a network must know of a column."""
    from thalweg.blocks.images import Look

    return Look(
        size=state.size,
        channels=state.channels,
        mean=state.mean,
        std=state.std,
        encoder=state.encoder,
        flip=state.flip,
        crop=state.crop,
        colour=state.colour,
        model=state.model,
        config=state.config,
        learns=state.train,
        pooling=state.pooling,
    )


def _all_decoded(array: pa.Array, into: NDArray[np.uint8]) -> Iterator[str | None]:
    """Decode a column into pixels [N, S, S, channels], in threads; say of each cell as `_decoded`.

    Only the pictures at hand are ever held at their full size.
    """
    pieces = (
        (cells_of(array.slice(start, PIECE)), into[start : start + PIECE])
        for start in range(0, len(array), PIECE)
    )
    if len(array) <= PIECE:
        yield from chain.from_iterable(_decoded(*piece) for piece in pieces)
        return
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for reasons in ordered(pool, lambda piece: _decoded(*piece), pieces):
            yield from reasons


def _decoded(cells: Iterable[Cell | None], into: NDArray[np.uint8]) -> list[str | None]:
    """Decode some cells into pixels [N, S, S, channels].

    Returns
    -------
    list
        For each cell None, or why there is no picture: empty where it is missing.
    """
    reasons: list[str | None] = []
    channels: Channels = 1 if into.shape[3] == 1 else 3
    for row, cell in enumerate(cells):
        reason: str | None = None
        if cell is None:
            reason = ""
        else:
            try:
                into[row] = decode(cell, into.shape[1], channels)
            except RefusedError as error:
                reason = str(error)
        reasons.append(reason)
    return reasons


def _tried(cell: Cell | None) -> NDArray[np.uint8] | None:
    """Decode a cell as it is; None where that cannot be."""
    if cell is None:
        return None
    try:
        return decode(cell, None, None)
    except RefusedError:
        return None


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Say whether all channels of a picture [S, S, channels] are alike."""
    return bool((pixels == pixels[:, :, :1]).all())


def _looked(summary: ColumnSummary) -> Learned:
    """Learn from up to 256 pictures; of nothing at all, what most pictures are."""
    cells = summary.cells()[:LOOKED_AT]
    seen = [found for found in map(_tried, cells_of(cells)) if found is not None]
    if present(summary) and not seen:
        raise ColumnError(
            "a column of pictures in which no cell can be read as one",
            "the bytes, paths or base64 of PNG, JPEG, GIF, BMP, WebP or TIFF files",
            "Choose another kind for the column, or leave it out.",
        )
    if not seen:
        return 32.0, 3, (0.5,) * 3, (0.25,) * 3
    channels: Channels = 1 if all(_is_grey(pixels) for pixels in seen) else 3
    # Means of pictures: large ones count no more than small ones.
    each = [np.broadcast_to(one, (*one.shape[:2], 3))[..., :channels] / 255 for one in seen]
    mean = np.mean([one.mean(axis=(0, 1)) for one in each], axis=0)
    square = np.mean([np.square(one).mean(axis=(0, 1)) for one in each], axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    return float(np.median([len(one) for one in seen])), channels, _digits(mean), _digits(std, 0.02)


def _listed(summary: ColumnSummary) -> Learned:
    """Learn from what is known of lists: their lengths and their numbers."""
    lines = summary.items
    points = lines.items
    channels: Channels = 3 if points.sizes.count and points.sizes.mean > 1 else 1
    numbers = (points.items if points.sizes.count else points).numbers
    if not lines.sizes.count or not numbers.count:
        raise ColumnError(
            "a column of lists that are no pictures",
            "lists of height x width or height x width x channels numbers",
            "Choose another kind for the column, or leave it out.",
        )
    scale = 1.0 if numbers.maximum <= 1 else 255.0
    mean, std = np.array([numbers.mean]) / scale, np.array([numbers.deviation]) / scale
    side = min(summary.sizes.mean, lines.sizes.mean)
    return side, channels, _digits(mean) * channels, _digits(std, 0.02) * channels


def _digits(values: NDArray[np.float64], least: float = 0.0) -> tuple[float, ...]:
    """Give numbers to three digits, and none below a least one."""
    return tuple(max(least, round(float(value), 3)) for value in values)


def _pooled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the mean of each of 8 x 8 fields [N, 64 * channels] of pictures [N, S, S, channels]."""
    side = pixels.shape[1]
    edges = np.arange(POOLED) * side // POOLED
    sums = np.add.reduceat(pixels, edges, axis=1, dtype=np.uint32)
    sums = np.add.reduceat(sums, edges, axis=2, dtype=np.uint32)
    widths = np.diff([*edges, side])
    areas = (widths[:, None] * widths[None, :])[None, :, :, None]
    means: NDArray[np.float32] = (sums / areas).astype(np.float32)
    return means.reshape(len(pixels), -1)
