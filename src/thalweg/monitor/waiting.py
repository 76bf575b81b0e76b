"""Rows that wait under a key, in memory or in files that never change once they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError
from thalweg.core.files import atomic_file, clear_of_disk
from thalweg.monitor.slots import ANSWERED, GONE, WAITING, Hashes, Numbers, Slots
from thalweg.stats.hashing import hash_text

STAYS: Final = 5
"""A file that nothing refers to any more is removed so many states later: two more than there are
checkpoints kept, so that none of them lacks a file, even where one could not be written."""

_CHUNKS: Final = 16  # memory holds so many full chunks
_KEY, _SLOT, _TIME = -3, -2, -1  # the columns behind the caller's own, by their places
_OWN: Final = 3


@final
@dataclass(frozen=True, slots=True)
class Keys:
    """Keys [N] without nulls, and their hashes, found once."""

    cells: pa.LargeBinaryArray
    hashes: Hashes

    @classmethod
    def of(cls, cells: pa.LargeBinaryArray) -> Keys:
        """Hash keys [N]."""
        return cls(cells, hash_text(cells))

    def __len__(self) -> int:
        return len(self.hashes)

    def take(self, places: Numbers) -> Keys:
        """Choose some [M], in order; all of them are the same keys."""
        if len(places) == len(self):
            return self
        return Keys(self.cells.take(pa.array(places)), self.hashes[places])

    def first(self) -> Numbers:
        """Say where each key comes first, in order."""
        codes = self._codes()
        return np.arange(len(self)) if codes is None else _firsts(codes)

    def last(self) -> Numbers:
        """Say where each key comes last, in order."""
        codes = self._codes()
        if codes is None:
            return np.arange(len(self))
        return len(codes) - 1 - _firsts(codes[::-1])[::-1]

    def _codes(self) -> Numbers | None:
        """Give equal keys one number; None where no two are equal."""
        if len(np.unique(self.hashes)) == len(self.hashes):
            return None
        codes: Numbers = self.cells.dictionary_encode().indices.to_numpy()
        return codes


def _firsts(codes: Numbers) -> Numbers:
    return np.sort(np.unique(codes, return_index=True)[1])


@final
@dataclass(slots=True)
class _Chunk:
    """Rows in order of their slots: in memory, or in a file."""

    first: int
    shape: tuple[int, ...]
    rows: int = 0
    waiting: int = 0
    nbytes: int = 0
    pieces: list[pa.RecordBatch] = field(default_factory=list)
    file: Path | None = None
    digest: str = ""

    def add(self, batch: pa.RecordBatch) -> None:
        """Put rows that wait behind the others."""
        self.pieces.append(batch)
        self.rows += batch.num_rows
        self.waiting += batch.num_rows
        self.nbytes += batch.nbytes
        pieces = self.pieces
        while len(pieces) > 1 and 2 * pieces[-1].num_rows > pieces[-2].num_rows:
            # As in a binary counter: there are few pieces, and each row is copied rarely.
            pieces[-2:] = [pa.concat_batches(pieces[-2:])]

    def parts(self) -> list[pa.RecordBatch]:
        """Give all rows in a few pieces; those of a file are read where they are looked at."""
        if self.file is None:
            return self.pieces
        with pa.memory_map(str(self.file)) as file:
            return [pa.ipc.open_file(file).get_batch(0)]

    def batch(self) -> pa.RecordBatch:
        """Give all rows in one piece."""
        parts = self.parts()
        if len(parts) > 1:
            self.pieces = parts = [pa.concat_batches(parts)]
        return parts[0]

    def slots(self) -> Numbers:
        """Give the slots [N] of its rows, in order."""
        found: Numbers = _own(self.batch(), _SLOT).to_numpy()
        return found


@final
class Waiting:
    """Rows by key, append-only: what is taken is marked, and a chunk goes when nothing in it waits.

    Parameters
    ----------
    name
        The beginning of its files' names.
    folder
        Where chunks go that find no room in memory.
    most_bytes
        So much of the rows is held in memory.
    """

    def __init__(self, name: str, folder: Path, most_bytes: int) -> None:
        self._name = name
        self._folder = folder
        self._most = most_bytes
        self._slots = Slots()
        self._chunks: list[_Chunk] = []  # the last one in memory takes what comes
        self._leaving: dict[str, int] = {}  # files that no chunk has -> how many states ago

    def __len__(self) -> int:
        return sum(chunk.waiting for chunk in self._chunks)

    @property
    def nbytes(self) -> int:
        """How much memory the index takes, and the rows that are not in files."""
        return self._slots.nbytes + self._held

    @property
    def _held(self) -> int:
        return sum(chunk.nbytes for chunk in self._chunks if chunk.file is None)

    def put(
        self,
        keys: Keys,
        times: Numbers,
        rows: pa.RecordBatch,
        shape: tuple[int, ...],
    ) -> Numbers:
        """Let rows [N] wait under keys [N], of which none waits, and give their slots [N].

        ``shape`` goes with the rows: those of one chunk have one.
        """
        first = self._slots.add(keys.hashes, times)
        slots = np.arange(first, first + len(keys))
        columns = [*rows.columns, keys.cells, pa.array(slots), pa.array(times)]
        names = [*rows.schema.names, " key", " slot", " time"]
        batch = pa.RecordBatch.from_arrays(columns, names)
        chunk = self._chunks[-1] if self._chunks else None
        if (
            chunk is None
            or chunk.file is not None
            or chunk.shape != shape
            or chunk.nbytes * _CHUNKS >= self._most
            or not chunk.pieces[0].schema.equals(batch.schema)
        ):
            chunk = _Chunk(first, shape)
            self._chunks.append(chunk)
        chunk.add(batch)
        self._make_room()
        return slots

    def note(self, keys: Keys, times: Numbers) -> None:
        """Know that keys [N] were answered, though their rows never waited here."""
        first = self._slots.add(keys.hashes, times)
        self._slots.become(np.arange(first, first + len(keys)), ANSWERED)

    def find(self, keys: Keys) -> tuple[Numbers, NDArray[np.bool_]]:
        """Look keys [M] up.

        Returns
        -------
        tuple
            int64 [M]: the slot that waits under each, -1 for none; and bool [M]: whether what
            waited under it was answered. Of answered ones the hash alone is left to compare.
        """
        found = np.full(len(keys), -1)
        answered = np.zeros(len(keys), bool)
        asking, slots = self._slots.candidates(keys.hashes)
        if not len(slots):
            return found, answered
        states = self._slots.states(slots)
        answered[asking[states == ANSWERED]] = True
        asking, slots = asking[states == WAITING], slots[states == WAITING]
        for _, batch, places, inside in self._parts(slots):
            asked = keys.cells.take(pa.array(asking[places]))
            same = pc.equal(_own(batch, _KEY).take(pa.array(inside)), asked)
            exact = places[same.to_numpy(zero_copy_only=False)]
            found[asking[exact]] = slots[exact]
        return found, answered & (found < 0)

    def get(self, slots: Numbers) -> Iterator[tuple[pa.RecordBatch, Numbers, tuple[int, ...]]]:
        """Give the rows of slots [H] that wait, a part at a time.

        Yields
        ------
        tuple
            Some rows [K], the places of their slots among those asked for, and their shape.
        """
        for chunk, batch, places, inside in self._parts(slots):
            own = batch.select(list(range(batch.num_columns - _OWN)))
            yield own.take(pa.array(inside)), places, chunk.shape

    def times(self, slots: Numbers) -> Numbers:
        """Give the times of slots [H] that wait."""
        return self._slots.times(slots)

    def answer(self, slots: Numbers) -> None:
        """Take slots [H] out; until they expire it is known that they were answered."""
        self._release(slots)
        self._slots.become(slots, ANSWERED)

    def drop(self, slots: Numbers) -> None:
        """Take slots [H] out as if they had never been there."""
        self._release(slots)
        self._slots.become(slots, GONE)

    def expire(self, moment: int) -> int:
        """Forget what is older than a moment, and say how many rows waited."""
        late = self._slots.older(moment)
        self._release(late)
        return len(late)

    def state(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Give all there is: plain JSON and tables. Files are referred to by name and digest."""
        self._sweep()
        tables: dict[str, pa.Table] = {}
        chunks, waits = [], []
        for chunk in self._chunks:
            bits = np.packbits(self._slots.states(chunk.slots()) == WAITING)
            waits.append(bits.tobytes())
            told: dict[str, Any] = {"first": chunk.first, "shape": list(chunk.shape)}
            if chunk.file is None:
                told["table"] = f"{self._name}-rows-{len(tables)}"
                tables[told["table"]] = pa.Table.from_batches([chunk.batch()])
            else:
                told |= {"file": chunk.file.name, "digest": chunk.digest, "bytes": chunk.nbytes}
            chunks.append(told)
        slots, hashes, times = self._slots.answered()
        answered = {"slot": slots, "hash": hashes, "time": times}
        tables[f"{self._name}-answered"] = pa.table(answered)
        tables[f"{self._name}-waits"] = pa.table({"bits": pa.array(waits, pa.large_binary())})
        facts = {"end": self._slots.end, "chunks": chunks, "leaving": dict(self._leaving)}
        return facts, tables

    def restore(self, facts: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> None:
        """Be what `state` gave.

        Raises
        ------
        ArtifactError
            Where a file is missing or is not what it was.
        """
        answered = tables[f"{self._name}-answered"]
        slots = answered.column("slot").to_numpy()
        firsts = [int(slots[0])] if len(slots) else []
        firsts += [told["first"] for told in facts["chunks"]]
        self._slots = Slots(min(firsts, default=facts["end"]), facts["end"])
        self._leaving = dict(facts["leaving"])
        hashes, times = answered.column("hash").to_numpy(), answered.column("time").to_numpy()
        self._slots.rebuild(slots, hashes, times, ANSWERED)
        bits = tables[f"{self._name}-waits"].column("bits").to_pylist()
        self._chunks = []
        for told, waits in zip(facts["chunks"], bits, strict=True):
            chunk = _Chunk(told["first"], tuple(told["shape"]))
            if "file" in told:
                chunk.file, chunk.digest = self._folder / told["file"], told["digest"]
                _require_whole(chunk.file, chunk.digest)
                batch = chunk.batch()
                chunk.rows, chunk.nbytes = batch.num_rows, told["bytes"]
            else:
                batch = tables[told["table"]].combine_chunks().to_batches()[0]
                chunk.add(batch)
            there = np.unpackbits(np.frombuffer(waits, np.uint8), count=chunk.rows).astype(bool)
            self._chunks.append(chunk)
            chunk.waiting = int(there.sum())
            some = batch.filter(pa.array(there))
            slots, times = _own(some, _SLOT).to_numpy(), _own(some, _TIME).to_numpy()
            self._slots.rebuild(slots, hash_text(_own(some, _KEY)), times, WAITING)

    def _parts(self, slots: Numbers) -> Iterator[tuple[_Chunk, pa.RecordBatch, Numbers, Numbers]]:
        """Find slots [H] that wait: their chunk, some rows, which of them, and where in these."""
        if not len(slots):
            return
        for number, places in _groups(self._where(slots)):
            chunk = self._chunks[number]
            pieces = chunk.parts()
            own = [_own(piece, _SLOT).to_numpy() for piece in pieces]
            firsts = np.array([piece[0] for piece in own])
            for part, some in _groups(np.searchsorted(firsts, slots[places], "right") - 1):
                chosen = places[some]
                yield chunk, pieces[part], chosen, np.searchsorted(own[part], slots[chosen])

    def _where(self, slots: Numbers) -> Numbers:
        """Say in which chunks slots [H] lie."""
        firsts = np.fromiter((chunk.first for chunk in self._chunks), np.int64)
        found: Numbers = np.searchsorted(firsts, slots, "right") - 1
        return found

    def _release(self, slots: Numbers) -> None:
        """Let go of rows that wait no longer, and of chunks in which none does."""
        if not len(slots):
            return
        for place, number in zip(*np.unique(self._where(slots), return_counts=True), strict=True):
            self._chunks[place].waiting -= int(number)
        for chunk in self._chunks:
            if not chunk.waiting and chunk.file is not None:
                self._leaving[chunk.file.name] = 0
        self._chunks = [chunk for chunk in self._chunks if chunk.waiting]

    def _make_room(self) -> None:
        """Keep to the memory allowed: forget rows that do not wait, then write the oldest chunk."""
        while self._held > self._most:
            inside = [chunk for chunk in self._chunks if chunk.file is None]
            sparse = next((one for one in inside if 2 * one.waiting < one.rows), None)
            if sparse is not None:
                self._compact(sparse)
            else:
                self._write(inside[0])

    def _compact(self, chunk: _Chunk) -> None:
        """Keep the rows of a chunk that wait, and put them to the chunk before where they fit."""
        waits = self._slots.states(chunk.slots()) == WAITING
        batch = chunk.batch().filter(pa.array(waits))
        place = self._chunks.index(chunk)
        before = self._chunks[place - 1] if place else None
        fresh = _Chunk(chunk.first, chunk.shape)
        if (
            before is not None
            and before.file is None
            and before.shape == chunk.shape
            and before.nbytes + batch.nbytes <= self._most // _CHUNKS
            and before.batch().schema.equals(batch.schema)
        ):
            fresh = before
            del self._chunks[place]
        else:
            self._chunks[place] = fresh
        fresh.add(batch)

    def _write(self, chunk: _Chunk) -> None:
        """Put a chunk into a file named by what is in it: to write it again changes nothing."""
        batch = chunk.batch()
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_file(buffer, batch.schema) as writer:
            writer.write_batch(batch)
        content = buffer.getvalue()
        chunk.digest = hashlib.sha256(content).hexdigest()
        path = self._folder / f"{self._name}-{chunk.first:015d}-{chunk.digest[:16]}.arrow"
        if not (path.exists() and _digest(path) == chunk.digest):
            with clear_of_disk(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as building:
                building.write_bytes(content)
        self._leaving.pop(path.name, None)
        chunk.file, chunk.pieces = path, []

    def _sweep(self) -> None:
        """Remove files that nothing has referred to for long enough: see `STAYS`."""
        self._leaving = {name: age + 1 for name, age in self._leaving.items()}
        for name in [name for name, age in self._leaving.items() if age > STAYS]:
            (self._folder / name).unlink(missing_ok=True)
            del self._leaving[name]


def _groups(numbers: Numbers) -> Iterator[tuple[int, Numbers]]:
    """Give each number of an array [N], and the places where it stands."""
    order = np.argsort(numbers, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
        yield int(numbers[places[0]]), places


def _own(batch: pa.RecordBatch, place: int) -> pa.Array:
    """Give one of the columns behind the caller's own."""
    return batch.column(batch.num_columns + place)


def _require_whole(path: Path, digest: str) -> None:
    """Check that a file is what it was."""
    if not path.exists():
        given = f"{path} is not there"
    elif _digest(path) != digest:
        given = f"{path} differs from its digest"
    else:
        return
    raise ArtifactError(
        given,
        "the file that predictions wait in",
        "Restore it, or start with another --state; those predictions will not be learned from.",
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
