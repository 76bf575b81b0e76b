"""Windowed features of a whole table, in its own order, in memory that does not grow with it.

Where the rows stand in order of time already, the engine takes them as they come. Where they do
not, they are shared out to files by time, each small enough to be sorted in memory; what the
engine answers is shared out again by the number of the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.files import clear_of_disk
from thalweg.core.progress import Progress
from thalweg.data.features.declare import Features
from thalweg.data.features.engine import Engine
from thalweg.data.features.order import joined
from thalweg.sources import Source
from thalweg.sources.sinks import decoded
from thalweg.stats.moments import NO_TIME, Moments

ROWS: Final = 131_072
"""How many rows the engine takes at once."""

HELD: Final = 1_000_000
"""How many rows are sorted in memory at once."""

_ROW: Final = " row"  # names that no column of a table is likely to have
_TIME: Final = " time"
_SAMPLE: Final = 64  # every so many rows one time is looked at, to part the rows by time


def compute_table(
    source: Source, features: Features, folder: Path, progress: Progress, held: int = HELD
) -> tuple[Path, int, int]:
    """Write the features of a source's rows to a file, in the order of the rows.

    Parameters
    ----------
    source
        The rows; it gives the same ones each time.
    features
        What to compute.
    folder
        Where the file, and what is needed meanwhile, lies.
    progress
        Told of every pass.
    held
        The most rows to sort in memory at once.

    Returns
    -------
    tuple
        The file, in Arrow's stream format; how many rows there are; how many have a time.
    """
    done = folder / "features.arrows"
    found = _in_order(source, features, done, progress)
    if found is None:
        progress.note(f"the rows are not in order of {features.time!r}: they are sorted first")
        found = _sorted(source, features, done, folder, progress, held)
    return done, *found


def _in_order(
    source: Source, features: Features, done: Path, progress: Progress
) -> tuple[int, int] | None:
    """Compute rows as they come; None where an older one follows a newer one."""
    engine, newest = Engine(features), NO_TIME
    rows = timed = 0
    progress.start("features", source.length(), "rows")
    with Pieces(done, features.schema) as file:
        for batch in _gathered(source, features.inputs):
            times = engine.moments(batch)
            known = times[times != NO_TIME]
            if len(known):
                if int(known.min()) < newest:
                    return None
                newest = int(known.max())
            file.write(engine.compute(batch, times))
            rows, timed = rows + batch.num_rows, timed + len(known)
            progress.advance(batch.num_rows)
    progress.stop()
    return rows, timed


def _gathered(source: Source, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read rows in batches that are worth the engine's while."""
    waiting: list[pa.RecordBatch] = []
    for batch in source.batches(columns):
        if batch.rows.num_rows:
            waiting.append(decoded(batch.rows))
        if sum(rows.num_rows for rows in waiting) >= ROWS:
            yield joined(waiting)
            waiting = []
    if waiting:
        yield joined(waiting)


def _sorted(
    source: Source, features: Features, done: Path, folder: Path, progress: Progress, held: int
) -> tuple[int, int]:
    """Sort rows by time, compute them, and put what was found into the rows' own order."""
    by_time, edges, rows, timed = _by_time(source, features, folder, progress, held)
    engine = Engine(features)
    found = pa.schema([*features.schema, pa.field(_ROW, pa.int64())])
    by_row = [Pieces(folder / f"row-{at}.arrows", found) for at in range(rows // held + 1)]
    progress.start("features", rows, "rows")
    for piece, edge in zip(by_time, [None, *edges], strict=True):
        for batch in _of_piece(piece, edge):
            columns = engine.compute(batch, batch.column(_TIME).to_numpy())
            numbers = batch.column(_ROW).to_numpy()
            answered = pa.RecordBatch.from_arrays(
                [*columns.columns, batch.column(_ROW)], schema=found
            )
            _share_out(answered, numbers // held, by_row)
            progress.advance(batch.num_rows)
    with Pieces(done, features.schema) as file:
        for part in by_row:
            if (table := part.read()).num_rows:
                order = np.argsort(table.column(_ROW).to_numpy())
                for batch in table.take(pa.array(order)).drop_columns([_ROW]).to_batches():
                    file.write(batch)
    progress.stop()
    return rows, timed


def _by_time(
    source: Source, features: Features, folder: Path, progress: Progress, held: int
) -> tuple[list[Pieces], list[int], int, int]:
    """Share rows out to files by their time; give the times where a new file begins."""
    engine = Engine(features)
    progress.start("order", source.length(), "rows")
    looked: list[Moments] = []
    rows = timed = 0
    whole = Pieces(folder / "rows.arrows", None)
    for batch in _gathered(source, features.inputs):
        times = engine.moments(batch)
        timed += int((times != NO_TIME).sum())
        numbers = np.arange(rows, rows + len(times))
        looked.append(times[::_SAMPLE])
        numbered = batch.append_column(_TIME, pa.array(times))
        whole.write(numbered.append_column(_ROW, pa.array(numbers)))
        rows += len(times)
        progress.advance(len(times))
    sample = np.sort(np.concatenate(looked))
    count = 2 * rows // held + 1  # some come out larger than others
    places = np.arange(1, count) * len(sample) // count
    edges = np.unique(sample[places]) if count > 1 else sample[:0]
    pieces = [Pieces(folder / f"time-{at}.arrows", None) for at in range(len(edges) + 1)]
    for batch in whole.batches():
        times = batch.column(_TIME).to_numpy()
        _share_out(batch, np.searchsorted(edges, times, side="right"), pieces)
    whole.remove()
    progress.stop()
    return pieces, edges.tolist(), rows, timed


def _of_piece(piece: Pieces, edge: int | None) -> Iterator[pa.RecordBatch]:
    """Give the rows of a file in order of time; those of its first moment may be any number."""
    first = NO_TIME if edge is None else edge
    rest = []
    for batch in piece.batches():
        at_once = batch.column(_TIME).to_numpy() == first
        if at_once.any():
            yield batch.filter(pa.array(at_once))
        rest.append(batch.filter(pa.array(~at_once)))
    piece.remove()
    if rest:
        batch = joined(rest)
        order = np.argsort(batch.column(_TIME).to_numpy(), kind="stable")
        for at in range(0, len(order), ROWS):
            yield batch.take(pa.array(order[at : at + ROWS]))


def _share_out(batch: pa.RecordBatch, where: NDArray[np.int64], pieces: Sequence[Pieces]) -> None:
    """Write each row to its file."""
    order = np.argsort(where, kind="stable")
    batch, where = batch.take(pa.array(order)), where[order]
    starts = np.flatnonzero(np.diff(where, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(where)], strict=True):
        pieces[int(where[start])].write(batch.slice(start, end - start))


@final
class Pieces:
    """A file of batches that is written first and then read, once or several times.

    Parameters
    ----------
    path
        The file.
    schema
        Of its rows; None for that of the first batch.
    """

    def __init__(self, path: Path, schema: pa.Schema | None) -> None:
        self._path = path
        self._schema = schema
        self._writer: pa.RecordBatchStreamWriter | None = None
        if schema is not None:
            self._writer = self._open(schema)

    def _open(self, schema: pa.Schema) -> pa.RecordBatchStreamWriter:
        self._schema = schema
        return pa.ipc.new_stream(str(self._path), schema)

    def __enter__(self) -> Pieces:
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()

    def write(self, batch: pa.RecordBatch) -> None:
        """Put rows behind the others."""
        if self._writer is None:
            self._writer = self._open(batch.schema)
        with clear_of_disk(self._path):
            self._writer.write_batch(batch)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the rows again."""
        self._finish()
        if self._schema is not None:
            yield from read_pieces(self._path)

    def read(self) -> pa.Table:
        """Read all rows at once, and remove the file."""
        table = pa.Table.from_batches(list(self.batches()), self._schema).combine_chunks()
        self.remove()
        return table

    def remove(self) -> None:
        """Remove the file."""
        self._finish()
        self._path.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._writer is not None:
            with clear_of_disk(self._path):
                self._writer.close()
            self._writer = None


def read_pieces(path: Path) -> Iterator[pa.RecordBatch]:
    """Read the batches of a file that `Pieces` has written."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
        yield from reader
