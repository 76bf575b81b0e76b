"""SQLite's types: how columns are declared, what they hold, and how values are stored."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.core.errors import SourceError

_OFFSET: Final = re.compile(r"\d([+-]\d\d:?\d\d|Z)$")


def declared_type(said: str) -> pa.DataType | None:
    """Give the type of a column declared so, by SQLite's own rules; None to look at what it holds.

    Examples
    --------
    >>> declared_type("VARCHAR(20)"), declared_type("bigint"), declared_type("DATE")
    (DataType(string), DataType(int64), None)
    """
    words = said.upper()
    if "BOOL" in words:
        return pa.bool_()
    if "DATE" in words or "TIME" in words:
        return None
    for kind, marks in (
        (pa.int64(), ("INT",)),
        (pa.string(), ("CHAR", "CLOB", "TEXT")),
        (pa.binary(), ("BLOB",)),
        (pa.float64(), ("REAL", "FLOA", "DOUB")),
    ):
        if any(mark in words for mark in marks):
            return kind
    return None


def held(
    connection: sqlite3.Connection, rows: str, names: Sequence[str]
) -> dict[str, Callable[[str], pa.DataType]]:
    """Look at what columns hold: a function of the declared type for each."""
    if not names:
        return {}
    asked = [
        f"max(typeof({name}) = '{held}')"
        for name in map(quoted, names)
        for held in ("text", "blob", "real", "integer")
    ]
    asked += [
        f"max(CASE WHEN typeof({name}) = 'text' THEN {name} END)" for name in map(quoted, names)
    ]
    found = connection.execute(f"SELECT {', '.join(asked)} FROM {rows}").fetchone()
    few = len(names)

    def chooser(place: int) -> Callable[[str], pa.DataType]:
        text, blob, real, whole = found[4 * place : 4 * place + 4]
        return lambda said: _held_type(said, text, blob, real, whole, found[4 * few + place])

    return {name: chooser(place) for place, name in enumerate(names)}


def _held_type(
    said: str,
    text: int | None,
    blob: int | None,
    real: int | None,
    whole: int | None,
    sample: str | None,
) -> pa.DataType:
    """Choose the type of a column that holds such values."""
    words = said.upper()
    if text and not (blob or real or whole):
        if "DATETIME" in words or "TIMESTAMP" in words:
            return pa.timestamp("us", "UTC" if _OFFSET.search(sample or "") else None)
        return pa.date32() if words == "DATE" else pa.string()
    if text or (blob and (real or whole)):
        return pa.string()
    if blob:
        return pa.binary()
    if real or not whole:
        return pa.float64()
    return pa.float64() if "DEC" in words or "NUM" in words else pa.int64()


def moments(cells: Sequence[object], kind: pa.DataType) -> pa.Array:
    """Read dates and times; a date may have a time of midnight."""
    texts = pa.array(cells, pa.string())
    if pa.types.is_date(kind):
        return texts.cast(pa.timestamp("us")).cast(kind)
    return texts.cast(kind)


def declaration(field: pa.Field) -> str:
    """Declare a column for an Arrow type.

    Raises
    ------
    SourceError
        Where there is none.
    """
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    kinds = (
        (pa.types.is_boolean, "BOOLEAN"),
        (pa.types.is_integer, "INTEGER"),
        (pa.types.is_floating, "REAL"),
        (pa.types.is_string, "TEXT"),
        (pa.types.is_large_string, "TEXT"),
        (
            pa.types.is_decimal,
            "TEXT" if pa.types.is_decimal(kind) and kind.precision > 15 else "REAL",
        ),
        (pa.types.is_binary, "BLOB"),
        (pa.types.is_large_binary, "BLOB"),
        (pa.types.is_date, "DATE"),
        (pa.types.is_timestamp, "TIMESTAMP"),
        (pa.types.is_time, "TEXT"),
        (pa.types.is_null, "TEXT"),
    )
    for fits, name in kinds:
        if fits(kind):
            return name
    raise SourceError(
        f"column {field.name!r} is of the type {field.type}, for which SQLite has none",
        "numbers, texts, bytes, dates and times",
        "Leave it out, or write to a file or to PostgreSQL.",
    )


def stored(column: pa.Array) -> pa.Array:
    """Bring a column to values that SQLite holds."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return stored(column.dictionary_decode())
    if pa.types.is_decimal(kind):
        return column.cast(pa.string() if kind.precision > 15 else pa.float64())
    if pa.types.is_timestamp(kind):
        texts = pc.strftime(column.cast(pa.timestamp("us", kind.tz)), "%Y-%m-%d %H:%M:%S")
        return pc.binary_join_element_wise(texts, "+00:00", "") if kind.tz else texts
    if pa.types.is_temporal(kind):
        return column.cast(pa.string())
    return column


def quoted(name: str) -> str:
    """Write a name."""
    return '"' + name.replace('"', '""') + '"'
