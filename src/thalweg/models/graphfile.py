"""What an ONNX file may do, read from its bytes alone: no other file, no foreign code.

ONNX Runtime reads tensors from other files where a graph says so, and looks for operators of
domains that it does not know itself. A graph of ours does neither, so one that does is refused
before the runtime sees it. The file is a protocol buffer: fields of a number and a length, of which
only those that lead to nodes and tensors are opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

DOMAINS: Final = frozenset((b"", b"ai.onnx", b"ai.onnx.ml"))
"""Where operators may come from: what ONNX itself says."""

DEEPEST: Final = 16
"""How deep graphs may stand in nodes of others."""

_MODEL: Final = "model"
_GRAPH: Final = "graph"
_NODE: Final = "node"
_ATTRIBUTE: Final = "attribute"
_TENSOR: Final = "tensor"
_SPARSE: Final = "sparse tensor"
_OPSET: Final = "opset"

_INSIDE: Final = MappingProxyType(
    {
        _MODEL: {7: _GRAPH, 8: _OPSET},
        _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
        _NODE: {5: _ATTRIBUTE},
        _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
        _SPARSE: {1: _TENSOR, 2: _TENSOR},
        _TENSOR: {},
        _OPSET: {},
    }
)
"""What of a message is opened: the number of a field -> what it holds."""

_FORBIDDEN: Final = MappingProxyType(
    {
        (_MODEL, 20): "training steps",
        (_MODEL, 25): "functions of its own",
        (_TENSOR, 13): "tensors in other files",
        (_TENSOR, 14): "tensors in other files",
    }
)
_DOMAIN: Final = MappingProxyType({_NODE: 7, _OPSET: 1})

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def refusal(content: bytes) -> str | None:
    """Say why a graph must not be loaded; None where it may.

    Parameters
    ----------
    content
        The bytes of an ONNX file.

    Examples
    --------
    >>> refusal(b"what is this")
    'is no ONNX file'
    """
    try:
        return _refusal(memoryview(content), _MODEL, 0)
    except (IndexError, ValueError):
        return "is no ONNX file"


def _refusal(content: memoryview, what: str, depth: int) -> str | None:
    """Look into one message; see `refusal`."""
    if depth > DEEPEST:
        return "holds graphs within graphs without end"
    inside = _INSIDE[what]
    for number, value in _fields(content):
        forbidden = _FORBIDDEN.get((what, number))
        # What is 0 is the default: a tensor that lies in the file itself.
        if forbidden is not None and value != 0:
            return f"holds {forbidden}"
        if not isinstance(value, memoryview):
            continue
        if _DOMAIN.get(what) == number and value.tobytes() not in DOMAINS:
            return f"asks for operators of {value.tobytes().decode(errors='replace')[:80]!r}"
        if number in inside:
            found = _refusal(value, inside[number], depth + 1)
            if found is not None:
                return found
    return None


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Give the fields of a message: bytes as they are, whole numbers as numbers."""
    place, end = 0, len(content)
    while place < end:
        tag, place = _varint(content, place)
        kind = tag & 7
        if kind == _VARINT:
            value, place = _varint(content, place)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, place = _varint(content, place)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            message = "no such field"
            raise ValueError(message)
        if size > end - place:
            message = "cut short"
            raise ValueError(message)
        yield tag >> 3, content[place : place + size]
        place += size


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """Read a whole number, and say where it ends."""
    value = shift = 0
    while shift < 70:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    message = "no such number"
    raise ValueError(message)
