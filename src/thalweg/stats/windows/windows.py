"""Statistics of rows by window of event time and by key: `Windows`."""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError, ColumnError, near
from thalweg.stats.windows.cells import (
    BOUNDS,
    Cells,
    decoded,
    key_type,
    measured,
    result_schema,
)
from thalweg.stats.windows.keys import Keys
from thalweg.stats.windows.panes import Panes
from thalweg.stats.windows.places import Ids
from thalweg.stats.windows.sessions import Sessions
from thalweg.stats.windows.slots import Closing, Slots
from thalweg.stats.windows.spec import WindowSpec
from thalweg.stats.windows.watermark import MOST

VERSION: Final = 1
_SLACK: Final = 4096  # so many slots may lie dead
_GROUPS: Final = 8192  # the results of so many keys are made at once


@final
class Windows:
    """Rows taken in, results given when their windows close.

    Counts, extremes, sums, means, deviations and quantiles are equal in every bit however the
    rows are cut into batches and in whatever order they come before their windows close.

    Parameters
    ----------
    spec
        Which windows.
    schema
        The schema of the rows; the first that are taken in tell it by default.

    Examples
    --------
    >>> windows = Windows(WindowSpec.tumbling(60_000_000, by=("city",)))
    >>> rows = pa.record_batch({"city": ["Ulm", "Bonn", "Ulm"], "price": [1.0, 2.0, 4.0]})
    >>> windows.take(rows, np.array([0, 59_999_999, 60_000_000])).tolist()
    [False, False, False]
    >>> closed = windows.close(60_000_000)
    >>> closed.select(["city", "rows", "price_mean"]).to_pylist()
    [{'city': 'Bonn', 'rows': 1, 'price_mean': 2.0}, {'city': 'Ulm', 'rows': 1, 'price_mean': 1.0}]
    """

    def __init__(self, spec: WindowSpec, schema: pa.Schema | None = None) -> None:
        self.spec = spec
        self._slots: Slots = _slots_of(spec)
        self._rows: pa.Schema | None = None  # the columns that are read
        self._keys = Keys(pa.schema([]))
        self._cells = Cells(pa.schema([]))
        self._none = _empty(pa.schema([*BOUNDS, ("rows", pa.int64())]))
        if schema is not None:
            self._settle(schema)

    def schema(self, rows: pa.Schema) -> pa.Schema:
        """Give the schema of the results for rows of a schema.

        Raises
        ------
        ColumnError
            Where a key or a column is not there, or is of a type that cannot be.
        """
        return result_schema(self.spec, rows)

    @property
    def keys(self) -> int:
        """How many keys are held."""
        return len(self._keys)

    @property
    def open(self) -> int:
        """How many windows hold rows and are not closed: those of all keys as one, or sessions."""
        return self._slots.open

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return self._keys.nbytes + self._slots.nbytes + self._cells.nbytes

    def take(self, rows: pa.RecordBatch, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Take rows in.

        Parameters
        ----------
        rows
            Rows [N].
        times
            When they happened: int64 [N], microseconds since 1970-01-01 UTC.

        Returns
        -------
        numpy.ndarray
            Which rows were late: all their windows are closed. They are not taken in.

        Raises
        ------
        ColumnError
            Where a column is not there, or is of another type than in the rows before.
        """
        times = np.asarray(times, dtype=np.int64)
        if len(times) != rows.num_rows:
            message = f"{len(times)} times for {rows.num_rows} rows"
            raise ValueError(message)
        schema = self._rows or self._settle(rows.schema)
        columns = {field.name: _column(rows, field) for field in schema}
        if not rows.num_rows:
            return np.zeros(0, dtype=np.bool_)
        keys = self._keys.find([columns[name] for name in self.spec.by], rows.num_rows)
        slots = self._slots.place(keys, times)
        late: NDArray[np.bool_] = slots < 0
        if late.any():
            there = pa.array(~late)
            slots = slots[~late]
            columns = {name: column.filter(there) for name, column in columns.items()}
        if len(slots):
            self._cells.grow(len(self._slots))
            self._cells.take(slots, columns)
        if len(self._keys) > 2 * len(self._slots) + _SLACK:  # late rows bring keys as well
            self._release()
        return late

    def close(self, watermark: int | None) -> pa.RecordBatch:
        """Close the windows that end at or before a time; None closes all.

        Returns
        -------
        pyarrow.RecordBatch
            Their results, in the order of their ends and then of the keys (nulls last).
        """
        # The last windows end beyond int64, and are closed as well.
        bound = MOST + self.spec.size + self.spec.slide if watermark is None else watermark
        parts = [self._results(part) for part in self._slots.close(bound)]
        if self._slots.dead() > max(_SLACK, len(self._slots) // 3):
            self._release()
        if not parts:
            return self._none
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)

    def flush(self) -> pa.RecordBatch:
        """Close all windows: the stream has ended."""
        return self.close(None)

    def state(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Give everything that it is: plain JSON, and tables by name."""
        self._release()
        plain, slots = self._slots.table()
        meta = {"version": VERSION, "spec": self.spec.to_json(), "slots": plain, "rows": None}
        if self._rows is None:
            return meta, {"slots": slots}
        meta["rows"] = self._rows.serialize().to_pybytes().hex()
        tables = {"slots": slots, "keys": self._keys.table()}
        return meta, tables | {f"cells:{k}": table for k, table in self._cells.tables().items()}

    @classmethod
    def from_state(cls, meta: dict[str, Any], tables: dict[str, pa.Table]) -> Windows:
        """Make one of what `state` gave.

        Raises
        ------
        ArtifactError
            Where it is of another version.
        """
        if meta.get("version") != VERSION:
            raise ArtifactError(
                f"windows of version {meta.get('version')!r}",
                f"version {VERSION}",
                "Read them with the Thalweg that wrote them.",
            )
        made = cls(WindowSpec.from_json(meta["spec"]))
        made._slots.load(meta["slots"], tables["slots"])
        if meta["rows"] is None:
            return made
        made._settle(pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(meta["rows"]))))
        made._keys = Keys.of(made._keys.schema, tables["keys"])
        start = "cells:"
        cells = {k.removeprefix(start): t for k, t in tables.items() if k.startswith(start)}
        made._cells = Cells.of(made._cells.schema, cells)
        return made

    def _settle(self, schema: pa.Schema) -> pa.Schema:
        """Learn what the rows look like."""
        names = measured(self.spec, schema)
        by = [pa.field(name, key_type(schema.field(name).type)) for name in self.spec.by]
        read = [schema.field(name) for name in names]
        self._keys, self._cells = Keys(pa.schema(by)), Cells(pa.schema(read))
        self._rows = pa.schema([*by, *read])
        self._none = _empty(self.schema(schema))
        return self._rows

    def _results(self, closing: Closing) -> pa.RecordBatch:
        """Give the results of some windows, in the order of their ends and keys."""
        ranks = self._keys.ranks(closing.keys)
        alike = (closing.ends == closing.ends[0]).all()
        order = np.argsort(ranks, kind="stable") if alike else np.lexsort((ranks, closing.ends))
        ends, ranks = closing.ends[order], ranks[order]
        change = np.concatenate(([True], (ends[1:] != ends[:-1]) | (ranks[1:] != ranks[:-1])))
        begins = np.flatnonzero(change)
        first = order[begins]
        found: dict[str, Any] = {
            "window_start": pa.array(closing.starts[first]).cast(BOUNDS[0].type),
            "window_end": pa.array(closing.ends[first]).cast(BOUNDS[1].type),
        }
        found |= dict(zip(self.spec.by, self._keys.take(closing.keys[first]), strict=True))
        found |= self._measured(closing.slots[order], begins)
        schema = self._none.schema
        return pa.RecordBatch.from_arrays(
            [
                decoded(array, kind)
                for array, kind in zip(found.values(), schema.types, strict=True)
            ],
            schema=schema,
        )

    def _measured(self, slots: Ids, begins: Ids) -> dict[str, pa.Array]:
        """Give the statistics of groups of slots, of which each begins somewhere.

        They are made in parts whose numbers stay in the cache: that is twice as fast.
        """
        self._cells.prepare(len(slots))
        parts = []
        for start in range(0, len(begins), _GROUPS):
            own = begins[start : start + _GROUPS + 1]
            end = int(own[-1]) if len(own) > _GROUPS else len(slots)
            begin = int(own[0])
            parts.append(self._cells.results(slots[begin:end], own[:_GROUPS] - begin))
        return {
            name: parts[0][name]
            if len(parts) == 1
            else pa.chunked_array([part[name] for part in parts])
            for name in parts[0]
        }

    def _release(self) -> None:
        """Forget the slots and keys that no open window needs."""
        alive = self._slots.alive()
        used = np.zeros(len(self._keys), dtype=np.bool_)
        used[self._slots.keys()[alive]] = True
        if alive.all() and used.all():
            return
        move: Ids = np.cumsum(used) - 1
        self._slots.keep(alive, move)
        self._keys.keep(used)
        self._cells.keep(np.pad(alive, (0, self._cells.slots - len(alive))))


def _slots_of(spec: WindowSpec) -> Slots:
    return Sessions(spec) if spec.kind == "session" else Panes(spec)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _column(rows: pa.RecordBatch, field: pa.Field) -> pa.Array:
    """Give a column of rows as the first rows had it."""
    if field.name not in rows.schema.names:
        mend = near(field.name, rows.schema.names)
        raise ColumnError(f"rows without column {field.name!r}", "the columns as before", mend)
    column = rows.column(field.name)
    try:
        return decoded(column, field.type)
    except pa.ArrowInvalid as error:
        raise ColumnError(
            f"column {field.name!r} of type {column.type}",
            f"{field.type}, as before",
            "Give the rows one schema.",
        ) from error
