"""Large tables: one pass to fit, one pass to encode onto the disk, in memory that does not grow.

Each row is parted by itself, by its hash or its time, so that the first pass can sum up the
training rows as it goes. What part a row belongs to is written down, a byte a row: the second
pass reads only the columns that are used. Both results are kept in a cache: the summary under
what it was made of, the encoded rows under that and the schema.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from thalweg.core.files import clear_of_disk
from thalweg.core.progress import Progress
from thalweg.core.threads import ordered
from thalweg.data.arrays import Arrays
from thalweg.data.cache import Cache, key_of
from thalweg.data.copies import Hashes, LowestHashes
from thalweg.data.parts import Part, Wishes, class_counts
from thalweg.data.passes import (
    Drawn,
    Parted,
    Piece,
    batch_rows,
    empty,
    encode_piece,
    fit_curved,
    row_bytes,
    time_reader,
    walk,
)
from thalweg.data.schema import Schema
from thalweg.data.shards import Shards, ShardWriter, read_all
from thalweg.data.split import NAMES, TEST, TRAIN, VALIDATION, Split
from thalweg.sources import Reject, Source
from thalweg.sources.rejects import RejectsFile, reject_writer
from thalweg.stats import ColumnSummary, TableSummary
from thalweg.stats.feed import feed, thread_pool
from thalweg.stats.hashing import RowHasher, hash_values

FORMAT: Final = 2
"""Of what lies in the cache; with another format nothing in it is found."""

FACTS: Final = "facts.json"
SUMMARY: Final = "summary.bin"
PARTS: Final = "parts.bin"
TRAINING: Final = "training.bin"
REJECTS: Final = "rejects.ndjson"
RAW: Final = "test.arrow"
_SAMPLE: Final = "sample"


def spill(source: Source, wishes: Wishes, split: Split, cache: Cache, progress: Progress) -> Parted:
    """Split, fit and encode a large table.

    Parameters
    ----------
    source
        The rows; it gives the same ones each time.
    wishes
        The target and what was said of the columns.
    split
        How rows are parted.
    cache
        Where what is made lies, and is found again.
    progress
        Told of every pass.
    """
    made_of = (version("thalweg"), FORMAT, source.fingerprint(), split.to_json())
    fitted = _Fitted.load(cache, key_of("fit", *made_of)) or _fit(
        source, split, cache, key_of("fit", *made_of), progress
    )
    schema = fit_curved(source, fitted.summary, wishes, split, fitted.parts, progress)
    key = key_of("rows", *made_of, schema.to_json())
    folder = cache.find(key)
    if folder is None:
        _encode(source, schema, fitted, cache, key, progress)
        folder = cache.folder / key
    else:
        progress.note(f"the encoded rows were found in {folder}")
    return _load(folder, schema, fitted)


@final
class _CodesFile:
    """Which part each row belongs to, a byte a row in a file: `thalweg.data.passes.Codes`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rows = path.stat().st_size

    def __del__(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, rows: slice) -> NDArray[np.int8]:
        first, last, _ = rows.indices(self._rows)
        return np.frombuffer(os.pread(self._file.fileno(), last - first, first), np.int8)


@final
@dataclass(frozen=True, slots=True)
class _Fitted:
    """What the first pass found.

    Parameters
    ----------
    summary
        The statistics of the training rows.
    parts
        int8 [N]: which part each row belongs to; it lies on the disk.
    rows
        How many rows each part has.
    training
        What the training rows hold.
    rejects
        The file of the rows that could not be read.
    """

    summary: TableSummary
    parts: _CodesFile
    rows: Mapping[int, int]
    training: LowestHashes
    rejects: Path

    @classmethod
    def load(cls, cache: Cache, key: str) -> _Fitted | None:
        """Find what an earlier run found."""
        folder = cache.find(key)
        if folder is None:
            return None
        facts = json.loads((folder / FACTS).read_text())
        return cls(
            TableSummary.from_bytes((folder / SUMMARY).read_bytes()),
            _CodesFile(folder / PARTS),
            {int(code): rows for code, rows in facts["rows"].items()},
            LowestHashes.from_bytes((folder / TRAINING).read_bytes()),
            folder / REJECTS,
        )


def _fit(source: Source, split: Split, cache: Cache, key: str, progress: Progress) -> _Fitted:
    """Sum up the training rows in one pass, and write down which part each row belongs to."""
    summary = TableSummary()
    counts: Counter[int] = Counter()
    known = LowestHashes()
    with cache.building(key) as folder, thread_pool() as pool:
        order = None if split.column is None else _Order.find(source, split, progress)
        size = batch_rows(source)

        hasher = RowHasher()

        def training() -> Iterator[tuple[pa.RecordBatch, Hashes]]:
            with (folder / PARTS).open("wb") as file, reject_writer(folder / REJECTS) as reject:
                for batch in source.batches(size=size):
                    reject(batch.rejects)
                    rows = batch.rows
                    if not rows.num_rows:
                        continue
                    hashes = hasher.hash(rows, pool)
                    where = _place(rows, hashes, split, order)
                    with clear_of_disk(folder):
                        file.write(where.tobytes())
                    counts.update(dict(enumerate(np.bincount(where).tolist())))
                    learns = where == TRAIN
                    known.update(hashes[learns])
                    progress.advance(int((~learns).sum()))
                    yield rows.filter(pa.array(learns)), hashes[learns]

        progress.start("fit", source.length(), "rows")
        for taken in feed(summary, training(), pool):
            progress.advance(taken)
        progress.stop()
        if not counts.total():
            raise empty(source)
        split.require_all(counts)
        (folder / FACTS).write_text(json.dumps({"rows": {code: counts[code] for code in NAMES}}))
        (folder / TRAINING).write_bytes(known.to_bytes())
        (folder / SUMMARY).write_bytes(summary.to_bytes())
    found = _Fitted.load(cache, key)
    if found is None:
        raise AssertionError
    return found


@final
@dataclass(frozen=True, slots=True)
class _Order:
    """The column of a split by groups or by time: how it is read and, of times, where it is cut."""

    column: str
    read: Callable[[pa.Array], NDArray[Any]]
    edges: tuple[float, float] | None

    @classmethod
    def find(cls, source: Source, split: Split, progress: Progress) -> _Order:
        """Find the times that cut off the shares of the latest rows, in a pass of its own."""
        summary = ColumnSummary()
        if split.column is None:
            raise AssertionError
        if split.method != "time":
            return cls(split.column, hash_values, None)
        progress.start("order", source.length(), "rows")
        for batch in source.batches([split.column]):
            summary.update(batch.rows.column(0))
            progress.advance(batch.rows.num_rows)
        progress.stop()
        times, read = time_reader(split.column, summary)
        shares = split.test, split.test + split.held_out(summary.rows)
        latest = [float(times.quantile(1 - share)) for share in shares]
        return cls(split.column, read, (latest[0], latest[1]))


def _place(
    rows: pa.RecordBatch, hashes: Hashes, split: Split, order: _Order | None
) -> NDArray[np.int8]:
    """Part the rows of a batch."""
    if order is None:
        return split.part_apart(hashes, None, None)
    values = order.read(rows.column(order.column))
    if order.edges is None:
        return split.part_apart(values, None, None)
    return split.part_apart(hashes, values, order.edges)


def _encode(
    source: Source,
    schema: Schema,
    fitted: _Fitted,
    cache: Cache,
    key: str,
    progress: Progress,
) -> None:
    """Encode the training rows onto the disk, and of each part those that stay in memory."""
    wanted = schema.wanted
    left_out: dict[int, Counter[str]] = {code: Counter() for code in NAMES}
    counts = np.zeros(0, dtype=np.int64)
    row = row_bytes(schema)
    size = batch_rows(source, row, most=65_536)
    drawn = Drawn(fitted.rows, row)

    def encoded(one: tuple[int, pa.RecordBatch, NDArray[np.int8]]) -> _Batch:
        return _encoded(schema, one, drawn, source)

    with (
        cache.building(key) as folder,
        thread_pool() as pool,
        _Writers(folder) as writers,
        reject_writer(folder / REJECTS) as reject,
    ):
        walked = walk(source, wanted, fitted.parts, "encode", progress, size)
        for batch in ordered(pool, encoded, _numbered(walked)):
            for code, piece in batch.pieces.items():
                left_out[code] += piece.left_out
                writers.write(code, piece)
            reject(batch.rejects)
            writers.sample(batch.sample)
            more = class_counts(batch.pieces[TRAIN].arrays)
            if more is not None:
                counts = _added(counts, more)
        facts = {"left_out": left_out, "counts": counts.tolist()}
        (folder / FACTS).write_text(json.dumps(facts))


@final
@dataclass(frozen=True, slots=True)
class _Batch:
    """An encoded batch: the pieces of all parts, the training rows that stay, the refused ones."""

    pieces: Mapping[int, Piece]
    sample: Arrays
    rejects: list[Reject]


def _numbered(
    walked: Iterator[tuple[pa.RecordBatch, NDArray[np.int8]]],
) -> Iterator[tuple[int, pa.RecordBatch, NDArray[np.int8]]]:
    """Give each batch with the number of its first row."""
    done = 0
    for rows, where in walked:
        yield done, rows, where
        done += rows.num_rows


def _encoded(
    schema: Schema,
    numbered: tuple[int, pa.RecordBatch, NDArray[np.int8]],
    drawn: Drawn,
    source: Source,
) -> _Batch:
    """Encode a batch."""
    first, rows, where = numbered
    learns = where == TRAIN
    masks = {TRAIN: learns} | {c: drawn.draw(first, where, c) for c in (VALIDATION, TEST)}
    pieces, rejects = {}, []
    for code, mask in masks.items():
        some = rows.filter(pa.array(mask))
        piece = pieces[code] = encode_piece(schema, some, source.folder, keep=code == TEST)
        rejects += piece.rejects(source, first + np.flatnonzero(mask))
    kept = drawn.draw(first, where, TRAIN)[learns][pieces[TRAIN].stays]
    return _Batch(pieces, pieces[TRAIN].arrays.take(kept), rejects)


@final
class _Writers:
    """The files of encoded rows: a folder for each part, the sample, the raw rows that judge."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards = {name: ShardWriter(folder / name) for name in (*NAMES.values(), _SAMPLE)}
        self._raw: pa.RecordBatchFileWriter | None = None

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for writer in self._shards.values():
            if kind is None:
                writer.close()
            else:
                writer.abort()
        if self._raw is not None:
            self._raw.close()

    def write(self, code: int, piece: Piece) -> None:
        """Write a piece of a part."""
        self._shards[NAMES[code]].write(piece.arrays)
        if piece.raw is not None:
            if self._raw is None:
                self._raw = pa.ipc.new_file(str(self._folder / RAW), piece.raw.schema)
            self._raw.write_batch(piece.raw)

    def sample(self, arrays: Arrays) -> None:
        """Write training rows that stay in memory."""
        self._shards[_SAMPLE].write(arrays)


def _added(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add the counts of classes, of which some batches know fewer."""
    size = max(len(one), len(other))
    return np.pad(one, (0, size - len(one))) + np.pad(other, (0, size - len(other)))


@final
class _Rejects(Collection[Reject]):
    """Rejects of several files, one after the other."""

    def __init__(self, files: Sequence[RejectsFile]) -> None:
        self._files = files

    def __len__(self) -> int:
        return sum(len(file) for file in self._files)

    def __iter__(self) -> Iterator[Reject]:
        return chain.from_iterable(self._files)

    def __contains__(self, one: object) -> bool:
        return any(one in file for file in self._files)


def _load(folder: Path, schema: Schema, fitted: _Fitted) -> Parted:
    """Read back what was encoded."""
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text())
    shards = Shards(folder / NAMES[TRAIN])
    counts = np.array(facts["counts"], dtype=np.int64) if facts["counts"] else None
    parts = {TRAIN: Part(read_all(folder / _SAMPLE), shards, counts=counts)}
    for code in (VALIDATION, TEST):
        raw = _raw(folder / RAW) if code == TEST else None
        parts[code] = Part.held(read_all(folder / NAMES[code]), raw)
    return Parted(
        schema,
        fitted.summary,
        parts,
        {int(code): Counter(some) for code, some in facts["left_out"].items()},
        fitted.rows,
        _Rejects((RejectsFile(fitted.rejects), RejectsFile(folder / REJECTS))),
        fitted.training,
    )


def _raw(path: Path) -> pa.Table | None:
    """Read the raw rows that judge."""
    if not path.exists():
        return None
    with pa.ipc.open_file(str(path)) as file:
        return file.read_all()
