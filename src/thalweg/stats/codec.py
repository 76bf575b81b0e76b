"""What every summary is, and summaries as bytes: JSON, raw arrays, a digest. No pickle, no code."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Self, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError
from thalweg.stats.texts import TextBytes

VERSION: Final = 2
_MAGIC: Final = b"thalweg-summary\n"
_DIGEST: Final = 16
_TYPES: Final = {"<i8": np.int64, "<u8": np.uint64, "<f8": np.float64, "|u1": np.uint8}


@final
@dataclass(slots=True)
class State:
    """Everything that a summary is: plain values and one-dimensional arrays, by name.

    Parameters
    ----------
    values
        JSON-able values.
    arrays
        Arrays of int64, uint64, float64 or uint8.
    """

    values: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def put(self, name: str, part: State) -> None:
        """Take the state of a part in."""
        self.values[name] = part.values
        self.arrays |= {f"{name}/{key}": array for key, array in part.arrays.items()}

    def part(self, name: str) -> State:
        """Give the state of a part back."""
        values = self.values[name]
        if not isinstance(values, dict):
            raise TypeError(name)
        start = f"{name}/"
        arrays = {k.removeprefix(start): a for k, a in self.arrays.items() if k.startswith(start)}
        return State(values, arrays)

    def put_texts(self, name: str, texts: pa.Array) -> None:
        """Take texts or bytes without nulls in."""
        raw = TextBytes.of(texts.cast(pa.large_binary()))
        self.arrays[f"{name}.lengths"] = raw.lengths
        self.arrays[f"{name}.bytes"] = raw.data[:-8]

    def texts(self, name: str, kind: pa.DataType | None = None) -> pa.Array:
        """Give texts back as an array of large_string, where bytes that are no UTF-8 raise.

        ``kind`` may be large_binary: bytes, whatever they are.
        """
        lengths, data = self.arrays[f"{name}.lengths"], self.arrays[f"{name}.bytes"]
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        if (lengths < 0).any() or offsets[-1] != len(data):
            raise ValueError(name)
        buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data.tobytes())]
        texts = pa.Array.from_buffers(kind or pa.large_string(), len(lengths), buffers)
        texts.validate(full=True)
        return texts


class Summary(ABC):
    """Statistics that can be taken apart, sent, and merged in any order."""

    __slots__ = ()

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Take in what another has taken in; the other stays as it was."""

    @abstractmethod
    def state(self) -> State:
        """Give everything that it is. The arrays are not to be changed."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: State) -> Self:
        """Make one of its state.

        Raises
        ------
        KeyError, TypeError, ValueError
            Where the state cannot be.
        """

    def copy(self) -> Self:
        """Give an equal one that changes on its own."""
        return self.from_state(self.state())

    def to_bytes(self) -> bytes:
        """Write it; equal states give equal bytes."""
        state, layout, raws = self.state(), [], []
        for name in sorted(state.arrays):
            array = state.arrays[name]
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            layout.append([name, little.dtype.str, len(little)])
            raws.append(little.tobytes())
        header = {
            "kind": type(self).__name__,
            "version": VERSION,
            "values": state.values,
            "arrays": layout,
        }
        text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
        body = b"".join([_MAGIC, len(text).to_bytes(8, "little"), text, *raws])
        return body + blake2b(body, digest_size=_DIGEST).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises
        ------
        ArtifactError
            Where the bytes are foreign, damaged, of another version or of another summary.
        """
        kind, mend = cls.__name__, "Write it again with to_bytes."
        if not data.startswith(_MAGIC):
            raise ArtifactError("the bytes are no summary", f"a {kind} that Thalweg wrote", mend)
        body, digest = data[:-_DIGEST], data[-_DIGEST:]
        damaged = ArtifactError("the summary is damaged", "bytes as Thalweg wrote them", mend)
        if blake2b(body, digest_size=_DIGEST).digest() != digest:
            raise damaged
        try:
            found, version, state = _parse(body)
            if (found, version) == (kind, VERSION):
                return cls.from_state(state)
        except (ValueError, KeyError, TypeError, IndexError, pa.ArrowException) as error:
            raise damaged from error
        if version != VERSION:
            raise ArtifactError(
                f"the summary is of version {version!r}",
                f"version {VERSION}",
                "Read it with the Thalweg that wrote it, or summarise the data again.",
            )
        raise ArtifactError(f"the bytes are a {found}", f"a {kind}", mend)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # it changes, so it cannot be a key


def _parse(body: bytes) -> tuple[str, int, State]:
    """Take header and arrays apart."""
    start = len(_MAGIC) + 8
    size = int.from_bytes(body[len(_MAGIC) : start], "little")
    header = json.loads(body[start : start + size])
    state, at = State(header["values"]), start + size
    for name, dtype, length in header["arrays"]:
        array = np.frombuffer(body, dtype=_TYPES[dtype], count=length, offset=at)
        state.arrays[name] = array
        at += array.nbytes
    if at != len(body):
        raise ValueError(at)
    return header["kind"], header["version"], state
