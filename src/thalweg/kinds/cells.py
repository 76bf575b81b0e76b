"""Facts about cells that several kinds need: what is there, what cannot be read, what is a code."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import ColumnError
from thalweg.stats import ColumnSummary
from thalweg.stats.arrays import plain
from thalweg.stats.parsing import is_missing_text


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


def whole_numbers(array: pa.Array, null: int) -> NDArray[np.int64]:
    """Give integers [N] as int64, and a number of your choice for null."""
    numbers: NDArray[np.int64]
    if not array.null_count:
        # Arrow's own cast and fill cost more than all the rest where there is one row.
        numbers = array.to_numpy(zero_copy_only=False).astype(np.int64)
    else:
        numbers = array.cast(pa.int64()).fill_null(null).to_numpy()
    return numbers
