"""Dates and times written as text, read by their bytes: thousands at once, without a regex.

A date is year first (``2024-05-31``, ``2024/05/31``) or year last (``31.05.2024``, and with
slashes the day first or the month first). A time of day may follow after a blank or ``T``:
``08:26``, ``08:26:59``, ``08:26:59.123456789``, and then a zone: ``Z``, ``+02``, ``+0200``,
``+02:00``. Days, months and hours may lack their leading zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.stats.arrays import spread
from thalweg.stats.texts import TextBytes

ISO: Final = "YYYY-MM-DD"
YEAR_FIRST: Final = "YYYY/MM/DD"
DOTS: Final = "DD.MM.YYYY"
MONTH_FIRST: Final = "MM/DD/YYYY"
DAY_FIRST: Final = "DD/MM/YYYY"

FORMATS: Final = (ISO, YEAR_FIRST, DOTS, MONTH_FIRST, DAY_FIRST)
"""The ways to write a date that are read, each with or without a time of day and a zone."""

_WORDS: Final = 5  # 40 bytes: the longest form, 2024-05-31T08:26:59.123456789+02:00, has 35
_LONGEST: Final = 36

_SIGN: Final = np.isin(np.arange(256), np.frombuffer(b"-/.", dtype=np.uint8))

Int = NDArray[np.int64]
Mask = NDArray[np.bool_]


def reading_order(formats: Sequence[str]) -> tuple[str, ...]:
    """Put formats into the order in which they are tried; of the two with slashes the first stays.

    Whether ``01/02/2024`` is January or February is decided once for a column, never by value.

    Examples
    --------
    >>> reading_order(["YYYY-MM-DD", "DD/MM/YYYY", "MM/DD/YYYY"])
    ('YYYY-MM-DD', 'DD/MM/YYYY')
    """
    slashes = [name for name in formats if name in (DAY_FIRST, MONTH_FIRST)]
    return tuple(name for name in formats if name not in slashes[1:])


def read_dates(
    texts: pa.LargeStringArray, formats: Sequence[str] = FORMATS
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Read texts once in each format.

    Parameters
    ----------
    texts
        Texts [N] without blanks at their ends.
    formats
        Which of `FORMATS` to read.

    Yields
    ------
    tuple
        The format and float64 [N]: seconds since 1970-01-01 UTC, NaN where it does not read the
        text. Formats that read none are left out.
    """
    raw = TextBytes.of(texts)
    some = np.flatnonzero(_promising(raw))
    if not len(some):
        return
    chosen = texts if len(some) == len(texts) else texts.take(pa.array(some))
    columns, lengths = _padded(chosen)
    numbers = columns - np.uint8(48)
    digit = _digits(columns)
    clock, valid = _clock(columns, numbers, digit, lengths)
    dash, slash, dot = (columns == ord(sign) for sign in "-/.")
    first_four = digit[:4].all(axis=0) & digit[[5, 6, 8, 9]].all(axis=0) & valid
    last_four = digit[[0, 1, 3, 4]].all(axis=0) & digit[6:10].all(axis=0) & valid
    year, month, day = _number(numbers, 0, 4), _number(numbers, 5, 2), _number(numbers, 8, 2)
    left, right, late = _number(numbers, 0, 2), _number(numbers, 3, 2), _number(numbers, 6, 4)
    readings = {
        ISO: (first_four & dash[4] & dash[7], year, month, day),
        YEAR_FIRST: (first_four & slash[4] & slash[7], year, month, day),
        DOTS: (last_four & dot[2] & dot[5], late, right, left),
        MONTH_FIRST: (last_four & slash[2] & slash[5], late, left, right),
        DAY_FIRST: (last_four & slash[2] & slash[5], late, right, left),
    }
    for name in formats:
        shaped, *date = readings[name]
        if shaped.any():
            found = np.full(len(texts), np.nan)
            found[some] = np.where(shaped, _days(*date) * 86_400.0 + clock[0], np.nan) + clock[1]
            if not np.isnan(found).all():
                yield name, found


def read_text_times(array: pa.Array, formats: Sequence[str]) -> NDArray[np.float64]:
    """Give seconds since 1970-01-01 UTC [N], by the first format that reads each text, or NaN."""
    if isinstance(array, pa.DictionaryArray):
        return spread(array, read_text_times(array.dictionary, formats), np.nan)
    seconds = np.full(len(array), np.nan)
    for _, found in read_dates(array, reading_order(formats)):
        seconds = np.where(np.isnan(seconds), found, seconds)
    return seconds


def _promising(raw: TextBytes) -> Mask:
    """Say which texts begin as a date does: a digit, and the same sign twice where it may stand."""
    promising: Mask = (raw.lengths >= 8) & (raw.lengths <= _LONGEST)
    if not promising.any():
        return promising
    begin = raw.matrix(1)
    promising &= _digits(begin[0])
    parted = np.zeros(len(promising), dtype=np.bool_)
    for first, seconds in ((1, (3, 4)), (2, (4, 5)), (4, (6, 7))):
        again = (begin[seconds[0]] == begin[first]) | (begin[seconds[1]] == begin[first])
        parted |= again & _SIGN[begin[first]]
    return promising & parted


def _digits(columns: NDArray[np.uint8]) -> Mask:
    digit: Mask = columns - np.uint8(48) < 10
    return digit


def _padded(texts: pa.LargeStringArray) -> tuple[NDArray[np.uint8], Int]:
    """Give the bytes [40, N] and lengths of texts whose lone digits have their zero again."""
    raw = TextBytes.of(texts)
    columns = raw.matrix(_WORDS)
    second, fourth, fifth, seventh = (_SIGN[columns[place]] for place in (2, 4, 5, 7))
    regular = (fourth & seventh) | (second & fifth)
    regular &= (raw.lengths == 10) | ((raw.lengths > 10) & (columns[13] == ord(":")))
    if regular.all():
        return columns, raw.lengths
    padded = pc.replace_substring_regex(texts, r"\b(\d)([-/.: T])", r"0\1\2")
    padded = pc.replace_substring_regex(padded, r"^(\d+[-/]\d+[-/])(\d)$", r"\10\2")
    again = TextBytes.of(padded)
    fits = again.lengths <= _LONGEST
    return np.where(~regular & fits, again.matrix(_WORDS), columns), np.where(
        ~regular & fits, again.lengths, raw.lengths
    )


def _number(numbers: NDArray[np.uint8], at: int, digits: int) -> Int:
    """Read a number of some digits; nonsense where they are none."""
    found = np.zeros(numbers.shape[1], dtype=np.int64)
    for place in range(at, at + digits):
        found = found * 10 + numbers[place]
    return found


def _days(year: Int, month: Int, day: Int) -> NDArray[np.float64]:
    """Count days since 1970-01-01 in the Gregorian calendar; NaN where there is no such day."""
    valid = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(valid, (year - 1970) * 12 + month - 1, 0)
    begin, end = (
        (months + more).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        for more in (0, 1)
    )
    valid &= day <= end - begin
    return np.where(valid, begin + day - 1, np.nan)


def _clock(
    columns: NDArray[np.uint8], numbers: NDArray[np.uint8], digit: Mask, lengths: Int
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], Mask]:
    """Read what follows the ten bytes of the date.

    Returns
    -------
    tuple
        Whole seconds and the fraction of a second, each float64 [N] and less the zone; and
        whether the text is a date alone or a date with a time.
    """
    nothing = np.zeros(len(lengths))
    bare = lengths == 10
    if bare.all():
        return (nothing, nothing), bare
    hour, minute, second = (_number(numbers, at, 2) for at in (11, 14, 17))
    colon = columns == ord(":")
    parted = (columns[10] == ord(" ")) | (columns[10] == ord("T"))
    timed = parted & digit[[11, 12, 14, 15]].all(axis=0) & colon[13] & (hour < 24) & (minute < 60)
    seconds = colon[16] & digit[17] & digit[18] & (second < 60)
    dotted = seconds & ((columns[19] == ord(".")) | (columns[19] == ord(","))) & digit[20]
    end, nanoseconds = np.where(seconds, 19, 16), np.zeros(len(lengths), dtype=np.int64)
    if dotted.any():
        alive = np.logical_and.accumulate(digit[20:29]) & dotted
        for place in range(9):
            nanoseconds += alive[place] * numbers[20 + place].astype(np.int64) * 10 ** (8 - place)
        end = np.where(dotted, 20 + alive.sum(axis=0), end)
    zone, zoned = _zone(columns, numbers, digit, end, lengths)
    timed &= zoned
    whole = hour * 3600 + minute * 60 + np.where(seconds, second, 0) - zone
    return (
        np.where(timed, whole, 0).astype(np.float64),
        np.where(timed, nanoseconds / 1e9, 0.0),
    ), bare | timed


def _zone(
    columns: NDArray[np.uint8], numbers: NDArray[np.uint8], digit: Mask, at: Int, lengths: Int
) -> tuple[Int, Mask]:
    """Read the zone that begins at a place: seconds east of Greenwich, and whether it is one."""
    if (lengths <= at).all():
        return np.zeros(len(at), dtype=np.int64), lengths == at
    rows = np.arange(len(at))
    sign = columns[at, rows]
    left = lengths - at
    colon = columns[at + 3, rows] == ord(":")
    tail = np.where(colon, at + 4, at + 3)
    hours = numbers[at + 1, rows].astype(np.int64) * 10 + numbers[at + 2, rows]
    minutes = numbers[tail, rows].astype(np.int64) * 10 + numbers[tail + 1, rows]
    offset = (sign == ord("+")) | (sign == ord("-"))
    offset &= digit[at + 1, rows] & digit[at + 2, rows] & (hours < 24)
    full = offset & digit[tail, rows] & digit[tail + 1, rows] & (minutes < 60)
    full &= left == np.where(colon, 6, 5)
    short = offset & (left == 3)
    east = np.where(full, hours * 3600 + minutes * 60, np.where(short, hours * 3600, 0))
    utc = (left == 1) & (sign == ord("Z"))
    return np.where(sign == ord("-"), -east, east), (left == 0) | utc | full | short
