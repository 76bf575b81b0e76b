"""Everything that is known of a table after one pass: `TableSummary`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, wait
from typing import final

import pyarrow as pa
import pyarrow.types as pt

from thalweg.stats.arrays import plain, sort_of
from thalweg.stats.codec import State, Summary
from thalweg.stats.distinct import DistinctSample
from thalweg.stats.hashing import Hashes, RowHasher, RowHashes
from thalweg.stats.summary import ColumnSummary


@final
class TableSummary(Summary):
    """Mergeable one-pass statistics of every column of a table.

    Attributes
    ----------
    rows : int
        How many rows there are.
    columns : dict[str, ColumnSummary]
        The columns by name, in the order in which they were first seen. A column that some
        batches lack has fewer rows than the table.

    Examples
    --------
    >>> some = TableSummary()
    >>> some.update(pa.record_batch({"a": [1, 1, 2], "b": ["x", "x", "y"]}))
    >>> some.rows, some.columns["a"].numbers.maximum, some.duplicates()
    (3, 2.0, 1.0)
    """

    __slots__ = ("_distinct", "_hasher", "columns", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[str, ColumnSummary] = {}
        self._distinct = DistinctSample()
        self._hasher = RowHasher()

    def update(
        self,
        batch: pa.RecordBatch | pa.Table,
        hashes: Hashes | None = None,
        pool: Executor | None = None,
    ) -> None:
        """Take rows in.

        Parameters
        ----------
        batch
            Rows [N].
        hashes
            uint64 [N]: `thalweg.stats.hashing.hash_rows` of them, where that is known already.
        pool
            Threads that the columns are shared out to; none by default. The result is the same.
        """
        self.begin(batch, hashes, pool)()

    def begin(
        self,
        batch: pa.RecordBatch | pa.Table,
        hashes: Hashes | None = None,
        pool: Executor | None = None,
    ) -> Callable[[], None]:
        """Begin to take rows in, and give what waits until they are; nothing else may come between.

        Parameters are those of `update`.
        """
        self.rows += batch.num_rows
        sums = RowHashes(batch.num_rows, hashes)
        arrays: dict[str, list[pa.Array | pa.ChunkedArray]] = {}
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            self.columns.setdefault(name, ColumnSummary())
            arrays.setdefault(name, []).append(array)

        def take(name: str) -> None:
            for array in arrays[name]:
                self._take(name, array, sums)

        # Texts take longest, so that they come first and no thread is left with them at the end.
        names = sorted(arrays, key=lambda name: sort_of(arrays[name][0].type) != "text")
        tasks = [pool.submit(take, name) for name in names] if pool else []

        def finish() -> None:
            if pool is None:
                for name in names:
                    take(name)
            wait(tasks)  # where one fails, the others are not left at work
            for task in tasks:
                task.result()
            self._distinct.update(sums.hashes())

        return finish

    def _take(self, name: str, array: pa.Array | pa.ChunkedArray, sums: RowHashes) -> None:
        """Take a column's values in, and its part of the rows' hashes."""
        column = self.columns[name]
        if sums.known:
            column.update(array)
            return
        values = plain(array)
        if pt.is_large_string(values.type):
            values = values.dictionary_encode()
        parts, indices, hashes = self._hasher.column(name, values)
        sums.take(parts, indices)
        column.update(values, hashes)

    def merge(self, other: TableSummary) -> None:
        """Take in what another has taken in; the other stays as it was."""
        self.rows += other.rows
        for name, column in other.columns.items():
            self.columns.setdefault(name, ColumnSummary()).merge(column)
        self._distinct.merge(other._distinct)

    def duplicates(self) -> float:
        """Say how many rows repeat an earlier one: exactly up to 4,096 distinct, else estimated."""
        return max(0.0, self.rows - self._distinct.estimate())

    def state(self) -> State:
        """Give everything that it is."""
        state = State({"rows": self.rows, "columns": list(self.columns)})
        state.put("distinct", self._distinct.state())
        for place, column in enumerate(self.columns.values()):
            state.put(f"column{place}", column.state())
        return state

    @classmethod
    def from_state(cls, state: State) -> TableSummary:
        """Make one of its state."""
        made = cls()
        made.rows = int(state.values["rows"])
        made._distinct = DistinctSample.from_state(state.part("distinct"))
        for place, name in enumerate(state.values["columns"]):
            made.columns[str(name)] = ColumnSummary.from_state(state.part(f"column{place}"))
        return made
