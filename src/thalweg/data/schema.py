"""The schema: a table's fitted columns. It owns the one encoding that every tempo uses.

A schema is a pure function of summaries (`fit_schema` in `thalweg.data.infer`), survives JSON,
and encodes any rows: one, a batch, a file or a stream, with equal bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError, ColumnError, near
from thalweg.data.attach import attach
from thalweg.data.features.declare import Features
from thalweg.data.interpolate import Curve
from thalweg.data.truth import Truth
from thalweg.kinds import KINDS
from thalweg.kinds.base import Encoded, Holds, State, Task
from thalweg.stats.arrays import is_bytes, is_list

FORMAT: Final = 1

NO_TARGET: Final = "no usable target"
UNKNOWN: Final = "a class that was never trained on"
CLEANED: Final = "set aside by a cleaning option"

_FLAT_KINDS: Final = frozenset(("number", "category", "boolean", "datetime", "vector"))
"""Kinds whose cells are numbers, or values out of a list, as they come."""

_FLAT_TYPES: Final = frozenset(
    (pa.string(), pa.large_string(), pa.float64(), pa.int64(), pa.bool_())
)

MOST_BYTES: Final = 2**31 - 1
"""How much text Arrow's usual text array can hold."""


@final
@dataclass(frozen=True, slots=True)
class Column:
    """One fitted column.

    Parameters
    ----------
    name
        Its name in the source.
    kind
        The name of its kind.
    state
        What the kind learned.
    because
        Why it is of that kind, in words: ``"given"``, ``"96% read as numbers"``.
    """

    name: str
    kind: str
    state: State
    because: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give plain data."""
        return {
            "name": self.name,
            "kind": self.kind,
            "because": self.because,
            "state": self.state.model_dump(mode="json"),
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Column:
        """Read plain data back.

        Raises
        ------
        ArtifactError
            Where the kind is unknown.
        """
        name, kind = given["name"], given["kind"]
        if kind not in KINDS:
            raise ArtifactError(
                f"column {name!r} is of kind {kind!r}",
                "a kind that this version knows: " + ", ".join(KINDS),
                "The model was made by another version of Thalweg.",
            )
        state = KINDS[kind].state_type.model_validate(given["state"])
        return cls(name, kind, state, given["because"])


@final
@dataclass(frozen=True, slots=True)
class Ignored:
    """A column that is not used, and why, in words."""

    name: str
    because: str


@final
@dataclass(frozen=True, slots=True)
class Cells:
    """Rows as their kinds read them: gaps filled along curves, named files read.

    Parameters
    ----------
    arrays
        For each kind that has columns, an Arrow array [N] for each of them, in their order.
    refused
        Why cells cannot be read, naming the column -> Bool [N].
    rows
        How many, N.
    """

    arrays: Mapping[str, Sequence[pa.Array]]
    refused: dict[str, NDArray[np.bool_]]
    rows: int


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """Encoded rows.

    Parameters
    ----------
    encoded
        For each kind that has columns, its fields ([N, ...] each).
    dropped
        Bool [N]: rows that a cleaning option sets aside.
    unreadable
        Int64 [N]: how many cells of each row were there but could not be read.
    refused
        Why rows are set aside, naming the column -> Bool [N]; these are ``dropped`` too.
    """

    encoded: Mapping[str, Encoded]
    dropped: NDArray[np.bool_]
    unreadable: NDArray[np.int64]
    refused: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, dict[str, NDArray[Any]]]:
        """The arrays alone: kind -> field -> [N, ...]."""
        return {kind: dict(encoded.fields) for kind, encoded in self.encoded.items()}


@final
@dataclass(frozen=True, slots=True)
class Schema:
    """The fitted columns of a table.

    Parameters
    ----------
    columns
        The columns that are read, in the source's order.
    target
        The column that is predicted, or None.
    ignored
        The columns that are not read, each with the reason.
    curves
        The numbers whose gaps are filled along another column.
    features
        The windowed features among the columns, which are computed before anything is encoded;
        None for none.
    truth
        Without a target: the column that says which rows are odd. Only judging looks at it.
    """

    columns: tuple[Column, ...]
    target: Column | None = None
    ignored: tuple[Ignored, ...] = ()
    curves: tuple[Curve, ...] = ()
    features: Features | None = None
    truth: Truth | None = None

    @property
    def names(self) -> list[str]:
        """The names of the columns that are read, and of those that they are filled along."""
        own = [column.name for column in self.columns]
        return list(dict.fromkeys([*own, *(curve.along for curve in self.curves)]))

    @property
    def raw(self) -> list[str]:
        """The names of the columns that rows must have before windowed features are computed."""
        made = [] if self.features is None else self.features.names
        inputs = [] if self.features is None else self.features.inputs
        return list(dict.fromkeys([*(name for name in self.names if name not in made), *inputs]))

    @property
    def grouped(self) -> list[str]:
        """The names of the columns whose equal cells make a group of rows."""
        return [column.name for column in self.columns if KINDS[column.kind].grouped]

    @property
    def judging(self) -> list[str]:
        """The names of the target and of `grouped`: what judging looks at as it came."""
        along = [curve.along for curve in self.curves]
        return list(dict.fromkeys([*self._told, *self.grouped, *along]))

    @property
    def wanted(self) -> list[str]:
        """The names of all columns that training and judging read."""
        return list(dict.fromkeys([*self._told, *self.names]))

    @property
    def _told(self) -> list[str]:
        """The names of the columns that say what is right."""
        told = [self.target.name] if self.target else []
        return [*told, self.truth.column] if self.truth else told

    @property
    def common(self) -> bool:
        """Whether the members of a network share what they learn of some column."""
        return any(KINDS[column.kind].common(column.state) for column in self.columns)

    @property
    def task(self) -> Task | None:
        """The task that the target's kind sets; without a target, to find odd rows."""
        if self.target is None:
            return "anomaly"
        return KINDS[self.target.kind].task(self.target.state)

    def by_kind(self) -> dict[str, list[Column]]:
        """Group the columns by kind, in the order of the list of kinds."""
        groups = {kind: [c for c in self.columns if c.kind == kind] for kind in KINDS}
        return {kind: columns for kind, columns in groups.items() if columns}

    @property
    def wide(self) -> bool:
        """Whether some column holds more than flat values: its embedding is worth a look."""
        return any(kind not in _FLAT_KINDS for kind in self.by_kind())

    def encode(self, rows: pa.RecordBatch | pa.Table, folder: Path | None = None) -> Rows:
        """Clean and encode rows.

        Parameters
        ----------
        rows
            Rows [N] with at least the columns that are read; others are passed over.
        folder
            Where files that cells name are read from; None: none is.

        Returns
        -------
        Rows
            Compact arrays by kind and field.

        Raises
        ------
        ColumnError
            Where a column is missing or its type can never be of its kind.
        """
        cells = self.read(rows, folder)
        encoded = {}
        refused = dict(cells.refused)
        dropped = np.zeros(cells.rows, dtype=bool)
        unreadable = np.zeros(cells.rows, dtype=np.int64)
        for kind, columns in self.by_kind().items():
            states = [column.state for column in columns]
            part = encoded[kind] = KINDS[kind].encode(cells.arrays[kind], states)
            refused |= refusals(part, columns)
            dropped |= part.dropped
            if part.unreadable.any():
                unreadable += part.unreadable.sum(axis=1)
        for mask in refused.values():
            dropped |= mask
        return Rows(encoded, dropped, unreadable, refused)

    def read(self, rows: pa.RecordBatch | pa.Table, folder: Path | None = None) -> Cells:
        """Gather the cells of rows by kind, as `encode` and a compiled model take them.

        Parameters
        ----------
        rows, folder
            See `encode`.

        Raises
        ------
        ColumnError
            Where a column is missing or holds what can never be of its kind.
        """
        if self.features is not None:
            _require_computed(self.features, self.names, rows.schema.names)
        require(self.names, rows.schema.names)
        there = dict(zip(rows.schema.names, rows.columns, strict=True))
        arrays = {name: _whole(there[name]) for name in self.names}
        filled = {c.column: c.fill(arrays[c.column], arrays[c.along]) for c in self.curves}
        arrays |= filled
        refused: dict[str, NDArray[np.bool_]] = {}
        holds = {column.name: KINDS[column.kind].holds for column in reversed(self.columns)}
        for name, array in arrays.items():
            _require_cells(name, array, holds.get(name, frozenset()))
        found = {}
        for kind, columns in self.by_kind().items():
            cells = found[kind] = [arrays[column.name] for column in columns]
            if KINDS[kind].attaches:
                for place, column in enumerate(columns):
                    cells[place], why = attach(cells[place], folder)
                    refused |= {f"{column.name}: {reason}": mask for reason, mask in why.items()}
        return Cells(found, refused, rows.num_rows)

    def encode_target(self, rows: pa.RecordBatch | pa.Table) -> Encoded:
        """Encode the target's column of rows [N]; rows without one are ``dropped``.

        Raises
        ------
        ColumnError
            Where the schema has no target or the rows lack it.
        """
        if self.target is None:
            raise ColumnError("the model has no target", "a model trained with one")
        require([self.target.name], rows.schema.names)
        array = _whole(rows.column(self.target.name))
        _require_cells(self.target.name, array, KINDS[self.target.kind].holds)
        return KINDS[self.target.kind].encode([array], [self.target.state])

    def left_out(self, rows: Rows, target: Encoded | None) -> Counter[str]:
        """Count the rows that can neither teach nor be judged, each once, by reason.

        Parameters
        ----------
        rows, target
            What `encode` and `encode_target` gave for the same rows; None without a target.

        Returns
        -------
        collections.Counter
            Rows by `NO_TARGET`, `UNKNOWN`, why their cells are refused, and `CLEANED`; reasons
            without rows are not there.
        """
        masks: dict[str, NDArray[np.bool_]] = {}
        told = np.zeros(len(rows.dropped), dtype=bool)
        if target is not None:
            unknown = target.dropped & target.unreadable.any(axis=1) & (self.task != "regression")
            masks = {NO_TARGET: target.dropped & ~unknown, UNKNOWN: unknown}
            told |= target.dropped
        for reason, mask in rows.refused.items():
            masks[reason] = mask & ~told
            told |= mask
        masks[CLEANED] = rows.dropped & ~told
        return +Counter({reason: int(mask.sum()) for reason, mask in masks.items()})

    def to_json(self) -> dict[str, Any]:
        """Give plain data, equal for equal schemas."""
        told: dict[str, Any] = {
            "format": FORMAT,
            "columns": [column.to_json() for column in self.columns],
            "target": None if self.target is None else self.target.to_json(),
            "ignored": [{"name": one.name, "because": one.because} for one in self.ignored],
            "curves": [curve.to_json() for curve in self.curves],
        }
        if self.features is not None:
            told["features"] = self.features.to_json()
        if self.truth is not None:
            told["truth"] = self.truth.to_json()
        return told

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Schema:
        """Read plain data back.

        Raises
        ------
        ArtifactError
            Where the format is another version's.
        """
        if given.get("format") != FORMAT:
            raise ArtifactError(
                f"the schema's format is {given.get('format')!r}",
                f"format {FORMAT}",
                "Use the version of Thalweg that saved it.",
            )
        target = given["target"]
        return cls(
            tuple(Column.from_json(column) for column in given["columns"]),
            None if target is None else Column.from_json(target),
            tuple(Ignored(one["name"], one["because"]) for one in given["ignored"]),
            tuple(Curve.from_json(curve) for curve in given["curves"]),
            Features.from_json(given["features"]) if given.get("features") else None,
            Truth(**given["truth"]) if given.get("truth") else None,
        )


def refusals(part: Encoded, columns: Sequence[Column]) -> dict[str, NDArray[np.bool_]]:
    """Name the column in each reason why cells of a kind are refused -> Bool [N]."""
    return {
        f"{columns[place].name}: {reason}": masks[:, place]
        for reason, masks in part.refused.items()
        for place in np.flatnonzero(masks.any(axis=0)).tolist()
    }


def require(wanted: Iterable[str], available: Sequence[str]) -> None:
    """Check that columns are there, each once.

    Raises
    ------
    ColumnError
        Naming every missing column, with near names for the first.
    """
    wanted, there = list(wanted), set(available)
    twice = [name for name in wanted if len(there) < len(available) and available.count(name) > 1]
    if twice:
        raise ColumnError(f"{twice[0]!r} is the name of several columns", "a name for each column")
    missing = [name for name in wanted if name not in there]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        named = ", ".join(repr(name) for name in missing)
        raise ColumnError(
            f"column{plural} {named} not found",
            "columns that the table has",
            near(missing[0], available),
        )


def _require_computed(features: Features, wanted: Sequence[str], there: Sequence[str]) -> None:
    """Refuse rows whose windowed features nobody has computed."""
    missing = [name for name in features.names if name in wanted and name not in there]
    if missing:
        raise ColumnError(
            f"the windowed feature {missing[0]!r} is not among the rows' columns",
            "rows whose features are computed: they depend on the rows before them",
            "Use thalweg predict, evaluate or stream, which compute them from "
            f"{', '.join(features.inputs)}.",
        )


def _require_cells(name: str, array: pa.Array, holds: frozenset[Holds]) -> None:
    """Refuse cells that hold more than their kind reads."""
    if array.type in _FLAT_TYPES:
        return
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    fits = "lists" in holds if is_list(kind) else not pa.types.is_nested(kind)
    if not fits or (is_bytes(kind) and "bytes" not in holds):
        raise ColumnError(
            f"column {name!r} holds {array.type}",
            "one number, text, date or truth value a cell",
            "Take it apart into columns of their own first, or say what it is: "
            f"--column {name}=KIND.",
        )


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Join a column's chunks."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_string(column.type) and column.nbytes > MOST_BYTES:
        column = column.cast(pa.large_string())
    return column.combine_chunks()
