"""Small tables: decide the split, fit the schema and encode, all rows in memory.

Three passes over the source: one for the row hashes and the split's columns, one for the
summaries of the training rows (the schema is a pure function of them), one that encodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import SourceError
from thalweg.core.progress import Progress
from thalweg.data.arrays import Arrays
from thalweg.data.copies import LowestHashes
from thalweg.data.infer import Given, fit_column
from thalweg.data.parts import Part, Wishes
from thalweg.data.passes import (
    Parted,
    Piece,
    batch_rows,
    encode_piece,
    fit_curved,
    row_bytes,
    time_reader,
    walk,
)
from thalweg.data.schema import Column, Schema
from thalweg.data.split import FOLDED_ROWS, TEST, TRAIN, VALIDATION, Split, folds
from thalweg.kinds import KINDS
from thalweg.sources import Reject, Source
from thalweg.stats import ColumnSummary, TableSummary
from thalweg.stats.hashing import hash_rows, hash_values

HELD_BYTES: Final = 1 << 27
"""How much encoded rows may take in memory."""

_TENTHS: Final = 10
_FIFTH: Final = 5


def gather(
    source: Source, wishes: Wishes, said: Mapping[str, Given], split: Split, progress: Progress
) -> Parted | None:
    """Split, fit and encode a small table.

    Parameters
    ----------
    source
        The rows.
    wishes, said
        What the user said, as it was written and as it was read.
    split
        How rows are parted.
    progress
        Told of every pass.

    Returns
    -------
    Parted
        None where there are more than `FOLDED_ROWS` rows, or they would take more than
        `HELD_BYTES`: the table is not small.
    """
    size = batch_rows(source)
    found = _part(source, wishes.target, said, split, size, progress)
    if found is None:
        return None
    parts, keys, rejects = found.parts, found.keys, found.rejects
    summary = TableSummary()
    for rows, where in walk(source, None, parts, "fit", progress, size):
        summary.update(rows.filter(pa.array(where == TRAIN)))
    schema = fit_curved(source, summary, wishes, split, parts, progress)
    if row_bytes(schema) * len(parts) > HELD_BYTES:
        return None
    if schema.target is None:
        found.hold_out(split.seed, _FIFTH)  # of which the highest scores tell the tail
    elif schema.common:
        found.hold_out(split.seed)
    pieces = _encode(source, schema, parts, keys, rejects, progress)
    joined = {code: _join(found) for code, found in pieces.items()}
    return Parted(
        schema,
        summary,
        {code: part for code, (part, _) in joined.items()},
        {code: gone for code, (_, gone) in joined.items()},
        {code: int((parts == code).sum()) for code in (TRAIN, VALIDATION, TEST)},
        rejects,
        LowestHashes.of(joined[TRAIN][0].hashes),
    )


@final
@dataclass(frozen=True, slots=True)
class _Rows:
    """What the first pass found of each row.

    Parameters
    ----------
    parts
        int8 [N]: which part it belongs to.
    keys
        uint64 [N, 2]: the hashes of its content and of its group.
    classes
        int64 [N]: its class, where the target has classes.
    rejects
        The rows that could not be read.
    """

    parts: NDArray[np.int8]
    keys: NDArray[np.uint64]
    classes: NDArray[np.int64] | None
    rejects: list[Reject]

    def hold_out(self, seed: int, parts: int = _TENTHS) -> None:
        """Make one of so many parts of the training rows a validation part, unless there is one."""
        if (self.parts == VALIDATION).any():
            return
        rows = np.flatnonzero(self.parts == TRAIN)
        classes = None if self.classes is None else self.classes[rows]
        held = folds(self.keys[rows, 1], parts, seed, classes) == 0
        self.parts[rows[held]] = VALIDATION


def _part(
    source: Source,
    target: str | None,
    said: Mapping[str, Given],
    split: Split,
    size: int,
    progress: Progress,
) -> _Rows | None:
    """Decide which part each row belongs to; None where there are too many rows."""
    hashes: list[NDArray[np.uint64]] = []
    groups: list[NDArray[np.uint64]] = []
    targets, keys = ColumnSummary(), ColumnSummary()
    target_values: list[pa.Array] = []
    key_values: list[pa.Array] = []
    rejects: list[Reject] = []
    rows = 0
    progress.start("split", source.length(), "rows")
    for batch in source.batches(size=size):
        rejects.extend(batch.rejects)
        if not batch.rows.num_rows:
            continue
        rows += batch.rows.num_rows
        if rows > FOLDED_ROWS:
            return None
        hashes.append(hash_rows(batch.rows))
        if target is not None:
            values = batch.rows.column(target)
            targets.update(values)
            target_values.append(values)
        if split.column is not None:
            key = batch.rows.column(split.column)
            groups.append(hash_values(key))
            keys.update(key)
            key_values.append(key)
        progress.advance(batch.rows.num_rows)
    progress.stop()
    if not hashes:
        raise SourceError(
            f"{source.uri} has no rows", "a header and rows below it", "Is it the right file?"
        )
    classes = None
    if target is not None:
        goal = fit_column(target, targets, said.get(target), "target")
        if KINDS[goal.kind].task(goal.state) in {"binary", "multiclass"}:
            classes = np.concatenate([_classes(goal, values) for values in target_values])
    times = None
    if split.method == "time" and split.column is not None:
        _, read = time_reader(split.column, keys)
        times = np.concatenate([read(values) for values in key_values])
    content = np.concatenate(hashes)
    order = np.concatenate(groups) if split.method == "group" else content
    parts = split.part(order, classes, times)
    return _Rows(parts, np.stack([content, order], axis=1), classes, rejects)


def _classes(goal: Column, values: pa.Array) -> NDArray[np.int64]:
    """Give each row's class; -1 for none."""
    encoded = KINDS[goal.kind].encode([values], [goal.state])
    codes: NDArray[np.int64] = encoded.fields["code"][:, 0].astype(np.int64)
    codes[encoded.dropped] = -1
    return codes


def _encode(
    source: Source,
    schema: Schema,
    parts: NDArray[np.int8],
    keys: NDArray[np.uint64],
    rejects: list[Reject],
    progress: Progress,
) -> dict[int, list[tuple[Piece, NDArray[np.uint64]]]]:
    """Encode every part, each piece with its rows' hashes; keep the raw rows of what judges.

    Rows that are refused are added to ``rejects``.
    """
    wanted = schema.wanted
    size = batch_rows(source, row_bytes(schema))
    pieces: dict[int, list[tuple[Piece, NDArray[np.uint64]]]] = {
        TRAIN: [],
        VALIDATION: [],
        TEST: [],
    }
    done = 0
    for rows, where in walk(source, wanted, parts, "encode", progress, size):
        theirs = keys[done : done + rows.num_rows]
        done += rows.num_rows
        for code, found in pieces.items():
            mask = where == code
            if mask.any() or not found:
                some = rows.filter(pa.array(mask))
                piece = encode_piece(schema, some, source.folder, keep=code == TEST)
                found.append((piece, theirs[mask][piece.stays]))
                first = done - rows.num_rows
                rejects.extend(piece.rejects(source, first + np.flatnonzero(mask)))
    return pieces


def _join(pieces: Sequence[tuple[Piece, NDArray[np.uint64]]]) -> tuple[Part, Counter[str]]:
    """Put pieces after one another."""
    keys = np.concatenate([keys for _, keys in pieces])
    raws = [piece.raw for piece, _ in pieces if piece.raw is not None]
    part = Part.held(
        Arrays.join(piece.arrays for piece, _ in pieces),
        pa.Table.from_batches(raws) if raws else None,
        keys[:, 0],
        keys[:, 1],
    )
    return part, sum((piece.left_out for piece, _ in pieces), Counter[str]())
