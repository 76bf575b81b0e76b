"""Rows as they came, read for networks that learn record by record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, Final, Self, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import ColumnError
from thalweg.data.schema import Column, Schema
from thalweg.kinds import KINDS
from thalweg.stats.parsing import canonical_text, is_missing_text, read_numbers
from thalweg.training.online.base import Inputs

MOST_VALUES: Final = 20_000
"""So many values of a column are told apart; those that come later share one unit."""

UNITS: Final = frozenset(("boolean", "category"))
"""Kinds of columns whose values are units."""

NUMBERS: Final = frozenset(("number", "datetime", "vector"))
"""Kinds of columns that are numbers; columns of other kinds are passed over."""


@final
@dataclass(slots=True)
class _Values:
    """The values of one column and their units; the one that later values share, or -1."""

    units: dict[str, int] = field(default_factory=dict)
    other: int = -1


@final
class Reader:
    """Reads rows for networks that learn record by record.

    Numbers are read raw, for such networks standardise as they go. Values of categories get units
    in order of first sight, row by row, however rows came in batches. All that it gives grows on
    the right alone.

    Parameters
    ----------
    schema
        Which columns there are, and of which kinds.

    Examples
    --------
    >>> from thalweg.data.infer import fit_schema
    >>> from thalweg.stats import TableSummary
    >>> rows = pa.record_batch({"size": [1.5, None, 4.0], "town": ["Ulm", "Bonn", " Ulm"]})
    >>> summary = TableSummary()
    >>> summary.update(rows)
    >>> inputs = Reader(fit_schema(summary, given={"town": "category"})).read(rows)
    >>> inputs.numbers.ravel().tolist(), inputs.units.ravel().tolist()
    ([1.5, nan, 4.0], [0, 1, 0])
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._extra: int | None = None
        self._values: dict[str, _Values] = {}
        self._next = 0
        self._widths: dict[str, int] = {}

    @property
    def schema(self) -> Schema:
        """The columns that it reads."""
        return self._schema

    def grow(self, columns: Iterable[Column]) -> None:
        """Read further columns from now on, at the right of those so far."""
        known = {column.name for column in self._schema.columns}
        more = tuple(column for column in columns if column.name not in known)
        self._schema = replace(self._schema, columns=(*self._schema.columns, *more))

    def read(
        self, rows: pa.RecordBatch | pa.Table, extra: NDArray[np.float64] | None = None
    ) -> Inputs:
        """Read rows [N].

        Parameters
        ----------
        rows
            Any columns: those that the schema does not name are passed over, those that are not
            there are missing in all rows.
        extra
            float64 [N, D]: further numbers of each row, such as a trained network's embedding;
            they stand first, and there are always as many.

        Returns
        -------
        Inputs
            The rows. Cells that cannot be read are missing.

        Raises
        ------
        ColumnError
            Where there are more or fewer further numbers than at first.
        """
        count = rows.num_rows
        given = 0 if extra is None else extra.shape[1]
        if self._extra is None:
            self._extra = given
        if given != self._extra:
            raise ColumnError(
                f"{given} further numbers a row", f"{self._extra}, as in the first rows"
            )
        there = {name: rows.column(name) for name in dict.fromkeys(rows.schema.names)}
        numbers = [np.empty((count, 0)) if extra is None else np.asarray(extra, np.float64)]
        cells: dict[str, pa.DictionaryArray | None] = {}
        for column in self._schema.columns:
            array = there.get(column.name)
            if column.kind in NUMBERS:
                numbers.append(self._numbers(column, array, count))
            elif column.kind in UNITS:
                cells[column.name] = None if array is None else _cleaned(column, array)
        return Inputs(np.concatenate(numbers, axis=1), self._units(cells, count))

    def _numbers(self, column: Column, array: Any, count: int) -> NDArray[np.float64]:
        """Read a column's numbers, float64 [N, width]."""
        if column.kind == "number":
            if array is None:
                return np.full((count, 1), np.nan)
            return read_numbers(array)[0].astype(np.float64).reshape(-1, 1)
        if array is not None and count:
            found = _designed(column, array)
            self._widths[column.name] = found.shape[1]
            return found
        if column.name not in self._widths:
            self._widths[column.name] = _designed(column, pa.array([None], pa.string())).shape[1]
        return np.full((count, self._widths[column.name]), np.nan)

    def _units(
        self, cells: Mapping[str, pa.DictionaryArray | None], count: int
    ) -> NDArray[np.int32]:
        """Give the units of cleaned cells, int32 [N, Q]; new values get theirs row by row."""
        found = np.full((count, len(cells)), -1, np.int32)
        fresh: list[tuple[NDArray[np.int64], int, list[str]]] = []
        for place, (name, array) in enumerate(cells.items()):
            if array is None or not len(array.dictionary):
                self._values.setdefault(name, _Values())
                continue
            known = self._values.setdefault(name, _Values())
            texts = array.dictionary.to_pylist()
            codes = np.fromiter(map(known.units.get, texts, repeat(-1)), np.int64, len(texts))
            new = np.flatnonzero(codes < 0)
            if len(new):
                indices = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
                rows = _first_rows(indices, len(texts))[new]
                fresh.append((rows, place, [texts[one] for one in new]))
        self._admit(fresh, list(cells))
        for place, (name, array) in enumerate(cells.items()):
            if array is None or not len(array.dictionary):
                continue
            known = self._values[name]
            texts = array.dictionary.to_pylist()
            units = np.fromiter(
                map(known.units.get, texts, repeat(known.other)), np.int32, len(texts)
            )
            indices = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            found[:, place] = np.where(indices < 0, -1, units[indices])
        return found

    def _admit(
        self, fresh: list[tuple[NDArray[np.int64], int, list[str]]], names: list[str]
    ) -> None:
        """Give new values units in order of the rows where they stand first, then of columns."""
        if not fresh:
            return
        keys, owners, texts = [], [], []
        for rows, place, values in fresh:
            known = self._values[names[place]]
            order = np.argsort(rows, kind="stable")
            room = max(0, MOST_VALUES - len(known.units))
            # The first that finds no room stands for all that come later.
            order = order[: room + (known.other < 0)]
            keys.append(rows[order])
            owners.append(np.full(len(order), place))
            texts += [values[one] if k < room else None for k, one in enumerate(order.tolist())]
        first, owner = np.concatenate(keys), np.concatenate(owners)
        ranks = np.empty(len(first), np.int64)
        ranks[np.lexsort((owner, first))] = np.arange(len(first))
        for unit, place, text in zip(
            (self._next + ranks).tolist(), owner.tolist(), texts, strict=True
        ):  # once for each value that was never seen before
            known = self._values[names[place]]
            if text is None:
                known.other = unit
            else:
                known.units[text] = unit
        self._next += len(first)

    def state(self) -> dict[str, Any]:
        """Give plain JSON."""
        return {
            "schema": self._schema.to_json(),
            "extra": self._extra,
            "next": self._next,
            "values": {
                name: {"units": dict(known.units), "other": known.other}
                for name, known in self._values.items()
            },
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make a reader of what `state` gave; it goes on as the one before."""
        reader = cls(Schema.from_json(state["schema"]))
        reader._extra, reader._next = state["extra"], state["next"]
        reader._values = {
            name: _Values(dict(known["units"]), known["other"])
            for name, known in state["values"].items()
        }
        return reader


def _first_rows(indices: NDArray[np.int64], values: int) -> NDArray[np.int64]:
    """Say in which row each value stands first, int64 [values]."""
    first = np.full(values, len(indices), np.int64)
    there = np.flatnonzero(indices >= 0)[::-1]
    first[indices[there]] = there  # of several the last written counts: the first row
    return first


def _cleaned(column: Column, array: Any) -> pa.DictionaryArray:
    """Clean a column's cells as its kind does, and tell distinct ones apart; null: missing."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = KINDS[column.kind]
    if column.kind == "boolean":
        texts = kind.restore(kind.encode([array], [column.state]), 0, column.state)
        texts = texts.cast(pa.string())
    else:
        texts = canonical_text(array)
        texts = pc.if_else(pa.array(is_missing_text(texts)), None, texts)
    return texts.dictionary_encode()


def _designed(column: Column, array: Any) -> NDArray[np.float64]:
    """Read a column as its kind does for textbook models, float64 [N, width]."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = KINDS[column.kind]
    encoded = kind.encode([array], [column.state])
    return kind.design(encoded.fields, [column.state]).numbers.astype(np.float64)
