"""Everything that is known of a table after one pass: `TableSummary`."""

from __future__ import annotations

from typing import final

import pyarrow as pa

from thalweg.stats.codec import State, Summary
from thalweg.stats.distinct import DistinctSample
from thalweg.stats.hashing import hash_rows
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

    __slots__ = ("_distinct", "columns", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[str, ColumnSummary] = {}
        self._distinct = DistinctSample()

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Take rows in."""
        self.rows += batch.num_rows
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            self.columns.setdefault(name, ColumnSummary()).update(values)
        self._distinct.update(hash_rows(batch))

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
