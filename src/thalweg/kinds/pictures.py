"""Pictures: files of many formats, texts that spell them and lists of numbers as pixels.

A picture's size is read from its header before anything is decoded, and only a few common formats
are tried, each by its own reader: nothing here runs a program, asks for a network or relies on a
setting of the whole process.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import ColumnError
from thalweg.kinds.cells import is_text
from thalweg.stats.arrays import plain
from thalweg.stats.parsing import is_missing_text

if TYPE_CHECKING:
    from PIL.Image import Image

Channels = Literal[1, 3]
Cell = bytes | str | NDArray[Any]

MOST_PIXELS: Final = 64_000_000
"""Larger pictures are refused: a file of a few kilobytes may claim gigabytes."""

BROKEN: Final = "no picture that can be read"
TOO_LARGE: Final = f"a picture of more than {MOST_PIXELS // 1_000_000} megapixels"

SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
"""How files begin; WebP, which begins like sounds do, is told apart by its twelfth byte."""

SUFFIXES: Final = r"(?i)\.(png|jpe?g|gif|bmp|webp|tiff?)\s*$"
"""How texts end that name a picture."""

SPELT: Final = ("data:image/", "iVBORw0KGgo", "/9j/", "R0lGOD")
"""How texts begin that spell a picture: as a data URI, or PNG, JPEG and GIF in base64."""

_ORIENTATION: Final = 0x0112


class RefusedError(ValueError):
    """A cell that holds no picture, or one that is not to be opened; the message says why."""


def format_of(data: bytes) -> str | None:
    """Name a file's format by its first bytes; None where it is none of ours.

    Examples
    --------
    >>> format_of(b"GIF89a"), format_of(b"RIFF0000WAVE")
    ('GIF', None)
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for start, name in SIGNATURES if data.startswith(start)), None)


def cells_of(array: pa.Array) -> Iterator[Cell | None]:
    """Give a column's cells one by one, a missing or an empty one as None.

    Raises
    ------
    ColumnError
        Where cells of this Arrow type can never be pictures.
    """
    types = pa.types
    array = plain(array)
    if types.is_dictionary(array.type):
        array = plain(array.dictionary_decode())
    kind = array.type
    if types.is_null(kind):
        return iter([None] * len(array))
    if is_text(kind):
        gone = is_missing_text(array) | array.is_null().to_numpy(zero_copy_only=False)
        return (
            None if missing else cell.as_py() for cell, missing in zip(array, gone, strict=True)
        )
    if "binary" in str(kind):
        return (cell.as_py() or None for cell in array)
    inner = kind
    depth = 0
    while _is_list(inner):
        inner, depth = inner.value_type, depth + 1
    if depth not in {2, 3} or not (types.is_integer(inner) or types.is_floating(inner)):
        raise ColumnError(
            f"a column of {kind} as pictures",
            "the bytes of picture files, their base64, or lists of height x width (x channels)",
            "Choose another kind for the column, or leave it out.",
        )
    return (_nested(cell.values, depth) if cell.is_valid and len(cell) else None for cell in array)


def decode(cell: Cell, size: int | None, channels: Channels | None) -> NDArray[np.uint8]:
    """Decode a picture to uint8 [side, side, channels].

    The shorter side is scaled to ``size`` and the middle is cut out. Turned photographs are set
    upright, what is transparent becomes white, and of 16 bits the upper 8 are kept.

    Parameters
    ----------
    cell
        A file's bytes, their base64 or data URI, or pixels [H, W] or [H, W, 1, 3 or 4]: integers
        from 0 to 255, or real numbers from 0 to 1 where none is above 1.
    size
        The side; None for the picture's shorter one, at most 64.
    channels
        1 for grey, 3 for colour; None for what the picture has.

    Raises
    ------
    RefusedError
        Where the picture cannot be read or is too large.
    """
    if isinstance(cell, str):
        cell = _spelt(cell)
    if isinstance(cell, np.ndarray):
        image = _from_pixels(cell)
        return _fitted(image, size, channels)
    name = format_of(cell)
    if name is None:
        raise RefusedError(BROKEN)
    try:
        with _opened(cell, name) as image:
            _require_small(*image.size)
            return _fitted(_flat(_upright(_drafted(image, size, channels))), size, channels)
    except RefusedError:
        raise
    # A reader meets damaged files with errors of any class, from its own to IndexError.
    except Exception:
        raise RefusedError(BROKEN) from None


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Write pixels [H, W, 1 or 3] as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(flat)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _nested(values: pa.Array, depth: int) -> NDArray[Any]:
    """Give nested lists [H, W] or [H, W, channels] as an array; of odd lengths or nulls: empty."""
    shape = [len(values)]
    for _ in range(depth - 1):
        lengths = pc.unique(pc.list_value_length(values))
        if values.null_count or len(lengths) != 1:
            return np.empty(0)
        shape.append(lengths[0].as_py())
        values = values.flatten()
    if values.null_count:
        return np.empty(0)
    flat: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return flat.reshape(shape)


def _spelt(text: str) -> bytes:
    """Read a data URI or base64."""
    text = text.strip()
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise RefusedError(BROKEN)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(BROKEN) from None


def _from_pixels(pixels: NDArray[Any]) -> Image:
    """Make a picture of numbers [H, W] or [H, W, channels]."""
    from PIL import Image

    formed = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in {1, 3, 4})
    if not formed or not pixels.size:
        raise RefusedError(BROKEN)
    _require_small(pixels.shape[1], pixels.shape[0])
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return _flat(Image.fromarray(_bytes(pixels)))


def _bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Give numbers as bytes: those from 0 to 1 scaled to 255, others clipped."""
    if pixels.dtype.kind == "f":
        values = np.nan_to_num(pixels.astype(np.float64), nan=0.0, posinf=255.0, neginf=0.0)
        pixels = np.rint(values * 255 if values.max() <= 1 else values)
    return np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8))


def _require_small(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise RefusedError(BROKEN)
    if width * height > MOST_PIXELS:
        raise RefusedError(TOO_LARGE)


def _opened(data: bytes, name: str) -> Image:
    """Read a file's header, no more.

    Each format's own reader is called, for ``Image.open`` warns of large pictures, and whether a
    warning is an error is up to the whole process.
    """
    from PIL import (
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    readers: dict[str, Callable[[io.BytesIO], Image]] = {
        "BMP": BmpImagePlugin.BmpImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
    }
    _require_small(*_claimed(data, name))
    return readers[name](io.BytesIO(data))


def _claimed(data: bytes, name: str) -> tuple[int, int]:
    """Say how large a file claims to be, where its reader would not say so before it decodes."""
    if name == "WEBP" and len(data) >= 30:
        match data[12:16]:
            case b"VP8X":
                width = int.from_bytes(data[24:27], "little") + 1
                return width, int.from_bytes(data[27:30], "little") + 1
            case b"VP8 ":
                width, height = struct.unpack("<HH", data[26:30])
                return width & 0x3FFF, height & 0x3FFF
            case b"VP8L":
                bits = int.from_bytes(data[21:25], "little")
                return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == "GIF" and len(data) >= 10:
        width, height = struct.unpack("<HH", data[6:10])
        return max(1, width), max(1, height)
    return 1, 1


def _drafted(image: Image, size: int | None, channels: Channels | None) -> Image:
    """Let a JPEG be decoded at an eighth, a quarter or half of its size where that is enough."""
    if image.format == "JPEG" and size is not None and min(image.size) >= 4 * size:
        image.draft("L" if channels == 1 else "RGB", (2 * size, 2 * size))
    image.load()
    return image


def _flat(image: Image) -> Image:
    """Give a picture as grey or colour of 8 bits, what is transparent as white."""
    from PIL import Image as Pillow

    if image.mode in {"L", "RGB"} and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Pillow.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in {"I", "F"}:
        values = np.asarray(image).astype(np.float64)
        return Pillow.fromarray(_bytes(values / 257 if values.max() > 255 else values))
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        clear = image.convert("RGBA")
        ground = Pillow.new("RGBA", clear.size, "white")
        grey = image.mode in {"1", "L", "LA", "La"}
        return Pillow.alpha_composite(ground, clear).convert("L" if grey else "RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _upright(image: Image) -> Image:
    """Turn a photograph as its camera says it was held."""
    from PIL import ImageOps

    if "exif" in image.info or image.format == "TIFF":
        try:
            turned = image.getexif().get(_ORIENTATION, 1) != 1
        except Exception:  # what a camera wrote must not cost the picture
            return image
        return ImageOps.exif_transpose(image) if turned else image
    return image


def _fitted(image: Image, size: int | None, channels: Channels | None) -> NDArray[np.uint8]:
    """Scale a grey or colour picture's shorter side, cut out its middle; uint8 [S, S, channels]."""
    from PIL.Image import Resampling

    if channels is not None:
        mode = "L" if channels == 1 else "RGB"
        image = image if image.mode == mode else image.convert(mode)
    width, height = image.size
    side = min(width, height)
    size = min(side, 64) if size is None else size
    if (width, height) != (size, size):
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Resampling.BILINEAR, box, reducing_gap=3.0)
    pixels = np.asarray(image)
    return pixels.reshape(size, size, -1)
