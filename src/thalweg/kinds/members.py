"""Cells that hold several labels: lists of them, or one text with a delimiter between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import ColumnError
from thalweg.kinds.classes import distinct_of
from thalweg.stats.arrays import is_list, plain, sort_of
from thalweg.stats.parsing import canonical_text, is_missing_text, read_numbers, stripped

DELIMITERS: Final = ("|", ";", ",", "\t", "/")
"""What may stand between labels; where several would do, the earlier is taken."""

_LEAST_TEXTS: Final = 8
_MOST_CHARACTERS: Final = 30
_MOST_WORDS: Final = 3


@final
@dataclass(frozen=True, slots=True)
class Members:
    """The labels of some cells.

    Parameters
    ----------
    cells
        int64 [M]: the cell that each label stands in, in order.
    texts
        string [M]: the labels as canonical text, none null.
    present
        Bool [cells]: whether a cell holds a set, if only an empty one.
    index
        int64 [N]: which of the cells each row shows; -1 for a row without one. Equal texts are
        read once.
    """

    cells: NDArray[np.int64]
    texts: pa.StringArray
    present: NDArray[np.bool_]
    index: NDArray[np.int64]


def members(array: pa.Array, delimiter: str) -> Members:
    """Take cells [N] apart into labels.

    Lists hold labels as their items. All else is read as text: what stands between delimiters,
    without the blanks around it, and nothing where nothing stands. A blank text is an empty set,
    as an empty list is; null and words for missing are no set.

    Parameters
    ----------
    array
        Cells of any type but records.
    delimiter
        What stands between the labels of a text; where it is empty, a text is one label.

    Raises
    ------
    ColumnError
        Where cells are records, or lists of lists.

    Examples
    --------
    >>> found = members(pa.array(["b| a", "n/a", "", "b| a"]), "|")
    >>> found.texts.to_pylist(), found.cells.tolist(), found.index.tolist()
    (['b', 'a'], [0, 0], [0, 1, 2, 0])
    >>> found.present.tolist()
    [True, False, True]
    """
    array = plain(array)
    if pa.types.is_dictionary(array.type) and pa.types.is_nested(array.type.value_type):
        array = array.dictionary_decode()
    if is_list(array.type):
        return _listed(array)
    if pa.types.is_nested(array.type):
        raise ColumnError(
            f"a column whose cells are {array.type}",
            "lists of labels, or texts with a delimiter between labels",
            "Split the column first, or leave it out.",
        )
    return _delimited(array, delimiter)


def _listed(array: pa.Array) -> Members:
    """Take lists [N] apart."""
    if pa.types.is_nested(array.type.value_type):
        raise ColumnError(
            f"a column whose cells are {array.type}",
            "lists of texts or whole numbers",
            "Split the column first, or leave it out.",
        )
    present = array.is_valid().to_numpy(zero_copy_only=False)
    sizes = pc.list_value_length(array).fill_null(0).to_numpy().astype(np.int64)
    texts = _canonical(pc.list_flatten(array))
    cells = np.repeat(np.arange(len(array)), sizes)
    return _known(cells, texts, present, np.arange(len(array)))


def _delimited(array: pa.Array, delimiter: str) -> Members:
    """Take what reads as text [N] apart, each distinct value once."""
    distinct = distinct_of(array)
    index = distinct.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    values = distinct.dictionary
    texts = canonical_text(values).cast(pa.large_string())
    if sort_of(values.type) == "text":
        # "1.0" alone is 1, but in "1.0|2" nothing but the labels may be read as numbers.
        texts = stripped(values)
    present = texts.is_valid().to_numpy(zero_copy_only=False)
    texts = texts.fill_null("")
    blank = pc.equal(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False)
    present &= blank | ~is_missing_text(texts)
    if not delimiter:
        cells = np.flatnonzero(present & ~blank)
        return _known(cells, _canonical(texts.take(pa.array(cells))), present, index)
    parts = pc.split_pattern(texts.filter(pa.array(present)), delimiter)
    sizes = pc.list_value_length(parts).to_numpy().astype(np.int64)
    cells = np.repeat(np.flatnonzero(present), sizes)
    return _known(cells, _canonical(parts.flatten()), present, index)


def _canonical(items: pa.Array) -> pa.Array:
    """Write labels [M] as canonical text, each distinct one once; null for what says nothing."""
    found = distinct_of(items)
    texts = canonical_text(found.dictionary)
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)
    return pc.take(texts, found.indices)


def _known(
    cells: NDArray[np.int64],
    texts: pa.Array,
    present: NDArray[np.bool_],
    index: NDArray[np.int64],
) -> Members:
    """Leave out labels that say nothing."""
    if texts.null_count:
        kept = texts.is_valid()
        cells, texts = cells[kept.to_numpy(zero_copy_only=False)], texts.filter(kept)
    return Members(cells, texts, present, index)


@final
@dataclass(frozen=True, slots=True)
class Split:
    """What a delimiter makes of some texts.

    Parameters
    ----------
    delimiter
        The delimiter.
    share
        In how many of the texts it stands.
    convincing
        Whether its parts are labels beyond doubt: few, short, used again and again, and not
        always equally many.
    """

    delimiter: str
    share: float
    convincing: bool


def best_split(texts: list[str]) -> Split:
    """Find the delimiter that parts some distinct texts best.

    Parameters
    ----------
    texts
        Distinct texts, a sample of a column's.

    Examples
    --------
    >>> best_split(["a|b", "b|c", "c", "a", "a|c", "a|b|c", "b", "b|d", "a|d", "c|d", "d"])
    Split(delimiter='|', share=0.636..., convincing=True)
    >>> best_split(["Smith, John", "Miller, Ann"] * 9).convincing
    False
    """
    array = pa.array(texts, pa.large_string())
    array = array.filter(pa.array(~is_missing_text(array)))
    splits = [_split(array, delimiter) for delimiter in DELIMITERS]
    return max(splits, key=lambda one: (one.convincing, one.share))


def _split(texts: pa.Array, delimiter: str) -> Split:
    """Say what one delimiter makes of texts without words for missing."""
    parted = int(pc.sum(pc.match_substring(texts, delimiter)).as_py() or 0)
    share = parted / max(1, len(texts))
    if len(texts) < _LEAST_TEXTS or share < 0.2:
        return Split(delimiter, share, convincing=False)
    found = members(texts, delimiter)
    sizes = np.bincount(found.cells, minlength=len(texts))
    often: NDArray[np.int64] = np.asarray(found.texts.value_counts().field("counts"))
    labels = found.texts.unique()
    characters = pc.mean(pc.utf8_length(labels)).as_py() or 0.0
    words = pc.mean(pc.add(pc.count_substring(labels, " "), 1)).as_py() or 0.0
    # A name has two parts and a date three; sets are of all sizes, and their labels come again.
    convincing = (
        len(np.unique(sizes[sizes > 0])) > 1
        and len(labels) <= 0.6 * len(texts)
        and often[often > 1].sum() >= 0.8 * often.sum()
        and characters <= _MOST_CHARACTERS
        and words <= _MOST_WORDS
        and (delimiter not in ",/" or not _numeric(labels))
    )
    return Split(delimiter, share, bool(convincing))


def _numeric(labels: pa.Array) -> bool:
    """Say whether some labels are digits: then a comma or a slash is part of a number or date."""
    return bool(read_numbers(labels)[1].mean() > 0.3)


def joined(lists: pa.Array, delimiter: str) -> pa.StringArray:
    """Write lists of labels [N] as texts with a delimiter between labels."""
    return pc.binary_join(lists.cast(pa.list_(pa.string())), delimiter)


def lists_of(
    rows: NDArray[np.integer[Any]], values: pa.Array, count: int, mask: NDArray[np.bool_] | None
) -> pa.ListArray:
    """Gather labels into lists.

    Parameters
    ----------
    rows
        [M]: the row of each label, in order.
    values
        The labels [M].
    count
        How many rows there are.
    mask
        Bool [count]: rows that are null, which have no label; None for none.
    """
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(rows, minlength=count), out=offsets[1:])
    return pa.ListArray.from_arrays(
        pa.array(offsets), values, mask=None if mask is None else pa.array(mask)
    )
