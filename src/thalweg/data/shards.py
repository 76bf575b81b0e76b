"""Encoded rows by the block, in memory or on disk: what the loader draws its batches from.

On disk a part is a folder of shards: files of equally large blocks, one behind another. A block
holds the bytes of every field of its rows, and has a checksum, so a block is read in one request
and a damaged one is noticed. Rows are read into memory, not mapped: mapped pages would count as
the process's memory for as long as the system keeps them.
"""

from __future__ import annotations

import json
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import SourceError
from thalweg.core.files import clear_of_disk
from thalweg.data.arrays import Arrays

BLOCK: Final = 1024
"""Rows in a block, the least that is read, shuffled and checked as one: fewer of wide rows."""

BLOCK_BYTES: Final = 1 << 22
"""No block of 16 rows or more takes more."""

SHARD_BYTES: Final = 1 << 28
"""About how large a file becomes."""

DESCRIPTION: Final = "rows.json"
CHECKS: Final = "checks.bin"


class Store(ABC):
    """Encoded rows that can be read by the block."""

    @property
    @abstractmethod
    def sizes(self) -> NDArray[np.int64]:
        """How many rows each block has, int64 [blocks]."""

    @property
    @abstractmethod
    def row_bytes(self) -> int:
        """How many bytes a row takes in memory."""

    @abstractmethod
    def read(self, blocks: NDArray[np.int64]) -> Arrays:
        """Read blocks, by number, in the order asked for, as one.

        Raises
        ------
        SourceError
            Where a block cannot be read or is damaged.
        """

    def __len__(self) -> int:
        return int(self.sizes.sum())


@final
class Held(Store):
    """Rows in memory: one block."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays

    @property
    def sizes(self) -> NDArray[np.int64]:
        """All rows."""
        return np.array([len(self.arrays)], dtype=np.int64)

    @property
    def row_bytes(self) -> int:
        """What the arrays take, by the row."""
        fields = [*self.arrays.target.values()]
        fields += [array for kind in self.arrays.features.values() for array in kind.values()]
        return sum(array.nbytes for array in fields) // max(1, len(self.arrays))

    def read(self, blocks: NDArray[np.int64]) -> Arrays:
        """Give the rows themselves; ``blocks`` is [0]."""
        return self.arrays


@final
@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a block: its name, type, shape of a row, and where its rows begin and end."""

    kind: str
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def to_json(self) -> list[Any]:
        return [self.kind, self.name, self.dtype.str, list(self.shape)]

    @classmethod
    def from_json(cls, given: Sequence[Any]) -> Self:
        dtype = np.dtype(str(given[2]))
        if dtype.kind not in "biuf":
            raise ValueError(given[2])
        return cls(str(given[0]), str(given[1]), dtype, tuple(int(size) for size in given[3]))


_TARGET: Final = ""
"""Stands for the kind in a field of the target."""


def _fields_of(arrays: Arrays) -> list[tuple[_Field, NDArray[Any]]]:
    """List the fields of some rows in an order of their own."""
    named = [
        (kind, name, array)
        for kind, fields in arrays.features.items()
        for name, array in fields.items()
    ]
    named += [(_TARGET, name, array) for name, array in arrays.target.items()]
    return [
        (_Field(kind, name, array.dtype, array.shape[1:]), array) for kind, name, array in named
    ]


def _joined(arrays: Sequence[tuple[_Field, NDArray[Any]]]) -> Arrays:
    """Undo `_fields_of`."""
    features: dict[str, dict[str, NDArray[Any]]] = {}
    target: dict[str, NDArray[Any]] = {}
    for field, array in arrays:
        into = target if field.kind == _TARGET else features.setdefault(field.kind, {})
        into[field.name] = array
    return Arrays(features, target)


@final
class ShardWriter:
    """Writes rows into a folder of shards; `Shards` reads them.

    Parameters
    ----------
    folder
        Where to write; made here. It can be read once `close` has returned. Whoever needs it
        whole or not at all writes into an `atomic_folder`.

    Examples
    --------
    >>> rows = Arrays({"number": {"values": np.ones((3000, 2), np.float32)}})
    >>> with ShardWriter(Path("train")) as writer:
    ...     writer.write(rows)
    >>> Shards(Path("train")).sizes.tolist()
    [1024, 1024, 952]
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fields: list[_Field] = []
        self._waiting: list[Arrays] = []
        self._waits = 0
        self._rows = 0
        self._checks: list[int] = []
        self._file: int | None = None
        with clear_of_disk(folder):
            folder.mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    @property
    def rows(self) -> int:
        """How many rows have come."""
        return self._rows + self._waits

    def write(self, arrays: Arrays) -> None:
        """Take rows [N] in; all have the same fields.

        Raises
        ------
        SourceError
            Where the disk is full.
        """
        fields = [field for field, _ in _fields_of(arrays)]
        self._fields = self._fields or fields
        if fields != self._fields:
            message = "rows with other fields came to a shard"
            raise ValueError(message)
        self._waiting.append(arrays)
        self._waits += len(arrays)
        if self._waits >= self._block:
            whole = Arrays.join(self._waiting)
            upto = self._waits // self._block * self._block
            self._put(whole.take(slice(0, upto)))
            rest = whole.take(slice(upto, None))
            self._waiting, self._waits = [rest], len(rest)

    def close(self) -> None:
        """Write what waits, the checksums and the description."""
        if self._waits:
            self._put(Arrays.join(self._waiting))
            self._waiting, self._waits = [], 0
        self._end_shard()
        with clear_of_disk(self._folder):
            checks = np.array(self._checks, dtype="<u4")
            (self._folder / CHECKS).write_bytes(checks.tobytes())
            description = {
                "rows": self._rows,
                "block": self._block,
                "shard": self._shard_blocks,
                "fields": [field.to_json() for field in self._fields],
                "checks": zlib.crc32(checks.tobytes()),
            }
            sealed = {**description, "seal": _seal(description)}
            (self._folder / DESCRIPTION).write_text(json.dumps(sealed))

    def abort(self) -> None:
        """Close the file; what was written is for the caller to remove."""
        self._end_shard()

    @property
    def _row_bytes(self) -> int:
        return max(1, sum(field.row_bytes for field in self._fields))

    @property
    def _block(self) -> int:
        """How many rows a block has."""
        return min(BLOCK, max(16, BLOCK_BYTES // self._row_bytes))

    @property
    def _shard_blocks(self) -> int:
        """How many blocks a file has."""
        return max(1, SHARD_BYTES // (self._row_bytes * self._block))

    def _put(self, arrays: Arrays) -> None:
        """Write whole blocks, and at the very end a smaller one."""
        found = _fields_of(arrays)
        rows = len(arrays)
        with clear_of_disk(self._folder):
            for start in range(0, rows, self._block):
                pieces = [
                    _bytes_of(np.ascontiguousarray(array[start : start + self._block]))
                    for _, array in found
                ]
                if len(self._checks) % self._shard_blocks == 0:
                    self._begin_shard(len(self._checks) // self._shard_blocks)
                check = 0
                for piece in pieces:
                    check = zlib.crc32(piece, check)
                _write_all(self._file, pieces)
                self._checks.append(check)
        self._rows += rows

    def _begin_shard(self, number: int) -> None:
        self._end_shard()
        path = self._folder / _shard_name(number)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def _end_shard(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


@final
class Shards(Store):
    """Rows on disk, as `ShardWriter` wrote them.

    Parameters
    ----------
    folder
        Where they lie. Its files are opened here and now, so that they can be read to the end
        even if another process removes them meanwhile.

    Raises
    ------
    SourceError
        Where the folder is not whole.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[int] = []
        try:
            facts = json.loads((folder / DESCRIPTION).read_bytes())
            if facts.pop("seal") != _seal(facts):
                raise ValueError(DESCRIPTION)
            self._fields = [_Field.from_json(one) for one in facts["fields"]]
            self._rows, self._block = int(facts["rows"]), int(facts["block"])
            self._shard = int(facts["shard"])
            raw = (folder / CHECKS).read_bytes()
            blocks = -(-self._rows // self._block)
            if zlib.crc32(raw) != facts["checks"] or len(raw) != 4 * blocks:
                raise ValueError(CHECKS)
            self._checks = np.frombuffer(raw, dtype="<u4")
            for number in range(-(-blocks // self._shard)):
                self._files.append(os.open(folder / _shard_name(number), os.O_RDONLY))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            self.close()
            raise _damaged(folder, str(error).splitlines()[0] if str(error) else "") from None

    def close(self) -> None:
        """Close the files; also done when the object goes."""
        while self._files:
            os.close(self._files.pop())

    def __del__(self) -> None:
        self.close()

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Blocks of `BLOCK` rows, the last smaller."""
        sizes = np.full(len(self._checks), self._block, dtype=np.int64)
        if len(sizes):
            sizes[-1] = self._rows - self._block * (len(sizes) - 1)
        return sizes

    @property
    def row_bytes(self) -> int:
        """What a row's fields take together."""
        return sum(field.row_bytes for field in self._fields)

    def read(self, blocks: NDArray[np.int64]) -> Arrays:
        """Read blocks straight into the arrays that they become part of."""
        sizes = self.sizes[blocks]
        ends = np.cumsum(sizes)
        rows = int(ends[-1]) if len(ends) else 0
        arrays = [np.empty((rows, *field.shape), field.dtype) for field in self._fields]
        for block, size, end in zip(blocks.tolist(), sizes.tolist(), ends.tolist(), strict=True):
            self._fill([_bytes_of(a[end - size : end]) for a in arrays], block, size)
        return _joined(list(zip(self._fields, arrays, strict=True)))

    def all(self) -> Arrays:
        """Read everything."""
        return self.read(np.arange(len(self._checks)))

    def _fill(self, pieces: Sequence[memoryview], block: int, size: int) -> None:
        """Read one block into its places and check it."""
        shard, place = divmod(block, self._shard)
        offset = place * self._block * self.row_bytes
        pieces = [piece for piece in pieces if len(piece)]
        try:
            read = os.preadv(self._files[shard], pieces, offset)
        except OSError as error:
            raise _damaged(self._folder, error.strerror or "") from None
        check = 0
        for piece in pieces:
            check = zlib.crc32(piece, check)
        if read != size * self.row_bytes or check != self._checks[block]:
            raise _damaged(self._folder, f"block {block} is cut off or was changed")


def read_all(folder: Path) -> Arrays:
    """Read a folder of shards into memory."""
    shards = Shards(folder)
    try:
        return shards.all()
    finally:
        shards.close()


def _seal(description: Mapping[str, Any]) -> int:
    """Give the checksum of a description."""
    return zlib.crc32(json.dumps(description, sort_keys=True).encode())


def _bytes_of(array: NDArray[Any]) -> memoryview:
    """See a contiguous array as its bytes."""
    return array.reshape(-1).view(np.uint8).data


def _shard_name(number: int) -> str:
    return f"{number:05d}.rows"


def _write_all(file: int | None, pieces: Sequence[memoryview]) -> None:
    """Write pieces behind one another, however few bytes the system takes at a time."""
    if file is None:
        raise AssertionError
    pieces = [piece for piece in pieces if len(piece)]
    written = os.writev(file, pieces)
    for piece in pieces:
        if written >= len(piece):
            written -= len(piece)
            continue
        rest = piece[written:]
        written = 0
        while rest:
            rest = rest[os.write(file, rest) :]


def _damaged(folder: Path, why: str) -> SourceError:
    """Say that encoded rows cannot be read."""
    return SourceError(
        f"the encoded rows in {folder} cannot be read ({why})",
        "the rows as they were written",
        "Remove the folder and start again: they are made anew.",
    )


__all__ = ["BLOCK", "Held", "ShardWriter", "Shards", "Store", "read_all"]
