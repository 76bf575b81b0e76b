"""From a source to encoded parts: decide the split, fit the schema, encode.

Three passes over the source, each in constant memory but for what it is there to keep: one for
the row hashes and the split's columns, one for the summaries of the training rows (the schema
is a pure function of them), one that encodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import ColumnError, OptionError, SourceError, TargetError
from thalweg.core.progress import Progress
from thalweg.data.arrays import Arrays
from thalweg.data.infer import Given, check_target, fit_column, fit_schema, interpolated
from thalweg.data.interpolate import Curve, fit_curves
from thalweg.data.schema import Column, Schema, require
from thalweg.data.split import TEST, TRAIN, VALIDATION, Split
from thalweg.kinds import KINDS
from thalweg.sources import Reject, Source
from thalweg.stats import ColumnSummary, TableSummary
from thalweg.stats.hashing import hash_rows, hash_values
from thalweg.stats.parsing import read_numbers, read_times


@final
@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one part, encoded, and where they stood.

    Parameters
    ----------
    arrays
        The encoded rows.
    raw
        The rows as they came, for slices and importances; None for training rows.
    hashes
        uint64 [N]: the hash of each row's content.
    groups
        uint64 [N]: the hash of what must stay together: the row's group, else its content.
    """

    arrays: Arrays
    raw: pa.Table | None
    hashes: NDArray[np.uint64]
    groups: NDArray[np.uint64]


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """A table that is ready for training.

    Parameters
    ----------
    schema
        The fitted columns.
    summary
        The statistics of the training rows.
    train, validation, test
        The parts.
    dropped
        How many rows had no target or were set aside by a cleaning option.
    rejects
        Rows that the source could not read.
    fingerprint
        Changes when the source does: files by their names, sizes and times of change, tables in
        memory by their content.
    left_out
        Part -> reason -> how many of its rows are counted in ``dropped``; see `Schema.left_out`.
    """

    schema: Schema
    summary: TableSummary
    train: Part
    validation: Part
    test: Part
    dropped: int
    rejects: tuple[Reject, ...]
    fingerprint: str
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user said of the columns.

    Parameters
    ----------
    target
        The column to predict.
    columns
        Column name -> ``KIND[,OPTION=VALUE...]``.
    drop
        Columns not to use.
    """

    target: str
    columns: Mapping[str, str]
    drop: Sequence[str] = ()


def prepare(
    source: Source, wishes: Wishes, split: Split, test: Source | None, progress: Progress
) -> Prepared:
    """Split, fit and encode.

    Parameters
    ----------
    source
        The training rows (and the test rows, where no other source brings them).
    wishes
        The target and what was said of the columns.
    split
        How rows are parted.
    test
        A source of test rows; the split then takes none from ``source``. Without one, a split with
        a test share of 0 leaves the test part empty.
    progress
        Told of every pass.

    Raises
    ------
    SourceError, ColumnError, TargetError
        Where nothing can be learned from the source; see `fit_schema`.
    """
    names = source.schema().names
    require([wishes.target, *wishes.columns, *wishes.drop], names)
    if split.column is not None:
        require([split.column], names)
    if split.column == wishes.target:
        raise OptionError(
            f"the split goes by the target {wishes.target!r}",
            "a column that is known before the target is",
            "Split by another column.",
        )
    fingerprint = source.fingerprint()
    said = {name: Given.parse(name, text) for name, text in wishes.columns.items()}
    check_target(wishes.target, said, wishes.drop)
    parts, keys, rejects = _part(source, wishes.target, said, split, progress)
    summary = _summarise(source, parts, progress)
    schema = _fit(summary, wishes, split)
    schema = replace(schema, curves=_curves(source, wishes, schema, summary, parts, progress))
    wanted = [schema.target.name, *schema.names] if schema.target else schema.names
    encoded = _encode(source, schema, parts, keys, wanted, progress)
    if source.fingerprint() != fingerprint:
        raise _changed(source, len(parts))
    if test is not None:
        require(wanted, test.schema().names)
        encoded[TEST], more = _encode_other(test, schema, names, wanted, progress)
        rejects += more
    names_of = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}
    may_be_empty = {
        TRAIN: False,
        VALIDATION: split.held_out(len(parts)) == 0,
        TEST: test is None and split.test == 0,
    }
    for code, name in names_of.items():
        if not (len(encoded[code].part.arrays) or may_be_empty[code]):
            raise TargetError(
                f"no {name} row has a usable {wishes.target!r}",
                "some rows in each part",
                "Bring more rows, or look at the column with thalweg profile.",
            )
    return Prepared(
        schema,
        summary,
        encoded[TRAIN].part,
        encoded[VALIDATION].part,
        encoded[TEST].part,
        sum(one.left_out.total() for one in encoded.values()),
        tuple(rejects),
        fingerprint if test is None else f"{fingerprint}+{test.fingerprint()}",
        {name: dict(encoded[code].left_out) for code, name in names_of.items()},
    )


@final
@dataclass(frozen=True, slots=True)
class _Encoded:
    part: Part
    left_out: Counter[str]


def _part(
    source: Source, target: str, said: Mapping[str, Given], split: Split, progress: Progress
) -> tuple[NDArray[np.int8], NDArray[np.uint64], list[Reject]]:
    """Decide which part each row belongs to; give its hashes [N, 2] of content and group too."""
    hashes: list[NDArray[np.uint64]] = []
    groups: list[NDArray[np.uint64]] = []
    targets, keys = ColumnSummary(), ColumnSummary()
    target_values: list[pa.Array] = []
    key_values: list[pa.Array] = []
    rejects: list[Reject] = []
    progress.start("split", source.length(), "rows")
    for batch in source.batches():
        rejects.extend(batch.rejects)
        if not batch.rows.num_rows:
            continue
        hashes.append(hash_rows(batch.rows))
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
    goal = fit_column(target, targets, said.get(target), "target")
    classes = None
    if KINDS[goal.kind].task(goal.state) != "regression":
        classes = np.concatenate([_classes(goal, values) for values in target_values])
    times = None
    if split.method == "time" and split.column is not None:
        times = _times(split.column, keys, key_values)
    rows = np.concatenate(hashes)
    order = np.concatenate(groups) if split.method == "group" else rows
    return split.part(order, classes, times), np.stack([rows, order], axis=1), rejects


def _classes(goal: Column, values: pa.Array) -> NDArray[np.int64]:
    """Give each row's class; -1 for none."""
    encoded = KINDS[goal.kind].encode([values], [goal.state])
    codes: NDArray[np.int64] = encoded.fields["code"][:, 0].astype(np.int64)
    codes[encoded.dropped] = -1
    return codes


def _times(name: str, summary: ColumnSummary, arrays: Sequence[pa.Array]) -> NDArray[np.float64]:
    """Read the column of a split by time: dates, or numbers that grow with time."""
    present = max(1, summary.rows - summary.nulls - summary.missing_texts)
    if summary.times.count >= 0.5 * present:
        formats = list(summary.time_formats)
        return np.concatenate([read_times(array, formats)[0] for array in arrays])
    if summary.numbers.count >= 0.5 * present:
        return np.concatenate([read_numbers(array)[0] for array in arrays])
    raise ColumnError(
        f"column {name!r} holds no times",
        "dates, timestamps or numbers to split by",
        "Use another.",
    )


def _curves(
    source: Source,
    wishes: Wishes,
    schema: Schema,
    summary: TableSummary,
    parts: NDArray[np.int8],
    progress: Progress,
) -> tuple[Curve, ...]:
    """Fit what fills the gaps of numbers along another column, where that was asked for."""
    used = {column.name for column in schema.columns}
    along = {name: by for name, by in interpolated(wishes.columns).items() if name in used}
    if not along:
        return ()
    require(along.values(), source.schema().names)
    read = list(dict.fromkeys([*along, *along.values()]))
    training = (
        rows.filter(pa.array(where == TRAIN))
        for rows, where in _walk(source, read, parts, "fill", progress)
    )
    return fit_curves(along, summary, training)


def _summarise(source: Source, parts: NDArray[np.int8], progress: Progress) -> TableSummary:
    """Summarise the training rows."""
    summary = TableSummary()
    for rows, where in _walk(source, None, parts, "fit", progress):
        summary.update(rows.filter(pa.array(where == TRAIN)))
    return summary


def _fit(summary: TableSummary, wishes: Wishes, split: Split) -> Schema:
    """Fit the schema; the split's groups are no feature."""
    ignored = {}
    if split.method == "group" and split.column is not None:
        ignored[split.column] = "the column of the groups"
    return fit_schema(summary, wishes.target, wishes.columns, wishes.drop, ignored)


def _encode(
    source: Source,
    schema: Schema,
    parts: NDArray[np.int8],
    keys: NDArray[np.uint64],
    wanted: Sequence[str],
    progress: Progress,
) -> dict[int, _Encoded]:
    """Encode every part; keep the raw rows of those that judge."""
    pieces: dict[int, list[_Encoded]] = {TRAIN: [], VALIDATION: [], TEST: []}
    done = 0
    for rows, where in _walk(source, wanted, parts, "encode", progress):
        theirs = keys[done : done + rows.num_rows]
        done += rows.num_rows
        for code, found in pieces.items():
            mask = where == code
            if mask.any() or not found:
                piece = rows.filter(pa.array(mask))
                found.append(_piece(schema, piece, theirs[mask], keep=code == TEST))
    return {code: _join(found) for code, found in pieces.items()}


def _encode_other(
    source: Source,
    schema: Schema,
    names: Sequence[str],
    wanted: Sequence[str],
    progress: Progress,
) -> tuple[_Encoded, list[Reject]]:
    """Encode a source of test rows; ``names`` are the columns of the training rows."""
    pieces: list[_Encoded] = []
    rejects: list[Reject] = []
    progress.start("encode test rows", source.length(), "rows")
    for batch in source.batches():
        rejects.extend(batch.rejects)
        rows = batch.rows
        if rows.num_rows:
            # Copies are found by what the training rows have too.
            shared = [name for name in rows.schema.names if name in names]
            keys = np.repeat(hash_rows(rows.select(shared))[:, None], 2, axis=1)
            pieces.append(_piece(schema, rows.select(list(wanted)), keys, keep=True))
            progress.advance(rows.num_rows)
    progress.stop()
    if not pieces:
        raise SourceError(f"{source.uri} has no rows", "test rows", "Is it the right file?")
    return _join(pieces), rejects


def _walk(
    source: Source,
    columns: Sequence[str] | None,
    parts: NDArray[np.int8],
    stage: str,
    progress: Progress,
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int8]]]:
    """Read a source again, each batch with the parts of its rows."""
    progress.start(stage, len(parts), "rows")
    done = 0
    for batch in source.batches(columns):
        count = batch.rows.num_rows
        if done + count > len(parts):
            raise _changed(source, len(parts))
        if count:
            yield batch.rows, parts[done : done + count]
        done += count
        progress.advance(count)
    progress.stop()
    if done != len(parts):
        raise _changed(source, len(parts))


def _changed(source: Source, rows: int) -> SourceError:
    """Say that a pass found other rows than the pass before."""
    return SourceError(
        f"{source.uri} changed while it was read", f"the same {rows:,} rows", "Try again."
    )


def _piece(
    schema: Schema, rows: pa.RecordBatch, keys: NDArray[np.uint64], *, keep: bool
) -> _Encoded:
    """Encode some rows and leave out those without a target or set aside by a cleaning option."""
    encoded, target = schema.encode(rows), schema.encode_target(rows)
    stays = ~(encoded.dropped | target.dropped)
    arrays = Arrays(encoded.fields, dict(target.fields)).take(stays)
    raw = pa.Table.from_batches([rows.filter(pa.array(stays))]) if keep else None
    gone = schema.left_out(encoded, target)
    return _Encoded(Part(arrays, raw, keys[stays, 0], keys[stays, 1]), gone)


def _join(pieces: Sequence[_Encoded]) -> _Encoded:
    """Put pieces after one another."""
    raws = [piece.part.raw for piece in pieces if piece.part.raw is not None]
    part = Part(
        Arrays.join(piece.part.arrays for piece in pieces),
        pa.concat_tables(raws) if raws else None,
        np.concatenate([piece.part.hashes for piece in pieces]),
        np.concatenate([piece.part.groups for piece in pieces]),
    )
    return _Encoded(part, sum((piece.left_out for piece in pieces), Counter[str]()))
