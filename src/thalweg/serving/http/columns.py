"""A served model's columns as a person or a program must know them to send a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, final

import numpy as np
import pyarrow as pa

from thalweg.data.schema import Column, Schema
from thalweg.kinds import KINDS
from thalweg.kinds.boolean import BooleanState
from thalweg.kinds.category import CategoryState
from thalweg.kinds.datetime import DatetimeState
from thalweg.kinds.number import NumberState
from thalweg.kinds.set import SetState
from thalweg.kinds.vector import VectorState
from thalweg.lab.contributions import readable, readable_time, typical
from thalweg.models.decoder import Answers, Decoder

SHOWN: Final = 12
"""How many of a column's levels are named."""

MOST_NUMBERS: Final = 64
"""Longer vectors have no example."""

Json = dict[str, Any]
Cell = bool | int | float | str | list[Any] | None

_SETS_ASIDE: Final = "A row that lacks it gets no answer."
_LEVEL: Final = "Missing counts as a level of its own."


class Described(Protocol):
    """As much of a compiled model as its description needs."""

    @property
    def schema(self) -> Schema:
        """The fitted columns."""

    @property
    def decoder(self) -> Decoder:
        """What answers mean."""

    @property
    def identity(self) -> str:
        """The version."""

    @property
    def precision(self) -> str:
        """Of the numbers that it works with."""


@final
@dataclass(frozen=True, slots=True)
class Field:
    """What to know of one column.

    Parameters
    ----------
    name, kind, because
        As in `thalweg.data.schema.Column`.
    schema
        JSON Schema of a cell as it should be sent. Others are answered too, with a warning.
    example
        A typical cell.
    choices
        Other cells that may well be, for trying out; the first ones are the commonest.
    usual
        What cells usually are, in words.
    missing
        What happens where the cell is missing, in words.
    needed
        Whether a row without it gets no answer.
    """

    name: str
    kind: str
    because: str
    schema: Json
    example: Cell
    choices: Sequence[Cell]
    usual: str
    missing: str
    needed: bool = False

    @property
    def form(self) -> str:
        """How a cell is sent: number, string, boolean, array, bytes, or either of the first two."""
        types = self.schema.get("type", ["string"])
        if "contentEncoding" in self.schema:
            return "bytes"
        return "either" if {"number", "string"} <= set(types) else str(types[0])


def fields(schema: Schema) -> list[Field]:
    """Describe the columns that rows should have, in their order."""
    own = {column.name: column for column in schema.columns}
    filled = {curve.along for curve in schema.curves}
    return [
        _field(own[name]) if name in own else _along(name)
        for name in schema.names
        if name in own or name in filled
    ]


def example(described: Sequence[Field]) -> dict[str, Cell]:
    """Give a typical row, which can be sent as it stands."""
    return {one.name: one.example for one in described}


def answer_types(decoder: Decoder) -> dict[str, Json]:
    """Give JSON Schema for each column of the answers."""
    classes = decoder.classes
    if decoder.task == "regression":
        nothing = np.empty(0)
        answers = Answers(nothing, nothing, nothing)
        if decoder.calibration.radius is None:
            answers = Answers(nothing)
    elif decoder.task == "anomaly":
        answers = Answers(np.empty(0), surprise=np.empty((0, len(decoder.foretold))))
    else:
        answers = Answers(np.eye(len(classes)))
    found = decoder.columns(answers)
    types = {name: _arrow(array.type) for name, array in found.items()}
    for name in types:
        if name.startswith("probability_") or name == "anomaly_probability":
            types[name] |= {"minimum": 0, "maximum": 1}
    if decoder.task in {"binary", "multiclass"} and len(classes) <= 100:
        types["prediction"]["enum"] = found["prediction"].to_pylist()
    elif decoder.task == "anomaly":
        types["prediction"]["enum"] = classes
        types["because"]["enum"] = decoder.foretold
    return types


def _field(column: Column) -> Field:
    state = column.state
    if isinstance(state, NumberState):
        found = _number(state)
    elif isinstance(state, CategoryState):
        found = _category(state)
    elif isinstance(state, BooleanState):
        found = _boolean(state)
    elif isinstance(state, DatetimeState):
        found = _datetime(state)
    elif isinstance(state, SetState):
        found = _set(state)
    elif isinstance(state, VectorState):
        found = _vector(state)
    else:
        found = _other(column.kind)
    own = typical(column)
    shown = found.example if own is None else own
    needed = found.missing == _SETS_ASIDE
    kinds = found.schema["type"]
    given: Json = {**found.schema, "type": kinds if needed else [*kinds, "null"]}
    if shown is not None:
        given["examples"] = [shown, *(one for one in found.choices if one != shown)][:5]
    because = f" ({column.because})" if column.because else ""
    told = f"{column.kind.capitalize()}{because}. {found.usual} {found.missing}"
    return Field(
        column.name,
        column.kind,
        column.because,
        {**given, "description": told.strip()},
        shown,
        found.choices,
        found.usual,
        found.missing,
        needed,
    )


@final
@dataclass(frozen=True, slots=True)
class _Found:
    """What a kind's state says."""

    schema: Json
    usual: str
    missing: str = ""
    choices: Sequence[Cell] = ()
    example: Cell = None


def _number(state: NumberState) -> _Found:
    low, high = written(state.minimum), written(state.maximum)
    usual = f"From {low} to {high} in training; the median is {written(state.centre)}."
    if state.minimum == state.maximum:
        usual = f"Always {low} in training."
    missing = f"Missing is taken as {written(state.fill)}, and marked."
    # The edges are quantiles of what has no spike of its own: enough for trying out.
    edges = np.array([*state.edges, 0.0]) * state.scale + state.centre
    near = np.quantile(edges, np.linspace(0.05, 0.95, 9))
    if len(state.spikes) > 8:
        spikes = np.array(state.spikes)
        near = spikes[np.abs(spikes - near[:, None]).argmin(axis=1)]
    choices = list(dict.fromkeys(readable(at, state) for at in near.tolist()))
    return _Found(
        {"type": ["number"]}, usual, _SETS_ASIDE if state.drops_missing else missing, choices
    )


def _category(state: CategoryState) -> _Found:
    types = {"text": ["string"], "boolean": ["boolean"]}.get(state.form, ["number", "string"])
    levels = state.values.slice(0, SHOWN).to_pylist()
    more = len(state.levels) - len(levels)
    named = ", ".join(map(str, levels)) + (f" and {more:,} more" if more > 0 else "")
    usual = f"One of: {named}. Others are answered as unseen." if levels else "Any text."
    words = {
        "level": _LEVEL,
        "frequent": f"Missing is taken as {levels[0] if levels else 'unseen'}.",
        "drop": _SETS_ASIDE,
    }
    return _Found({"type": types}, usual, words[state.missing], levels)


def _boolean(state: BooleanState) -> _Found:
    total = max(1, sum(state.counts))
    common = state.counts[1] > state.counts[0]
    usual = f"True in {state.counts[1] / total:.0%} of the training rows."
    words = {
        "level": _LEVEL,
        "frequent": f"Missing is taken as {str(common).lower()}.",
        "drop": _SETS_ASIDE,
    }
    return _Found({"type": ["boolean"]}, usual, words[state.missing], [True, False])


def _datetime(state: DatetimeState) -> _Found:
    spots = [state.centre + at * state.scale for at in (-1.5, -1, -0.5, 0.5, 1, 1.5)]
    choices = [readable_time(at, state) for at in spots]
    middle = readable_time(state.centre, state)
    missing = _SETS_ASIDE if state.missing == "drop" else "Missing is marked as such."
    if state.unit is not None:
        usual = f"{state.unit.capitalize()} since 1970, about {middle} in training."
        return _Found({"type": ["number"]}, usual, missing, choices)
    usual = f"Without a zone it is taken as it stands. About {str(middle)[:10]} in training."
    return _Found({"type": ["string"], "format": "date-time"}, usual, missing, choices)


def _set(state: SetState) -> _Found:
    labels = state.values.slice(0, SHOWN).to_pylist()
    more = len(state.levels) - len(labels)
    named = ", ".join(map(str, labels)) + (f" and {more:,} more" if more > 0 else "")
    words = {"level": _LEVEL, "empty": "Missing is taken as none.", "drop": _SETS_ASIDE}
    missing = words[state.missing]
    if state.delimiter:
        together = [state.delimiter.join(map(str, labels[:2])), *map(str, labels)]
        usual = f"Labels with {state.delimiter!r} between them, out of: {named}."
        return _Found({"type": ["string"]}, usual, missing, together, together[0])
    inner = {"type": "string" if state.form == "text" else "integer"}
    listed = [labels[:2], *([one] for one in labels)]
    usual = f"A list of labels, out of: {named}."
    return _Found({"type": ["array"], "items": inner}, usual, missing, listed, labels[:2])


def _vector(state: VectorState) -> _Found:
    value = float(f"{state.mean:.3g}")
    shown: Cell = [value] * state.size if state.size <= MOST_NUMBERS else None
    usual = f"{state.size:,} numbers, about {value:g} give or take {state.scale:.3g}."
    kind = {
        "type": ["array"],
        "items": {"type": "number"},
        "minItems": state.size,
        "maxItems": state.size,
    }
    return _Found(kind, usual, "Missing is marked as such.", [], shown)


def _other(kind: str) -> _Found:
    if not KINDS[kind].attaches:
        usual = KINDS[kind].description
        return _Found({"type": ["string"]}, usual, "Missing is marked as such.", [], "a few words")
    usual = f"The bytes of a file, as base64. {KINDS[kind].description}"
    given = {"type": ["string"], "contentEncoding": "base64"}
    return _Found(given, usual, "Missing is marked as such.")


def _along(name: str) -> Field:
    told = "What gaps of other columns are filled along."
    return Field(name, "", "", {"description": told}, None, [], told, "Then no gap is filled.")


def _arrow(kind: pa.DataType) -> Json:
    """Give JSON Schema of an answer's column."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return {"type": "array", "items": _arrow(kind.value_type)}
    if pa.types.is_boolean(kind):
        return {"type": "boolean"}
    if pa.types.is_integer(kind):
        return {"type": "integer"}
    return {"type": "number" if pa.types.is_floating(kind) else "string"}


def written(value: float) -> str:
    """Write a number for people, with four digits that count and no needless ones.

    Examples
    --------
    >>> written(37.0), written(177913.6), written(0.123456), written(1e12)
    ('37', '177,914', '0.1235', '1e+12')
    """
    size = abs(value)
    if value == int(value) and size < 1e9:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1e4 <= size < 1e9 else f"{value:.4g}"
