"""The keys that rows are parted by: a number for each combination of values that is in use."""

from __future__ import annotations

from typing import final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.stats.arrays import plain, present, spread
from thalweg.stats.hashing import MISSING, hash_text, hash_values, mix
from thalweg.stats.windows.places import Hashes, Ids, Mask, Places


@final
class Keys:
    """Numbers for the combinations of values of some columns; for no columns, there is one.

    Parameters
    ----------
    schema
        The columns, in their order.
    """

    __slots__ = ("_places", "_ranks", "_values", "schema")

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._places = Places()
        self._values: list[pa.Table] = []
        self._ranks: Ids = np.zeros(0, dtype=np.int64)  # of all keys, while no new one has come

    def __len__(self) -> int:
        return len(self._places)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        tables = sum(table.nbytes for table in self._values)
        return int(self._places.nbytes + self._ranks.nbytes + tables)

    def find(self, columns: list[pa.Array], rows: int) -> Ids:
        """Give the number of each row's key, int64 [rows]."""
        hashes = np.zeros(rows, dtype=np.uint64)
        for column in columns:
            hashes = mix(hashes + _hashed(column))
        ids, first = self._places.find(hashes)
        if len(first):
            new = [column.take(pa.array(first)) for column in columns]
            if new:
                self._values.append(pa.Table.from_arrays(new, schema=self.schema))
            if len(self._values) > 64:  # many small tables would be slow to read
                self._table()
        return ids

    def take(self, ids: Ids) -> list[pa.ChunkedArray]:
        """Give the values of keys [M]."""
        if not self.schema.names:
            return []
        return list(self._table().take(pa.array(ids)).columns)

    def ranks(self, ids: Ids) -> Ids:
        """Say where keys [M] stand among them in the order of their values, int64 [M]."""
        if not self.schema.names:
            return np.zeros(len(ids), dtype=np.int64)
        if len(self._ranks) != len(self):
            wanted = np.zeros(len(self), dtype=np.bool_)
            wanted[ids] = True
            some = np.flatnonzero(wanted)
            if 4 * len(some) < len(self):  # far cheaper than all of them
                ranks = np.zeros(len(self), dtype=np.int64)
                ranks[some] = _order(self._table().take(pa.array(some)))
                return ranks[ids]
            self._ranks = _order(self._table())
        return self._ranks[ids]

    def keep(self, alive: Mask) -> None:
        """Forget the keys that are not alive; the others move up."""
        if self.schema.names:
            self._values = [self._table().filter(pa.array(alive))]
        self._places.keep(alive)
        self._ranks = np.zeros(0, dtype=np.int64)

    def table(self) -> pa.Table:
        """Give everything that it is."""
        hashes = pa.chunked_array([pa.array(self._places.hashes)])
        names = [f"by:{name}" for name in self.schema.names]
        values = self._table().columns if names else []
        return pa.table([hashes, *values], names=["hash", *names])

    @classmethod
    def of(cls, schema: pa.Schema, table: pa.Table) -> Keys:
        """Make one of what `table` gave."""
        made = cls(schema)
        made._places = Places(table["hash"].to_numpy().copy())
        if schema.names:
            made._values = [pa.table(table.columns[1:], schema=schema)]
        return made

    def _table(self) -> pa.Table:
        if len(self._values) != 1:
            joined = pa.concat_tables(self._values or [self.schema.empty_table()])
            self._values = [joined.combine_chunks()]
        return self._values[0]


def _hashed(column: pa.Array) -> Hashes:
    """Hash values [N] so that what differs as it came differs: ``1`` and ``1.0`` as text do."""
    column = plain(column)
    if isinstance(column, pa.DictionaryArray):
        return spread(column, _hashed(column.dictionary), MISSING)
    if not pa.types.is_large_string(column.type):
        return hash_values(column)
    hashes = hash_text(column)
    return np.where(present(column), hashes, MISSING) if column.null_count else hashes


def _order(table: pa.Table) -> NDArray[np.int64]:
    """Rank rows by their values, column by column; nulls come last."""
    names = [str(at) for at in range(table.num_columns)]
    frame = pl.DataFrame(pl.from_arrow(table.rename_columns(names)))
    sort = pl.arg_sort_by(names, nulls_last=True, maintain_order=True)
    order = frame.select(sort).to_series().to_numpy()
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks
