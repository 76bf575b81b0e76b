"""Facts about cells that several kinds need: what is there, what cannot be read, what is a code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import ColumnError
from thalweg.stats import ColumnSummary
from thalweg.stats.arrays import plain
from thalweg.stats.parsing import MISSING_TEXTS, is_missing_text

MOST_SPAN: Final = 1 << 16
"""The widest range of values that `places_of` finds by address."""

_Entry = TypeVar("_Entry", bound=np.generic)

_LONGEST: Final = max(map(len, MISSING_TEXTS))
_BLANK: Final = np.isin(np.arange(256), [*range(0x21), *range(0x7F, 0x100)])
_DIGIT: Final = np.isin(np.arange(256), np.frombuffer(b"-0123456789", np.uint8))
_SIGNED: Final = np.isin(np.arange(256), np.frombuffer(b"+.-0123456789", np.uint8))
_WORD: Final = np.isin(
    np.arange(256), [ord(one[0]) for word in MISSING_TEXTS if word for one in (word, word.upper())]
)


def present(summary: ColumnSummary) -> int:
    """Count the cells that hold something."""
    return summary.rows - summary.nulls - summary.missing_texts


def common(summary: ColumnSummary, number: int) -> list[tuple[str, int]]:
    """Give the most frequent values as text, and their counts, without words for missing."""
    # Some more than asked for, for the words may be among them.
    found = summary.top(number + 50)
    missing = is_missing_text(pa.array([text for text, _ in found], pa.string()))
    return [one for one, gone in zip(found, missing, strict=True) if not gone][:number]


def are_codes(summary: ColumnSummary) -> bool:
    """Say whether digits are codes, not amounts: text such as ``01234``, or ``V57`` among 428."""
    if not summary.texts:
        return False
    texts = pa.array(summary.sample(), pa.string())
    codes = pc.sum(pc.match_substring_regex(texts, r"^0[0-9]|^[A-Za-z][0-9]")).as_py()
    return (codes or 0) > 0.02 * len(texts)


def is_text(kind: pa.DataType) -> bool:
    """Say whether cells of an Arrow type are text, however it is stored."""
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def require_flat(array: pa.Array) -> None:
    """Refuse cells that hold more than one value.

    Raises
    ------
    ColumnError
        Where cells are lists or records.
    """
    if pa.types.is_nested(array.type):
        raise ColumnError(
            f"a column whose cells are {array.type}",
            "one value a cell",
            "Split the column first, or leave it out.",
        )


def unread(array: pa.Array, read: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which cells [N] hold something, and not a word for missing, that was not read."""
    unreadable = ~read
    places = np.flatnonzero(unreadable)
    if not len(places):
        return unreadable
    rest = plain(array).take(pa.array(places))
    there = rest.is_valid().to_numpy(zero_copy_only=False)
    unreadable[places] = there & ~is_missing_text(rest)
    return unreadable


def gone_cell(cell: object) -> float | None:
    """Read one plain cell that holds nothing, or a word for missing: NaN. None for all else.

    Examples
    --------
    >>> gone_cell(" N/A "), gone_cell("soon"), gone_cell(0)
    (nan, None, None)
    """
    if cell is None:
        return math.nan
    # Other blanks than these take care.
    missing = isinstance(cell, str) and cell.isascii() and cell.strip(" ").lower() in MISSING_TEXTS
    return math.nan if missing else None


def whole_numbers(array: pa.Array, null: int) -> NDArray[np.int64]:
    """Give integers [N] as int64, and a number of your choice for null."""
    numbers: NDArray[np.int64]
    if not array.null_count:
        # Arrow's own cast and fill cost more than all the rest where there is one row.
        numbers = array.to_numpy(zero_copy_only=False).astype(np.int64)
    else:
        numbers = array.cast(pa.int64()).fill_null(null).to_numpy()
    return numbers


def by_value(values: NDArray[Any], low: int, table: NDArray[_Entry]) -> NDArray[_Entry]:
    """Look numbers [N] up in a table by their value.

    Parameters
    ----------
    values
        Integers or floats of any width.
    low
        The value that the table begins with.
    table
        An entry for each whole number from ``low`` on, all within 2**52. The first and the last
        are alike: they stand for whatever is beyond them, is no whole number or is NaN.

    Examples
    --------
    >>> table = np.array([0, 7, 8, 0])
    >>> by_value(np.array([1.0, 2.0, 1.5, np.nan, -np.inf, 1e300]), 0, table)
    array([7, 8, 0, 0, 0, 0])
    >>> by_value(np.array([2, -(2**63), 2**63 - 1]), 0, table)
    array([8, 0, 0])
    """
    if values.dtype.kind == "f" or values.dtype == np.uint64:
        floats = values.astype(np.float64, copy=False)
        whole = np.rint(floats) == floats
        values = np.where(whole, floats, low).clip(low, low + len(table) - 1)
    # What wraps around lands beyond an end as well.
    return table.take(values.astype(np.int64) - low, mode="clip")


def places_of(values: NDArray[Any], spikes: Sequence[float]) -> NDArray[np.integer[Any]]:
    """Say which of some values each number [N] is, from 1; 0 for none.

    Parameters
    ----------
    values
        Integers or floats of any width.
    spikes
        One value or more, in order.

    Examples
    --------
    >>> places_of(np.array([40.0, 39.5, 0.0, np.nan]), (0.0, 40.0)).tolist()
    [2, 0, 1, 0]
    """
    known = np.array(spikes)
    low, high = known[0] - 1, known[-1] + 1
    # A table by value costs a pass over its span; far beyond it neighbours are one float64.
    near = high - low <= min(MOST_SPAN, 16 * len(values)) and max(-low, high) <= 2**52
    if not near or (np.rint(known) != known).any():
        place = np.searchsorted(known, values).clip(max=len(known) - 1)
        return np.where(known[place] == values, place + 1, 0)
    table = np.zeros(int(high - low) + 1, dtype=np.uint16)
    table[(known - low).astype(np.int64)] = np.arange(1, len(known) + 1)
    return by_value(values, int(low), table)


def may_mean_more(
    texts: pa.StringArray | pa.LargeStringArray, rows: NDArray[np.int64], *, numbers: bool
) -> NDArray[np.bool_]:
    """Say which of some texts may be equal to another text, or a word for missing.

    Those with blanks around them, numbers and short words are: they are worth a careful look. Of
    the many names in a column hardly one is, and two bytes of each tell.

    Parameters
    ----------
    texts
        Texts [N].
    rows
        Which of them to look at, int64 [M]; none is null.
    numbers
        Whether numbers are equal by value, ``1e1`` and ``10``, and not only ``10.0`` and ``10``.

    Returns
    -------
    numpy.ndarray
        bool [M].

    Examples
    --------
    >>> texts = pa.array(["Ulm", " Ulm", "10.0", "1e1", "n/a", "", "Neu-Ulm, Donau"])
    >>> may_mean_more(texts, np.arange(7), numbers=False)
    array([False,  True,  True, False,  True,  True, False])
    """
    wide = pa.types.is_large_string(texts.type)
    _, offsets, data = texts.buffers()
    ends: NDArray[np.integer[Any]] = np.frombuffer(offsets, np.int64 if wide else np.int32)
    ends = ends[texts.offset :]
    start, stop = ends[rows], ends[rows + 1]
    lengths = stop - start
    empty: NDArray[np.bool_] = lengths == 0
    if data is None or not data.size:
        return empty
    raw = np.frombuffer(data, np.uint8)
    # An empty text at the very end begins behind the last byte.
    first, last = raw.take(start, mode="clip"), raw.take(stop - 1, mode="clip")
    found: NDArray[np.bool_] = empty | _BLANK[first] | _BLANK[last]
    found |= (lengths <= _LONGEST) & _WORD[first]
    found |= _SIGNED[first] if numbers else _DIGIT[first] & (last == ord("0"))
    return found
