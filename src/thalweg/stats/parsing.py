"""What a value says: as a number, as a time, as text. One reading for summaries and for kinds.

Every function looks at one value at a time: the answer for a cell is the same whatever stands
around it, so that what the summary counted as a number is what encoding reads as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from thalweg.stats.arrays import plain, present, seconds_of, sort_of, spread, ticks_of
from thalweg.stats.dates import FORMATS, read_text_times
from thalweg.stats.texts import TextBytes

__all__ = [
    "FORMATS",
    "MISSING_TEXTS",
    "canonical_text",
    "is_missing_text",
    "means_missing",
    "number_text",
    "read_numbers",
    "read_times",
    "stripped",
    "text_numbers",
    "time_text",
    "without_zeros",
]

MISSING_TEXTS: Final = frozenset(
    ("", "?", "na", "n/a", "nan", "null", "none", "-", "--", "#n/a", "missing")
)
"""Texts that say that a value is missing, stripped of blanks and in lower case."""

_SOLID: Final = (np.arange(256) > 0x20) & (np.arange(256) < 0x7F)  # ASCII that is no blank
_NUMERIC: Final = np.isin(np.arange(256), np.frombuffer(b"0123456789+-.", dtype=np.uint8))
_DECIMAL: Final = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_LIMIT: Final = 2.0**63
_EARLIEST: Final = -62_135_596_800.0  # 0001-01-01
_LATEST: Final = 253_402_300_799.0  # 9999-12-31T23:59:59


def stripped(array: pa.Array) -> pa.LargeStringArray:
    """Take blanks (any Unicode white space) off both ends of texts [N]."""
    texts = plain(array)
    return texts if _bare(texts) else pc.utf8_trim_whitespace(texts)


def _bare(texts: pa.LargeStringArray) -> bool:
    """Say whether no text has blanks at its ends; where that is not sure, say no."""
    if not len(texts):
        return True
    # A slice that was cast keeps its offsets, and functions such as ascii_lower misread these.
    if np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset]:
        return False
    raw = TextBytes.of(texts)
    first, last = raw.data[raw.starts], raw.data[raw.ends - 1]
    return bool((_SOLID[first] & _SOLID[last] | (raw.lengths == 0)).all())


def is_missing_text(array: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Say which values are texts that mean 'missing': bool [N]. Nulls are not texts.

    Examples
    --------
    >>> is_missing_text(pa.array(["N/A", " ", "unknown", None]))
    array([ True,  True, False, False])
    """
    array = plain(array)
    if sort_of(array.type) != "text":
        return np.zeros(len(array), dtype=np.bool_)
    if isinstance(array, pa.DictionaryArray):
        found: NDArray[np.bool_] = spread(array, is_missing_text(array.dictionary), null=False)
        return found
    return means_missing(stripped(array))


def read_numbers(
    array: pa.Array | pa.ChunkedArray,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read values as numbers.

    Numbers are read as they are, durations and times of day in seconds. Text is read where it is
    a number as programs write it: ``12``, ``" 3.5 "``, ``+.7``, ``1e3``; not ``1,000``, ``$5``,
    ``inf`` or ``0x10``. Booleans are no numbers.

    Parameters
    ----------
    array
        Values [N] of any Arrow type.

    Returns
    -------
    tuple
        float64 [N], NaN where there is no finite number; and bool [N], where there is one.

    Examples
    --------
    >>> read_numbers(pa.array([" 3.5", "1e3", "1,000", None]))
    (array([   3.5, 1000. ,    nan,    nan]), array([ True,  True, False, False]))
    """
    array = plain(array)
    if isinstance(array, pa.DictionaryArray):
        values = spread(array, read_numbers(array.dictionary)[0], np.nan)
        return values, ~np.isnan(values)
    match sort_of(array.type):
        case "number":
            values = _as_floats(array)
        case "text":
            values = text_numbers(stripped(array))
        case _:
            values = np.full(len(array), np.nan)
    valid = np.isfinite(values)
    return (values if valid.all() else np.where(valid, values, np.nan)), valid


def means_missing(texts: pa.LargeStringArray) -> NDArray[np.bool_]:
    """Say which texts [N] without blanks at their ends are in `MISSING_TEXTS`."""
    known = pa.array(sorted(MISSING_TEXTS), type=pa.large_string())
    missing = pc.is_in(pc.ascii_lower(texts), value_set=known)
    mask: NDArray[np.bool_] = missing.to_numpy(zero_copy_only=False)
    return mask


def text_numbers(texts: pa.LargeStringArray) -> NDArray[np.float64]:
    """Read texts [N] without blanks at their ends as finite numbers; NaN for none."""
    raw = TextBytes.of(texts)
    promising = _NUMERIC[raw.data[raw.starts]]
    promising &= raw.lengths > 0
    found = np.full(len(texts), np.nan)
    if promising.any():
        some = texts if promising.all() else texts.filter(pa.array(promising))
        values = _decimals(some)
        found[promising] = np.where(np.isfinite(values), values, np.nan)
    return found


def _decimals(texts: pa.LargeStringArray) -> NDArray[np.float64]:
    """Read texts [N] as the nearest doubles; NaN for those that are no decimal number."""
    found: NDArray[np.float64]
    try:
        found = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # one that is none, or has a plus, and the cast reads no other either
        read = pc.match_substring_regex(texts, _DECIMAL)
        numbers = pc.replace_substring_regex(texts.filter(read), r"^\+", "")
        found = np.full(len(texts), np.nan)
        found[read.to_numpy(zero_copy_only=False)] = numbers.cast(pa.float64())
    return found


def read_times(
    array: pa.Array | pa.ChunkedArray, formats: Sequence[str] = FORMATS
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read values as times.

    Parameters
    ----------
    array
        Values [N] of any Arrow type: dates and timestamps (without a zone they are UTC), or text.
    formats
        Which of `FORMATS` to try on text, the first that reads a value first. Of the two that
        begin with a day or a month and a slash only the first given is used. Others are ignored.

    Returns
    -------
    tuple
        float64 [N]: seconds since 1970-01-01 UTC, NaN where there is no time; and bool [N].

    Examples
    --------
    >>> read_times(pa.array(["1970-01-02", "1970-01-01 00:00:30+00:00", "soon"]))[0]
    array([8.64e+04, 3.00e+01,      nan])
    """
    array = plain(array)
    match sort_of(array.type):
        case "text":
            known = [name for name in formats if name in FORMATS]
            texts = array if isinstance(array, pa.DictionaryArray) else stripped(array)
            if isinstance(texts, pa.DictionaryArray):
                trimmed = stripped(texts.dictionary)
                texts = pa.DictionaryArray.from_arrays(texts.indices, trimmed)
            seconds = read_text_times(texts, known)
        case "time":
            seconds = _as_seconds(array)
        case _:
            seconds = np.full(len(array), np.nan)
    return seconds, ~np.isnan(seconds)


def canonical_text(array: pa.Array | pa.ChunkedArray) -> pa.StringArray:  # one a sort
    """Write values as text, the same for a value however it was stored.

    Text is stripped of blanks; whole numbers have no ``.0``, in text as well; booleans are
    ``true`` and ``false``; times are ISO 8601 in UTC to the microsecond, without a time of day
    at midnight; durations and times of day are numbers of seconds. Null and NaN stay null. Binary
    values, lists and structs are named by their type alone.

    Examples
    --------
    >>> canonical_text(pa.array([1.0, 0.5, None])).to_pylist()
    ['1', '0.5', None]
    >>> canonical_text(pa.array([" 1.0", "01.0", "a "])).to_pylist()
    ['1', '01.0', 'a']
    """
    array = plain(array)
    if isinstance(array, pa.DictionaryArray):
        return canonical_text(array.dictionary).take(array.indices)
    match sort_of(array.type):
        case "text":
            texts = stripped(array)
            return without_zeros(texts, text_numbers(texts)).cast(pa.string())
        case "number" if pt.is_integer(array.type):
            return array.cast(pa.string())
        case "number":
            return number_text(_as_floats(array))
        case "time":
            return time_text(_as_seconds(array))
        case "boolean" | "null":
            return array.cast(pa.string())
        case _:
            named = pa.array([f"<{array.type}>"]).take(pa.array(np.zeros(len(array), np.int64)))
            return pc.if_else(pa.array(present(array)), named, None)


def number_text(values: NDArray[np.float64]) -> pa.StringArray:
    """Write float64 [N]: whole ones as integers, others with the fewest digits; NaN is null."""
    whole = (np.abs(values) < _LIMIT) & (np.rint(values) == values)
    if whole.all():
        return pa.array(values.astype(np.int64)).cast(pa.string())
    integers = pa.array(np.where(whole, values, 0).astype(np.int64)).cast(pa.string())
    texts = pa.array(values, from_pandas=True).cast(pa.string())
    return pc.if_else(pa.array(whole), integers, texts)


def time_text(seconds: NDArray[np.float64]) -> pa.StringArray:
    """Write seconds since 1970 [N] as ISO 8601 in UTC; NaN is null, beyond year 9999 the number."""
    inside = (seconds >= _EARLIEST) & (seconds <= _LATEST)
    rounded = np.rint(np.where(inside, seconds, 0) * 1e6).astype(np.int64)
    texts = pa.array(rounded, type=pa.timestamp("us")).cast(pa.string())
    texts = pc.replace_substring_regex(texts, r"( 00:00:00)?\.0+$", "")
    texts = pc.replace_substring(texts, " ", "T")
    return texts if inside.all() else pc.if_else(pa.array(inside), texts, number_text(seconds))


def without_zeros(texts: pa.LargeStringArray, numbers: NDArray[np.float64]) -> pa.LargeStringArray:
    """Write whole numbers in text [N] as integers: ``-3.00`` as ``-3``, ``-0`` as ``0``.

    Only where nothing else is lost: ``03.0``, ``+3.0`` and ``3e0`` stay as they are.
    """
    whole = np.rint(numbers) == numbers
    if not whole.any():
        return texts
    some = texts.filter(pa.array(whole))
    plainly = pc.match_substring_regex(some, r"^-?(0|[1-9]\d*)\.0+$|^-0$")
    if not pc.any(plainly).as_py():
        return texts
    short = pc.replace_substring_regex(some.filter(plainly), r"\.0+$", "")
    short = pc.replace_substring_regex(short, "^-0$", "0")
    changed = np.flatnonzero(whole)[plainly.to_numpy(zero_copy_only=False)]
    mask = np.zeros(len(texts), dtype=np.bool_)
    mask[changed] = True
    return pc.replace_with_mask(texts, pa.array(mask), short)


def _as_floats(array: pa.Array) -> NDArray[np.float64]:
    """Give numbers as float64 [N]; nulls are NaN."""
    kind = array.type
    if pt.is_duration(kind) or pt.is_time(kind):
        return _as_seconds(array)
    if pt.is_decimal(kind):
        array = array.cast(pa.float64())
    values: NDArray[np.float64] = array.to_numpy(zero_copy_only=False)
    return values.astype(np.float64, copy=False)


def _as_seconds(array: pa.Array) -> NDArray[np.float64]:
    """Give temporal values as seconds, float64 [N]; nulls are NaN."""
    if isinstance(array, pa.DictionaryArray):
        return spread(array, _as_seconds(array.dictionary), np.nan)
    mask = present(array)
    whole, nanoseconds = seconds_of(*ticks_of(array.drop_null()))
    seconds = np.full(len(array), np.nan)
    seconds[mask] = whole + nanoseconds / 1e9
    return seconds
