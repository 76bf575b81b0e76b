"""Tensors of the Open Inference Protocol, as JSON or as bytes behind it, to cells and back."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.serving.http.refusal import BodyError

NUMBERS: Final = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""The protocol's names of numbers, and what they are in bytes."""

BYTES: Final = "BYTES"
HALF: Final = "BF16"  # the upper half of a float32; numpy has none such
DATATYPES: Final = (*NUMBERS, HALF, BYTES)

_PREFIX: Final = struct.Struct("<I")

_FITS: Final[dict[str, frozenset[type]]] = {
    "b": frozenset((bool, type(None))),
    "u": frozenset((int, type(None))),
    "i": frozenset((int, type(None))),
    "f": frozenset((int, float, type(None))),
}
"""What JSON may give for numbers; null stands for a missing cell."""


@final
@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a request.

    Parameters
    ----------
    name, datatype, shape
        As the request says.
    values
        Its values one after the other: an array of numbers, or a list of what JSON gave or of
        texts, and bytes where they are no text or, having a character 0, may be a file.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[Any] | list[Any]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.shape[0]

    @property
    def width(self) -> int:
        """How many values a row has."""
        return math.prod(self.shape[1:])

    def column(self, place: int) -> NDArray[Any] | list[Any]:
        """Give one value of each row."""
        return self.values[place :: self.width] if self.width > 1 else self.values

    def lists(self) -> list[list[Any]]:
        """Give each row's values as a list."""
        cells = self.values if isinstance(self.values, list) else self.values.tolist()
        return [cells[at : at + self.width] for at in range(0, len(cells), self.width)]


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: object) -> Tensor:
    """Read a tensor whose values stand in the JSON, flat or nested.

    Raises
    ------
    BodyError
        Where they are not as many as the shape says, or of another type.
    """
    flat: Any = data
    for _ in shape:
        if not isinstance(flat, list) or not flat or not isinstance(flat[0], list):
            break
        if not set(map(type, flat)) <= {list}:
            break
        flat = [one for inner in flat for one in inner]
    if not isinstance(flat, list) or len(flat) != math.prod(shape):
        count = f"{len(flat):,} values" if isinstance(flat, list) else "no list"
        raise BodyError(
            f"input {name!r} of shape {list(shape)} has {count}", f"{math.prod(shape):,} values"
        )
    kinds = set(map(type, flat))
    if datatype == BYTES:
        fits = kinds <= {str, type(None)}
    elif datatype == HALF:
        fits = False
    else:
        numpy = NUMBERS[datatype]
        fits = kinds <= _FITS[numpy.kind]
        if fits and numpy.kind in "ui":
            bits = 8 * numpy.itemsize
            least = -(2 ** (bits - 1)) if numpy.kind == "i" else 0
            fits = all(one is None or least <= one < least + 2**bits for one in flat)
    if not fits:
        raise BodyError(
            f"input {name!r} holds what is no {datatype}",
            f"values of {datatype}" if datatype != HALF else "BF16 as binary data",
        )
    return Tensor(name, datatype, shape, flat)


def from_bytes(name: str, datatype: str, shape: tuple[int, ...], data: memoryview) -> Tensor:
    """Read a tensor whose values stand behind the JSON.

    Raises
    ------
    BodyError
        Where there are more or less bytes than the shape says.
    """
    count = math.prod(shape)
    if datatype == BYTES:
        return Tensor(name, datatype, shape, _texts(name, count, data))
    numpy = NUMBERS[datatype] if datatype != HALF else np.dtype("<u2")
    if len(data) != count * numpy.itemsize:
        raise BodyError(
            f"input {name!r} of shape {list(shape)} has {len(data):,} bytes",
            f"{count * numpy.itemsize:,} bytes of {datatype}",
        )
    if datatype == "BOOL":
        return Tensor(name, datatype, shape, np.frombuffer(data, np.uint8) != 0)
    values: NDArray[Any] = np.frombuffer(data, numpy)
    if datatype == HALF:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    elif datatype == "FP16":
        values = values.astype(np.float32)
    return Tensor(name, datatype, shape, values)


def _texts(name: str, count: int, data: memoryview) -> list[Any]:
    """Take texts apart, before each of which stands how long it is."""
    found: list[Any] = []
    at = 0
    size = len(data)
    while at + 4 <= size and len(found) < count:
        end = at + 4 + _PREFIX.unpack_from(data, at)[0]
        if end > size:
            break
        value = bytes(data[at + 4 : end])
        try:
            # A file of bytes may happen to be UTF-8; one with a character 0 hardly is a text.
            found.append(value if b"\0" in value else value.decode())
        except UnicodeDecodeError:
            found.append(value)
        at = end
    if len(found) != count or at != size:
        raise BodyError(
            f"input {name!r} has {size:,} bytes that do not hold {count:,} values",
            "each value behind its length in 4 bytes, the lowest first",
        )
    return found


def as_texts(cells: list[Any]) -> list[Any]:
    r"""Give the cells [N] of a column that holds no files: bytes that are UTF-8 as texts.

    Examples
    --------
    >>> as_texts(["a", b"b\0", b"\xff"])
    ['a', 'b\x00', b'\xff']
    """
    if bytes not in set(map(type, cells)):
        return cells
    return [_text(cell) if isinstance(cell, bytes) else cell for cell in cells]


def _text(cell: bytes) -> str | bytes:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell


def is_unicode(text: str) -> bool:
    r"""Say whether a text can be written: JSON may spell half a character.

    Examples
    --------
    >>> is_unicode("K\u00f6ln"), is_unicode("\ud800")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def datatype_of(kind: pa.DataType) -> str:
    """Name what a column of an answer is sent as.

    Examples
    --------
    >>> datatype_of(pa.float64()), datatype_of(pa.string()), datatype_of(pa.list_(pa.string()))
    ('FP64', 'BYTES', 'BYTES')
    """
    names = {"bool": "BOOL", "int64": "INT64", "float": "FP32", "double": "FP64"}
    return names.get(str(kind), BYTES)


def values_of(column: pa.Array, datatype: str) -> NDArray[Any] | list[str]:
    """Give a column's values; null is NaN, 0, false or an empty text, and lists are JSON."""
    if datatype == BYTES:
        cells = column.to_pylist()
        if pa.types.is_nested(column.type):
            return ["" if one is None else json.dumps(one, ensure_ascii=False) for one in cells]
        return ["" if one is None else str(one) for one in cells]
    if column.null_count:
        column = column.fill_null(math.nan if datatype.startswith("FP") else 0)
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


def to_bytes(values: NDArray[Any] | Sequence[str], datatype: str) -> bytes:
    """Write values as they stand behind the JSON.

    Examples
    --------
    >>> list(to_bytes(["a", ""], "BYTES"))
    [1, 0, 0, 0, 97, 0, 0, 0, 0]
    """
    if isinstance(values, np.ndarray):
        return values.astype(NUMBERS[datatype], copy=False).tobytes()
    encoded = [text.encode() for text in values]
    return b"".join(part for one in encoded for part in (_PREFIX.pack(len(one)), one))
