"""What every pass over a source for training needs, whether its rows are few or many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import ColumnError, SourceError
from thalweg.core.progress import Progress
from thalweg.data.arrays import Arrays
from thalweg.data.copies import LowestHashes
from thalweg.data.infer import fit_schema, interpolated
from thalweg.data.interpolate import fit_curves
from thalweg.data.parts import Part, Wishes
from thalweg.data.schema import Column, Schema, require
from thalweg.data.split import TEST, TRAIN, VALIDATION, Split
from thalweg.data.truth import Truth
from thalweg.kinds import KINDS
from thalweg.sources import Reject, Source
from thalweg.sources.sinks import decoded
from thalweg.sources.text import shown
from thalweg.stats import ColumnSummary, NumberSummary, TableSummary
from thalweg.stats.arrays import is_bytes, is_list
from thalweg.stats.feed import BATCH
from thalweg.stats.hashing import mix
from thalweg.stats.parsing import read_numbers, read_times


@final
@dataclass(frozen=True, slots=True)
class Parted:
    """A source's rows, parted and encoded; what is by part has its code as key.

    Parameters
    ----------
    schema, summary
        What was fitted, and on what.
    parts
        The encoded rows.
    left_out
        Rows that can neither teach nor be judged, by reason.
    rows
        How many rows each part has, encoded or not.
    rejects
        Rows that could not be read.
    training
        What the training rows hold, to tell copies by.
    """

    schema: Schema
    summary: TableSummary
    parts: Mapping[int, Part]
    left_out: Mapping[int, Counter[str]]
    rows: Mapping[int, int]
    rejects: Collection[Reject]
    training: LowestHashes


SAMPLE: Final = 250_000
"""How many training rows are kept in memory for what cannot learn by the batch, as rivals."""

PART_BYTES: Final = 1 << 27
"""How much the rows of a large table's part may take that stay in memory."""

BATCH_BYTES: Final = 1 << 26
"""How much a batch may take, raw or encoded."""

MOST_JUDGES: Final = {VALIDATION: 100_000, TEST: 200_000}
"""How many rows of a part judge, where there are more."""


class Codes(Protocol):
    """Which part each row belongs to, int8 [N]: an array, or a file that is read by the piece."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.int8]: ...


@final
@dataclass(frozen=True, slots=True)
class Drawn:
    """Which rows stay in memory where there are too many: each with the same chance.

    Parameters
    ----------
    rows
        How many rows each part has.
    row_bytes
        What an encoded row takes.
    """

    rows: Mapping[int, int]
    row_bytes: int = 1

    def draw(self, first: int, where: NDArray[np.int8], code: int) -> NDArray[np.bool_]:
        """Choose rows of a part by their numbers, whatever they hold and however they are read.

        Parameters
        ----------
        first
            The number of the first row.
        where
            int8 [N]: the parts of the rows.
        code
            The part.

        Returns
        -------
        numpy.ndarray
            Bool [N].
        """
        mask: NDArray[np.bool_] = where == code
        most = min({TRAIN: SAMPLE, **MOST_JUDGES}[code], max(1, PART_BYTES // self.row_bytes))
        if self.rows[code] > most:
            numbers = np.arange(first, first + len(where), dtype=np.uint64)
            chance = np.uint64(most / self.rows[code] * 2**64)
            mask &= mix(numbers ^ mix(np.uint64(code))) < chance
        return mask


@final
@dataclass(frozen=True, slots=True)
class Piece:
    """Some encoded rows.

    Parameters
    ----------
    arrays
        The rows that can teach or be judged.
    raw
        The same rows as they came, where they are kept.
    stays
        Bool [N]: which of all rows these are.
    left_out
        The others, by reason.
    refused
        Those of the others whose cells are damaged or not to be trusted: place, reason, content.
    """

    arrays: Arrays
    raw: pa.RecordBatch | None
    stays: NDArray[np.bool_]
    left_out: Counter[str]
    refused: Sequence[tuple[int, str, str]] = ()

    def rejects(self, source: Source, numbers: NDArray[np.int64]) -> list[Reject]:
        """Write down the rows that are refused; ``numbers`` are the rows' own [N], from 0."""
        return [
            Reject(source.uri, int(numbers[place]) + 1, reason, content)
            for place, reason, content in self.refused
        ]


def encode_piece(
    schema: Schema, rows: pa.RecordBatch, folder: Path | None = None, *, keep: bool
) -> Piece:
    """Encode rows; leave out those without a target, refused or set aside by a cleaning option.

    ``folder`` is where files that cells name are read from. With ``keep`` the rows are kept raw
    too: the columns that judging looks at.
    """
    encoded = schema.encode(rows, folder)
    target = None if schema.target is None else schema.encode_target(rows)
    stays = ~encoded.dropped if target is None else ~(encoded.dropped | target.dropped)
    arrays = Arrays(encoded.fields, {} if target is None else dict(target.fields))
    raw = decoded(rows.select(schema.judging)) if keep else None
    if stays.all():
        return Piece(arrays, raw, stays, Counter())
    if raw is not None:
        raw = raw.filter(pa.array(stays))
    refused = [
        (int(place), reason, told(rows.slice(place, 1)))
        for reason, mask in encoded.refused.items()
        for place in np.flatnonzero(mask)
    ]
    left_out = schema.left_out(encoded, target)
    return Piece(arrays.take(stays), raw, stays, left_out, refused)


def told(row: pa.RecordBatch) -> str:
    """Write a row down for whoever looks for it: no cell at more than 200 characters."""
    cells: dict[str, object] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if is_bytes(kind):
            size = len(column[0].as_py() or b"")
            cells[name] = f"<{size:,} bytes>"
        else:
            cells[name] = _start(column)
    return str(cells)


def _start(column: pa.Array) -> object:
    """Give a cell, of long ones the first characters."""
    cell: object = column[0].as_py()
    text = shown(str(cell))
    if len(text) <= 200:
        return text if isinstance(cell, str) else cell
    return f"{text[:199]}…"


def row_bytes(schema: Schema) -> int:
    """Say what an encoded row takes."""
    rows = pa.RecordBatch.from_pydict({name: pa.nulls(1) for name in schema.names})
    fields = schema.encode(rows).fields
    return sum(array.nbytes for kind in fields.values() for array in kind.values())


def batch_rows(source: Source, encoded: int = 1, most: int = BATCH) -> int:
    """Say how many rows a batch should have: as many as its bytes allow, raw and encoded.

    Parameters
    ----------
    source
        Of what it gives, a few rows are looked at where cells may be large: bytes or lists.
    encoded
        What an encoded row takes.
    most
        No more rows than that.
    """
    raw = 1
    kinds = source.schema().types
    if any(is_bytes(kind) or is_list(kind) for kind in kinds):
        for batch in source.batches(size=256):
            if batch.rows.num_rows:
                raw = batch.rows.nbytes // batch.rows.num_rows
                break
    return max(16, min(most, BATCH_BYTES // max(raw, encoded, 1)))


def walk(
    source: Source,
    columns: Sequence[str] | None,
    parts: Codes,
    stage: str,
    progress: Progress,
    size: int = BATCH,
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int8]]]:
    """Read a source again, each batch of at most some rows with the parts of these.

    Raises
    ------
    SourceError
        Where there are other rows than the last time.
    """
    progress.start(stage, len(parts), "rows")
    done = 0
    for batch in source.batches(columns, size):
        count = batch.rows.num_rows
        if done + count > len(parts):
            raise changed(source, len(parts))
        if count:
            yield batch.rows, parts[done : done + count]
        done += count
        progress.advance(count)
    progress.stop()
    if done != len(parts):
        raise changed(source, len(parts))


def changed(source: Source, rows: int) -> SourceError:
    """Say that a pass found other rows than the pass before."""
    return SourceError(
        f"{source.uri} changed while it was read", f"the same {rows:,} rows", "Try again."
    )


def empty(source: Source, expected: str = "a header and rows below it") -> SourceError:
    """Say that there are no rows."""
    return SourceError(f"{source.uri} has no rows", expected, "Is it the right file?")


def fit_curved(
    source: Source,
    summary: TableSummary,
    wishes: Wishes,
    split: Split,
    parts: Codes,
    progress: Progress,
) -> Schema:
    """Fit the schema, and what fills the gaps of numbers where that was asked for.

    The split's groups are no feature.
    """
    ignored = {}
    truth = None
    if wishes.truth is not None:
        truth = Truth.parse(wishes.truth, source.schema().names)
        ignored[truth.column] = "the truth, which only judging looks at"
    if split.method == "group" and split.column is not None:
        ignored[split.column] = "the column of the groups"
    schema = fit_schema(summary, wishes.target, wishes.columns, wishes.drop, ignored, source.folder)
    if not schema.columns:
        raise ColumnError(
            "no column is left to learn from",
            "at least one usable column",
            "Left out: " + "; ".join(f"{x.name} ({x.because})" for x in schema.ignored[:8]) + ".",
        )
    if schema.target is None:
        schema = replace(schema, columns=tuple(_unbounded(schema, wishes)), truth=truth)
    used = {column.name for column in schema.columns}
    along = {name: by for name, by in interpolated(wishes.columns).items() if name in used}
    if not along:
        return schema
    require(along.values(), source.schema().names)
    read = list(dict.fromkeys([*along, *along.values()]))
    training = (
        rows.filter(pa.array(where == TRAIN))
        for rows, where in walk(source, read, parts, "fill", progress)
    )
    return replace(schema, curves=fit_curves(along, summary, training))


def _unbounded(schema: Schema, wishes: Wishes) -> Iterator[Column]:
    """Let wild cells through, but where the user has said what becomes of outliers."""
    for column in schema.columns:
        if "outliers=" in wishes.columns.get(column.name, ""):
            yield column
        else:
            yield replace(column, state=KINDS[column.kind].unbounded(column.state))


def time_reader(
    name: str, summary: ColumnSummary
) -> tuple[NumberSummary, Callable[[pa.Array], NDArray[np.float64]]]:
    """Give the statistics of times and what reads them: dates, or numbers that grow with time.

    Raises
    ------
    ColumnError
        Where the column holds neither.
    """
    present = max(1, summary.rows - summary.nulls - summary.missing_texts)
    if summary.times.count >= 0.5 * present:
        formats = list(summary.time_formats)
        return summary.times, lambda array: read_times(array, formats)[0]
    if summary.numbers.count >= 0.5 * present:
        return summary.numbers, lambda array: read_numbers(array)[0]
    raise ColumnError(
        f"column {name!r} holds no times",
        "dates, timestamps or numbers to split by",
        "Use another.",
    )
