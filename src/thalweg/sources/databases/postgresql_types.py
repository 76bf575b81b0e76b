"""PostgreSQL's types: what is asked of the driver for each, and what becomes of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from thalweg.sources.databases.sql import finite

_NATIVE: Final = frozenset(
    {"bool", "int2", "int4", "int8", "float4", "float8", "numeric"}
    | {"text", "varchar", "bpchar", "char", "name", "bytea", "json", "jsonb", "uuid"}
    | {"date", "time", "timestamp", "timestamptz"}
)
"""Types that the driver gives as values; the others are asked for as text, or as `_ASKED` says."""

_ASKED: Final = {"money": "numeric", "oid": "int8"}


def quoted(names: Sequence[str]) -> str:
    """Write a name with its schema."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def asked(field: pa.Field) -> str:
    """Ask for a column; as text where the driver knows no value of its type."""
    name, kind = quoted([field.name]), _kind_of(field)
    if kind.lstrip("_") in _NATIVE:
        return name
    wanted = _ASKED.get(kind, "text[]" if pa.types.is_list(field.type) else "text")
    return f"{name}::{wanted} AS {name}"


def _kind_of(field: pa.Field) -> str:
    """Read PostgreSQL's name of a column's type; an array's begins with a low line."""
    return str((field.metadata or {}).get(b"POSTGRESQL:type", b""), "utf-8")


def given(field: pa.Field) -> pa.Field:
    """Give a column as Parquet would have it."""
    kind = _kind_of(field)
    if kind == "numeric":
        # As PostgreSQL packs both into one number; without them, a number of any size.
        packed = int((field.metadata or {}).get(b"POSTGRESQL:typmod", b"-1")) - 4
        digits, places = packed >> 16 & 0xFFFF, packed & 0x7FF
        fits = packed >= 0 and digits <= 38 and places <= digits
        return pa.field(field.name, pa.decimal128(digits, places) if fits else pa.float64())
    if kind in _ASKED:
        return pa.field(field.name, pa.float64() if kind == "money" else pa.int64())
    if kind.lstrip("_") in _NATIVE:
        return pa.field(field.name, _plain(field.type))
    listed = pa.types.is_list(field.type)
    return pa.field(field.name, pa.list_(pa.string()) if listed else pa.string())


def _plain(kind: pa.DataType) -> pa.DataType:
    """Give the type of values that a driver wraps into one of its own."""
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    name = getattr(kind, "extension_name", "")
    if getattr(kind, "type_name", "") == "numeric":
        return pa.float64()
    if name in ("arrow.json", "arrow.uuid"):
        return pa.string()
    return getattr(kind, "storage_type", kind)


def cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Bring a column to its type."""
    if isinstance(column, pa.ListArray):
        values = cast(column.values, kind.value_type)
        found = pa.ListArray.from_arrays(column.offsets, values, mask=column.is_null())
        return found.cast(kind)
    if getattr(column.type, "extension_name", "") == "arrow.uuid":
        return _uuids(column.storage)
    column = getattr(column, "storage", column)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return finite(column)
    return column if column.type.equals(kind) else column.cast(kind)


def _uuids(column: pa.Array) -> pa.Array:
    """Write identifiers as PostgreSQL does: 8-4-4-4-12."""
    import polars as pl

    texts = pl.Series(pl.from_arrow(column.cast(pa.binary()))).bin.encode("hex")
    parts = [texts.str.slice(at, size) for at, size in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
    joined = pl.select(pl.concat_str(parts, separator="-")).to_series()
    return joined.to_arrow().cast(pa.string())
