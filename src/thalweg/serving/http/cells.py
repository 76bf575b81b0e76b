"""Cells as Arrow columns: one means the same whatever stands in the rows around it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.kinds.base import Holds
from thalweg.serving.http.refusal import BodyError
from thalweg.stats.arrays import is_bytes, is_list

MOST_MIXTURES: Final = 64
"""In so many ways the types of a request's rows may differ; each is encoded by itself."""

MOST_DEEP: Final = 4
"""So deep may a list hold lists: a picture's rows, points and colours."""

EXACT: Final = 2**53
"""Whole numbers up to here are themselves as floating ones."""

Groups = list[tuple[NDArray[np.int64], pa.Table]]


def faults(cells: Sequence[object], holds: frozenset[Holds]) -> dict[int, str]:
    """Find the cells [N] of a column that no cell can be.

    Parameters
    ----------
    cells
        What JSON gave; bytes where a format has such.
    holds
        What a cell may be beside one flat value: ``lists``, ``bytes``.

    Returns
    -------
    dict
        The number of each such cell -> what it is and what was expected, in words.

    Examples
    --------
    >>> faults([1, {"a": 1}, None], frozenset())
    {1: 'an object; expected one flat value'}
    """
    kinds = set(map(type, cells))
    wanted = "a list or one flat value" if "lists" in holds else "one flat value"
    found: dict[int, str] = {}
    for place, cell in enumerate(cells) if kinds & {dict, list, bytes} else ():
        if isinstance(cell, dict):
            found[place] = f"an object; expected {wanted}"
        elif isinstance(cell, list):
            why = _unlisted(cell) if "lists" in holds else f"a list; expected {wanted}"
            if why:
                found[place] = why
        elif isinstance(cell, bytes) and "bytes" not in holds:
            found[place] = "bytes that are no text; expected UTF-8"
    if str in kinds:
        found |= {
            place: "half a character; expected text that is Unicode"
            for place, cell in enumerate(cells)
            if isinstance(cell, str) and not cell.isascii() and not _is_unicode(cell)
        }
    return found


def columns_of(cells: Mapping[str, Sequence[Any]], rows: int) -> tuple[Groups, dict[int, str]]:
    """Hold columns [N] of JSON cells as Arrow, as a file of newline-delimited JSON would be read.

    A file's column has one type, so that a 1 among texts is a text. Here rows whose cells are of
    other types go apart, each with those that are like it.

    Parameters
    ----------
    cells
        Column -> cells [N], none of which `faults` finds.
    rows
        How many, N.

    Returns
    -------
    tuple
        The rows' numbers and columns, group by group; and the rows that were left out for being
        of too many mixtures of types, with the reason.
    """
    sorts = {name: _sorts(column) for name, column in cells.items()}
    mixed = [sort for sort in sorts.values() if sort is not None]
    if not mixed:
        return [(np.arange(rows), _table(cells))], {}
    groups: dict[tuple[str, ...], list[int]] = {}
    left_out = {}
    for place, mixture in enumerate(zip(*mixed, strict=True)):
        if mixture not in groups and len(groups) == MOST_MIXTURES:
            left_out[place] = (
                f"more than {MOST_MIXTURES} mixtures of types in one request; expected cells of "
                "one type in each column"
            )
        else:
            groups.setdefault(mixture, []).append(place)
    found = [
        (
            np.array(places, dtype=np.int64),
            _table({name: [column[at] for at in places] for name, column in cells.items()}),
        )
        for places in groups.values()
    ]
    return found, left_out


def _sorts(cells: Sequence[Any]) -> list[str] | None:
    """Say of what sort each cell [N] is; None where all that are there are of one."""
    kinds = set(map(type, cells)) - {type(None)}
    if len(kinds) <= 1 and not kinds & {int, list}:
        return None
    found = [_sort(cell) for cell in cells]
    there = {sort for sort in found if sort}
    if there <= {"whole", "real"}:
        return None
    if len(there) == 1 and there != {"list"}:
        return None
    if there == {"list"}:
        try:
            pa.array(cells)
        except pa.ArrowException:
            found = ["" if cell is None else str(pa.array(cell).type) for cell in cells]
        else:
            return None
    most = max(there, key=found.count)
    return [_merged(sort or most) for sort in found]


def _merged(sort: str) -> str:
    return "number" if sort in {"whole", "real"} else sort


def _sort(cell: Any) -> str:
    """Say of what sort a cell is; nothing for null."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "boolean"
    if isinstance(cell, int):
        # Beyond 64 bits they are texts; those that a float cannot hold stay apart from floats.
        if -EXACT <= cell <= EXACT:
            return "whole"
        return "wide" if -(2**63) <= cell < 2**63 else "huge"
    return {float: "real", str: "text", list: "list", bytes: "bytes"}.get(type(cell), "other")


def _table(cells: Mapping[str, Sequence[Any]]) -> pa.Table:
    return pa.Table.from_pydict({name: _column(column) for name, column in cells.items()})


def _column(cells: Sequence[Any]) -> pa.Array:
    """Hold cells of one sort."""
    kinds = set(map(type, cells)) - {type(None)}
    if kinds == {int, float}:
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    if kinds == {int} and any(cell is not None and not -(2**63) <= cell < 2**63 for cell in cells):
        return pa.array([None if cell is None else json.dumps(cell) for cell in cells], pa.string())
    return pa.array(cells)


def _unlisted(cell: list[Any]) -> str | None:
    """Say why a list can be no cell; None where it can."""
    if _depth(cell) > MOST_DEEP:
        return f"lists more than {MOST_DEEP} deep; expected a list of numbers or texts"
    try:
        kind = pa.array(cell).type
    except (pa.ArrowException, OverflowError, UnicodeError):
        return "a list of several kinds of values; expected numbers or texts"
    while pa.types.is_list(kind):
        kind = kind.value_type
    if pa.types.is_nested(kind):
        return "a list of objects; expected a list of numbers or texts"
    return None


def _depth(cell: object) -> int:
    """Say how deep lists stand in lists, but no deeper than matters."""
    layer, deep = [cell], 0
    while layer and deep <= MOST_DEEP:
        layer = [one for inner in layer if isinstance(inner, list) for one in inner]
        deep += bool(layer)
    return deep


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain_column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give a column of a type that encoding knows.

    Raises
    ------
    BodyError
        Where there is no such.
    """
    column = stored(column)
    kind = column.type
    if not _known(kind, deep=0):
        raise BodyError(
            f"column {name!r} holds {str(kind)[:80]}",
            "numbers, texts, truth values, times, bytes or lists of numbers or texts",
            status=422,
        )
    wide = _wide(kind)
    return column if wide == kind else column.cast(wide)


def stored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give what a column of an extension type is stored as.

    Examples
    --------
    >>> truths = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8()))
    >>> stored(pa.chunked_array([truths])).type
    DataType(int8)
    """
    # Python's own types are `ExtensionType`; those of Arrow, such as `bool8`, are not.
    while isinstance(column.type, pa.BaseExtensionType):
        kind = column.type.storage_type
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind)
    return column


def with_items(kind: pa.DataType, items: pa.DataType) -> pa.DataType:
    """Give the type of lists like others, but with items of another type.

    Examples
    --------
    >>> with_items(pa.large_list(pa.string_view()), pa.large_string())
    LargeListType(large_list<item: large_string>)
    """
    field = kind.value_field.with_type(items)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(field, kind.list_size)
    return pa.large_list(field) if pa.types.is_large_list(kind) else pa.list_(field)


def _wide(kind: pa.DataType) -> pa.DataType:
    """Give the type that a type is widened to: most of Arrow does not know narrow ones."""
    types = pa.types
    if types.is_float16(kind):
        return pa.float32()
    if types.is_decimal32(kind) or types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if types.is_dictionary(kind):
        wide = _wide(kind.value_type)
        return kind if wide == kind.value_type else wide
    return with_items(kind, _wide(kind.value_type)) if is_list(kind) else kind


def _known(kind: pa.DataType, deep: int) -> bool:
    """Say whether encoding knows an Arrow type."""
    types = pa.types
    if types.is_dictionary(kind):
        inner = kind.value_type
        odd = types.is_nested(inner) or types.is_dictionary(inner)
        return not odd and _known(inner, deep)
    if is_list(kind):
        inner = kind.value_type
        return deep < 3 and not is_bytes(inner) and _known(inner, deep + 1)
    return any(
        fits(kind)
        for fits in (
            types.is_null,
            types.is_boolean,
            types.is_integer,
            types.is_floating,
            types.is_decimal,
            types.is_string,
            types.is_large_string,
            types.is_string_view,
            types.is_binary,
            types.is_large_binary,
            types.is_fixed_size_binary,
            types.is_date,
            types.is_time,
            types.is_timestamp,
            types.is_duration,
        )
    )
