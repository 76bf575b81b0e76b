"""The layout of a stream's rows: which columns they have and what their cells are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import SourceError
from thalweg.sources.streams.base import Format
from thalweg.stats.parsing import is_missing_text, read_numbers

ColumnType = Literal["number", "real", "whole", "text"]
"""``number``: what cannot be read is missing, as in a table; ``real``, ``whole``: is refused."""

ARROW: Final = {
    "number": pa.float64(),
    "real": pa.float64(),
    "whole": pa.int64(),
    "text": pa.string(),
}


def infer_types(
    payloads: pa.Array, form: Format, header: Sequence[str] | None = None
) -> dict[str, ColumnType]:
    """Look at payloads [N] for the columns that they have, in order, and what their cells are.

    Raises
    ------
    SourceError
        Where not one of them can be read.

    Examples
    --------
    >>> infer_types(pa.array([b'{"a": 1, "b": 2.5}', b"?", b'{"a": 2, "c": [1]}']), "json")
    {'a': 'whole', 'b': 'real', 'c': 'text'}
    """
    if form == "csv":
        return dict.fromkeys(header or (), "text")
    found: dict[str, ColumnType] = {}
    for payload in payloads:
        for name, kind in _seen(payload, form).items():
            known = found.get(name)
            found[name] = kind if known in {None, kind} else _least(found[name], kind)
    if not found:
        raise SourceError(
            f"{len(payloads):,} payloads, of which not one could be read as {form}",
            "payloads with columns",
            "Say how they are written with ?format=json, csv or arrow.",
        )
    return found


def _seen(payload: Any, form: Format) -> dict[str, ColumnType]:
    """Name the columns of one payload and their types, but for nulls."""
    if form == "arrow":
        try:
            with pa.ipc.open_stream(payload.as_buffer()) as stream:
                return {one.name: _type_of(one.type) for one in stream.schema}
        except (pa.ArrowException, OSError):
            return {}
    try:
        row = json.loads(payload.as_py())
    except (ValueError, RecursionError):
        return {}
    if not isinstance(row, dict):
        return {}
    kinds: dict[type, ColumnType] = {int: "whole", float: "real"}
    return {k: kinds.get(type(value), "text") for k, value in row.items() if value is not None}


def _type_of(given: pa.DataType) -> ColumnType:
    if pa.types.is_integer(given):
        return "whole"
    return "real" if pa.types.is_floating(given) or pa.types.is_decimal(given) else "text"


def _least(one: ColumnType, other: ColumnType) -> ColumnType:
    """Give the least type that holds both."""
    return "real" if {one, other} == {"whole", "real"} else "text"


def fitted(array: pa.Array, kind: ColumnType) -> tuple[pa.Array, NDArray[np.bool_] | None]:
    """Give cells a type, and say which of them were there and do not fit."""
    wanted = ARROW[kind]
    if array.type == wanted:
        return array, None
    if kind == "text":
        return _texts(array), None
    if kind == "whole":
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            found = pl.Series(array).str.strip_chars().cast(pl.Int64, strict=False).to_arrow()
        else:
            found = pl.Series(array).cast(pl.Int64, strict=False).to_arrow()
        odd = pc.and_(pc.is_valid(array), pc.is_null(found))
        return found, odd.to_numpy(zero_copy_only=False)
    numbers, readable = read_numbers(array)
    there = array.is_valid().to_numpy(zero_copy_only=False)
    return (
        pa.array(numbers, mask=~readable),
        there & ~readable & ~is_missing_text(array),
    )


def _texts(array: pa.Array) -> pa.Array:
    """Give cells as text."""
    kind = array.type
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        return array.cast(pa.string())
    if pa.types.is_nested(kind):
        return pa.array(
            [None if one is None else json.dumps(one, default=str) for one in array.to_pylist()],
            pa.string(),
        )
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pl.Series(array).bin.encode("base64").to_arrow().cast(pa.string())
    return array.cast(pa.string())
