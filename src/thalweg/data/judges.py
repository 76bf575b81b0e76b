"""Rows of a source of their own that a model is judged by: all of them, or a fair sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.progress import Progress
from thalweg.data.arrays import Arrays
from thalweg.data.copies import Hashes
from thalweg.data.parts import Part
from thalweg.data.passes import Drawn, Piece, batch_rows, empty, encode_piece, row_bytes
from thalweg.data.schema import Schema, require
from thalweg.data.split import TEST
from thalweg.sources import Reject, Source
from thalweg.stats.hashing import hash_rows


@final
@dataclass(frozen=True, slots=True)
class Judges:
    """Encoded rows to judge by.

    Parameters
    ----------
    part
        The rows, raw as well; with hashes where these were asked for.
    rows
        How many rows the source has; the part has fewer where they are too many, or left out.
    left_out
        Rows that cannot be judged, by reason.
    rejects
        Rows that could not be read.
    """

    part: Part
    rows: int
    left_out: Counter[str]
    rejects: list[Reject]


def read_judges(
    source: Source,
    schema: Schema,
    progress: Progress,
    *,
    stage: str,
    hashed: Collection[str] = (),
) -> Judges:
    """Read and encode the rows of a source that has the target.

    Parameters
    ----------
    source
        The rows.
    schema
        The fitted columns.
    progress
        Told of every pass.
    stage
        What the work is called.
    hashed
        The columns by whose content copies are found, where the source has them; without any,
        rows are not hashed.

    Raises
    ------
    ColumnError
        Where a column is missing.
    SourceError
        Where there are no rows.
    """
    wanted = schema.wanted
    names = source.schema().names
    require(wanted, names)
    shared = [name for name in names if name in hashed]
    read = list(dict.fromkeys([*wanted, *shared]))
    row = row_bytes(schema)
    size = batch_rows(source, row, most=65_536)
    drawn = Drawn({TEST: _length(source, wanted[0], progress)}, row)
    pieces: list[Piece] = []
    hashes: list[Hashes] = [np.zeros(0, dtype=np.uint64)]
    rejects: list[Reject] = []
    progress.start(stage, drawn.rows[TEST], "rows")
    done = 0
    for rows, chosen in _chosen(source, read, drawn, rejects, progress, size):
        some = rows.filter(pa.array(chosen))
        piece = encode_piece(schema, some.select(wanted), source.folder, keep=True)
        rejects.extend(piece.rejects(source, done + np.flatnonzero(chosen)))
        done += rows.num_rows
        if shared:
            hashes.append(hash_rows(some.select(shared))[piece.stays])
        pieces.append(piece)
    progress.stop()
    if not pieces:
        raise empty(source, "rows with the target")
    raw = pa.Table.from_batches([piece.raw for piece in pieces if piece.raw is not None])
    arrays = Arrays.join(piece.arrays for piece in pieces)
    content = np.concatenate(hashes)
    gone = sum((piece.left_out for piece in pieces), Counter[str]())
    return Judges(Part.held(arrays, raw, content, content), drawn.rows[TEST], gone, rejects)


def _length(source: Source, column: str, progress: Progress) -> int:
    """Say how many rows there are; where the source cannot say, count them."""
    rows = source.length()
    if rows is not None:
        return rows
    progress.start("count", None, "rows")
    rows = 0
    for batch in source.batches([column]):
        rows += batch.rows.num_rows
        progress.advance(batch.rows.num_rows)
    progress.stop()
    return rows


def _chosen(
    source: Source,
    read: list[str],
    drawn: Drawn,
    rejects: list[Reject],
    progress: Progress,
    size: int,
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.bool_]]]:
    """Give each batch with the mask of its rows that are drawn."""
    done = 0
    for batch in source.batches(read, size):
        rejects.extend(batch.rejects)
        count = batch.rows.num_rows
        if count:
            where = np.full(count, TEST, dtype=np.int8)
            yield batch.rows, drawn.draw(done, where, TEST)
        done += count
        progress.advance(count)
