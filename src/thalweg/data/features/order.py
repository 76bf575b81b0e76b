"""Rows of a stream put back in order of time, as far as they are allowed to be late."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Final, Self, final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import ArtifactError
from thalweg.stats.moments import EARLIEST, LATEST, Moments
from thalweg.stats.parsing import canonical_text

FORMAT: Final = 1
TIME: Final = " time"  # a name that no column of a payload is likely to have


@final
class Reorder:
    """Holds rows back until no older one is waited for.

    Parameters
    ----------
    lateness
        How late rows may come, in microseconds; with 0 none is held back.

    Examples
    --------
    >>> order = Reorder(10)
    >>> rows, times = order.take(pa.record_batch({"x": [1, 2]}), np.array([25, 12]), 15)
    >>> rows.to_pydict(), times.tolist(), order.held
    ({'x': [2]}, [12], 1)
    """

    def __init__(self, lateness: int) -> None:
        self.lateness = lateness
        self._rows: list[pa.RecordBatch] = []
        self._times: list[Moments] = []

    @property
    def held(self) -> int:
        """How many rows are held back."""
        return sum(map(len, self._times))

    def take(
        self, rows: pa.RecordBatch, times: Moments, watermark: int
    ) -> tuple[pa.RecordBatch, Moments]:
        """Take rows in and give those that are ready.

        Parameters
        ----------
        rows
            Rows [N] as they arrived.
        times
            int64 [N]: when they were. Rows without a time are ready at once.
        watermark
            The moment before which no row is waited for any more: most often the newest moment
            that was seen less the lateness.

        Returns
        -------
        tuple
            The rows that are ready, in order of time, those of one moment in order of arrival;
            and their times. Rows that come too late are ready at once.
        """
        if self.lateness and (self._times or bool((times > watermark).any())):
            return self._part([*self._rows, rows], [*self._times, times], watermark)
        return _sorted(rows, times)

    def flush(self) -> tuple[pa.RecordBatch, Moments] | None:
        """Give all rows that are held back, in order of time; None where there are none."""
        return self._part(self._rows, self._times, LATEST) if self._rows else None

    def _part(
        self, rows: Sequence[pa.RecordBatch], times: Sequence[Moments], watermark: int
    ) -> tuple[pa.RecordBatch, Moments]:
        """Give what is ready and hold the rest."""
        ready_rows, ready_times = [rows[-1].slice(0, 0)], [times[-1][:0]]
        self._rows, self._times = [], []
        for batch, when in zip(rows, times, strict=True):
            early = (when <= watermark) | (when < EARLIEST) | (when > LATEST)
            if early.any():
                ready_rows.append(batch if early.all() else batch.filter(pa.array(early)))
                ready_times.append(when[early])
            if not early.all():
                self._rows.append(batch if not early.any() else batch.filter(pa.array(~early)))
                self._times.append(when[~early])
        if len(self._rows) > 1 and len(self._rows[-1]) * 2 > len(self._rows[-2]):
            # As in a binary counter, so that there are few batches and each row is copied rarely.
            self._rows[-2:] = [joined(self._rows[-2:])]
            self._times[-2:] = [np.concatenate(self._times[-2:])]
        return _sorted(joined(ready_rows), np.concatenate(ready_times))

    def state(self) -> dict[str, pa.Table]:
        """Give the rows that are held back, with their times."""
        told = {b"order": json.dumps({"format": FORMAT, "lateness": self.lateness}).encode()}
        if not self._rows:
            return {
                "held": pa.table({TIME: pa.array([], pa.int64())}).replace_schema_metadata(told)
            }
        rows = joined(self._rows)
        table = pa.Table.from_batches([rows])
        table = table.append_column(TIME, pa.array(np.concatenate(self._times)))
        return {"held": table.replace_schema_metadata(told)}

    @classmethod
    def from_state(cls, state: dict[str, pa.Table]) -> Self:
        """Make one that goes on where another stood.

        Raises
        ------
        ArtifactError
            Where the state is another version's.
        """
        table = state["held"]
        told = json.loads((table.schema.metadata or {}).get(b"order", b"{}"))
        if told.get("format") != FORMAT:
            raise ArtifactError(
                f"held rows of format {told.get('format')!r}",
                f"format {FORMAT}",
                "Use the version of Thalweg that saved them.",
            )
        made = cls(told["lateness"])
        if table.num_rows:
            rows = table.drop_columns([TIME]).replace_schema_metadata(None).combine_chunks()
            made._rows = rows.to_batches()
            made._times = [table.column(TIME).to_numpy()]
        return made


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Put batches behind each other; columns that differ in type become what holds both.

    Examples
    --------
    >>> some = [pa.record_batch({"x": [1]}), pa.record_batch({"x": ["a"], "y": [2.0]})]
    >>> joined(some).to_pydict()
    {'x': ['1', 'a'], 'y': [None, 2.0]}
    """
    some = [batch for batch in batches if batch.num_rows] or list(batches[-1:])
    if len(some) == 1:
        return some[0]
    if all(batch.schema.equals(some[0].schema) for batch in some):
        return pa.concat_batches(some)
    tables = [pa.Table.from_batches([batch]) for batch in some]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:
        fields = [field for one in tables for field in one.schema]
        mixed = {one.name for one in fields for other in fields if _clash(one, other)}
        tables = [_texts(one, mixed) for one in tables]
        table = pa.concat_tables(tables, promote_options="permissive")
    return table.combine_chunks().to_batches()[0]


def _clash(one: pa.Field, other: pa.Field) -> bool:
    """Say whether two fields of one name have different types."""
    return bool(one.name == other.name and one.type != other.type)


def _texts(table: pa.Table, names: Collection[str]) -> pa.Table:
    """Write the cells of some columns as text."""
    columns = zip(table.column_names, table.columns, strict=True)
    return pa.table({name: canonical_text(c) if name in names else c for name, c in columns})


def _sorted(rows: pa.RecordBatch, times: Moments) -> tuple[pa.RecordBatch, Moments]:
    """Put rows in order of time, stably."""
    if (times[1:] >= times[:-1]).all():
        return rows, times
    order = np.argsort(times, kind="stable")
    return rows.take(pa.array(order)), times[order]
