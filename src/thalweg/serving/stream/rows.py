"""Rows on their way through a stream: their times, and where each of them came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.sources.streams.base import Records
from thalweg.sources.streams.payloads import payloads_of

DEAD_SCHEMA: Final = pa.schema(
    [
        ("partition", pa.string()),
        ("position", pa.string()),
        ("time", pa.timestamp("us", "UTC")),
        ("reason", pa.string()),
        ("payload", pa.large_binary()),
    ]
)

TRACE: Final = pa.schema(
    [
        *(
            pa.field(f" of {field.name}", field.type)
            for field in DEAD_SCHEMA
            if field.name != "reason"
        ),
        pa.field(" of late", pa.bool_()),
    ]
)
"""What goes along with rows that are held back: where each came from, for a dead letter."""


@final
@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one partition, the payload that each came in, its time and whether it is late.

    ``many`` says whether a payload may hold several rows.
    """

    records: Records
    rows: pa.RecordBatch
    places: NDArray[np.int64]
    times: NDArray[np.int64]
    late: NDArray[np.bool_]
    many: bool

    def letters(self, rows: NDArray[np.int64], reason: str) -> pa.RecordBatch:
        """Write dead letters of some of the rows."""
        alone = self.rows.take(pa.array(rows)) if self.many else None
        return letters_of(self.records, self.places[rows], reason, alone)

    def trace(self) -> pa.RecordBatch:
        """Say where each row came from; what a payload of many rows holds is in the rows."""
        found = letters_of(self.records, self.places, "", self.rows.slice(0, 0))
        if self.many:
            return found
        payloads = self.records.payloads.take(pa.array(self.places))
        place = found.schema.get_field_index("payload")
        return found.set_column(place, found.schema.field(place), payloads)


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """Rows [N] on their way, and what knows where each came from.

    ``letters`` writes dead letters of some rows; ``traces`` gives what it would write of all.
    """

    rows: pa.RecordBatch
    times: NDArray[np.int64]
    late: NDArray[np.bool_]
    letters: Callable[[NDArray[np.int64], str], pa.RecordBatch]
    traces: Callable[[], pa.RecordBatch]

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Rows:
        """Put pieces together."""
        starts = np.cumsum([0, *(len(piece.places) for piece in pieces)])

        def letters(rows: NDArray[np.int64], reason: str) -> pa.RecordBatch:
            parts = []
            for piece, start in zip(pieces, starts, strict=False):
                own = rows[(rows >= start) & (rows < start + len(piece.places))] - start
                parts.append(piece.letters(own, reason))
            return stacked(parts)

        return cls(
            stacked([piece.rows for piece in pieces]),
            np.concatenate([piece.times for piece in pieces]),
            np.concatenate([piece.late for piece in pieces]),
            letters,
            lambda: stacked([piece.trace() for piece in pieces]),
        )

    def kept(self, stays: NDArray[np.bool_]) -> Rows:
        """Give some of the rows, which are not asked any more where they came from."""
        rows = self.rows.filter(pa.array(stays))
        return Rows(rows, self.times[stays], self.late[stays], self.letters, self.traces)

    def traced(self) -> pa.RecordBatch:
        """Give the rows with where they came from beside them."""
        trace = self.traces().drop_columns(["reason"])
        columns = [*self.rows.columns, *trace.columns, pa.array(self.late)]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*self.rows.schema, *TRACE]))

    @classmethod
    def untraced(cls, traced: pa.RecordBatch, times: NDArray[np.int64]) -> Rows:
        """Take apart what `traced` gave, or some of it in another order."""
        trace = traced.select(TRACE.names)

        def letters(rows: NDArray[np.int64], reason: str) -> pa.RecordBatch:
            some = pa.array(rows)
            partition, position, time, payload, _ = trace.take(some).columns
            if payload.null_count:
                payload = _alone(own.take(some))
            reasons = pa.repeat(reason, len(rows))
            columns = [partition, position, time, reasons, payload]
            return pa.RecordBatch.from_arrays(columns, schema=DEAD_SCHEMA)

        late = trace.column(" of late").to_numpy(zero_copy_only=False)
        own = traced.drop_columns(TRACE.names)
        return cls(own, times, late, letters, lambda: trace)


def any_cell(rows: pa.RecordBatch, names: Sequence[str]) -> NDArray[np.bool_]:
    """Say which rows [N] have a cell in one of some columns."""
    found = np.zeros(rows.num_rows, dtype=bool)
    for name in names:
        array = rows.column(name)
        if not array.null_count:
            return np.ones(rows.num_rows, dtype=bool)
        found |= array.is_valid().to_numpy(zero_copy_only=False)
    return found


def letters_of(
    records: Records,
    places: NDArray[np.int64],
    reasons: str | Sequence[str],
    alone: pa.RecordBatch | None = None,
) -> pa.RecordBatch:
    """Write dead letters: some records as they came, each with the reason.

    Parameters
    ----------
    records
        The records.
    places
        int64 [N]: which of them.
    reasons
        Why, for all of them or [N].
    alone
        The rows [N] that are meant, where a record holds others too; of no rows no payloads.
    """
    rows = pa.array(places, pa.int64())
    count = len(rows)
    why = pa.repeat(reasons, count) if isinstance(reasons, str) else pa.array(reasons, pa.string())
    if alone is None:
        payloads = records.payloads.take(rows).cast(pa.large_binary())
    else:
        payloads = _alone(alone) if alone.num_rows else pa.nulls(count, pa.large_binary())
    columns = [
        pa.repeat(records.partition, count),
        pc.cast(records.positions.take(rows), pa.string()),
        pa.array(records.times[places]).cast(pa.timestamp("us", "UTC")),
        why,
        payloads,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=DEAD_SCHEMA)


def _alone(rows: pa.RecordBatch) -> pa.LargeBinaryArray:
    """Write each row as a payload of its own."""
    each = range(rows.num_rows)
    return pa.concat_arrays([payloads_of(rows.slice(row, 1), "arrow") for row in each])


def stacked(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Put batches of one schema one behind the other."""
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).combine_chunks()
    found = table.to_batches()
    return found[0] if found else batches[0]
