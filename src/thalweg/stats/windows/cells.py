"""What is held of all columns: slots that rows are counted in, put together when windows close."""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from thalweg.core.errors import ColumnError, near
from thalweg.stats.arrays import sort_of
from thalweg.stats.windows.numbers import Numbers
from thalweg.stats.windows.places import Ids, Mask
from thalweg.stats.windows.spec import WindowSpec
from thalweg.stats.windows.values import Values

_LEAST: Final = 256
_MEASURED: Final = ("number", "text", "boolean")

BOUNDS: Final = [
    pa.field("window_start", pa.timestamp("us", tz="UTC")),
    pa.field("window_end", pa.timestamp("us", tz="UTC")),
]


def measured(spec: WindowSpec, schema: pa.Schema) -> list[str]:
    """Name the columns that are measured.

    Raises
    ------
    ColumnError
        Where a key or a column is not there, or is of a type that cannot be.
    """
    names = schema.names
    for name in (*spec.by, *(spec.columns or ())):
        if name not in names:
            raise ColumnError(f"column {name!r}", "a column that the rows have", near(name, names))
        if sort_of(schema.field(name).type) == "opaque":
            raise ColumnError(
                f"column {name!r} of type {schema.field(name).type}",
                "numbers, texts, booleans or times",
                "Leave it out.",
            )
    if spec.columns is not None:
        return list(spec.columns)
    return [
        field.name
        for field in schema
        if field.name not in spec.by and sort_of(field.type) in _MEASURED
    ]


def result_schema(spec: WindowSpec, schema: pa.Schema) -> pa.Schema:
    """Give the schema of the results for rows of a schema."""
    fields = [*BOUNDS, *(pa.field(name, key_type(schema.field(name).type)) for name in spec.by)]
    fields.append(pa.field("rows", pa.int64()))
    for name in measured(spec, schema):
        kind = _holder(schema.field(name).type)
        fields += [pa.field(f"{name}_{suffix}", made) for suffix, made in kind.fields]
    names = [field.name for field in fields]
    twice = [name for at, name in enumerate(names) if name in names[:at]]
    if twice:
        raise ColumnError(
            f"two results named {twice[0]!r}",
            "names that differ",
            "Rename the column, or leave it out.",
        )
    return pa.schema(fields)


@final
class Cells:
    """Rows counted by slot, and what is held of each measured column.

    Parameters
    ----------
    schema
        The measured columns.
    """

    __slots__ = ("_room", "_rows", "columns", "schema", "slots")

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.columns: dict[str, Numbers | Values] = {
            field.name: _holder(field.type)() for field in schema
        }
        self.slots = 0
        self._room = 0
        self._rows: Ids = np.zeros(0, dtype=np.int64)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return int(self._rows.nbytes) + sum(part.nbytes for part in self.columns.values())

    def grow(self, slots: int) -> None:
        """Have so many slots."""
        self.slots = slots
        if slots > self._room:
            self._room = max(_LEAST, slots + slots // 2)
            more = np.zeros(self._room - len(self._rows), dtype=np.int64)
            self._rows = np.concatenate([self._rows, more])
            for part in self.columns.values():
                part.grow(self._room)

    def take(self, slots: Ids, columns: dict[str, pa.Array]) -> None:
        """Take rows into slots [N]."""
        np.add.at(self._rows, slots, 1)
        for name, part in self.columns.items():
            part.take(slots, columns[name])

    def prepare(self, wanted: int) -> None:
        """Make ready to be asked for so many slots."""
        for part in self.columns.values():
            part.prepare(wanted, self.slots)

    def results(self, slots: Ids, begins: Ids) -> dict[str, pa.Array]:
        """Give the statistics of groups of slots [M], each of which begins somewhere."""
        found = {"rows": pa.array(np.add.reduceat(self._rows[slots], begins))}
        for name, part in self.columns.items():
            given = part.results(slots, begins)
            found |= {f"{name}_{suffix}": array for suffix, array in given.items()}
        return found

    def keep(self, alive: Mask) -> None:
        """Forget the slots that are not alive; the others move up."""
        self._rows = self._rows[: self.slots][alive]
        for part in self.columns.values():
            part.keep(alive)
        self.slots = self._room = len(self._rows)

    def tables(self) -> dict[str, pa.Table]:
        """Give everything that it is."""
        found = {"rows": pa.table({"rows": self._rows[: self.slots]})}
        for name, part in self.columns.items():
            tables = part.tables(self.slots)
            found |= {f"column:{name}:{key}": table for key, table in tables.items()}
        return found

    @classmethod
    def of(cls, schema: pa.Schema, tables: dict[str, pa.Table]) -> Cells:
        """Make one of what `tables` gave."""
        made = cls(schema)
        made._rows = tables["rows"]["rows"].to_numpy().copy()
        made.slots = made._room = len(made._rows)
        for field in schema:
            start = f"column:{field.name}:"
            own = {
                name.removeprefix(start): table
                for name, table in tables.items()
                if name.startswith(start)
            }
            made.columns[field.name] = _holder(field.type).of(own)
        return made


def _holder(kind: pa.DataType) -> type[Numbers] | type[Values]:
    return Numbers if sort_of(kind) == "number" else Values


def key_type(kind: pa.DataType) -> pa.DataType:
    """Give the type that values of a key are kept in."""
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return key_type(kind.value_type)
    return pa.string() if sort_of(kind) == "text" else kind


def decoded(column: Any, kind: pa.DataType) -> pa.Array:
    """Give a column as one array of a type."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column if column.type == kind else column.cast(kind)
