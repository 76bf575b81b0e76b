"""When rows were: one reading of times for tables and for streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.stats.arrays import plain, present, seconds_of, sort_of, ticks_of
from thalweg.stats.parsing import FORMATS, read_numbers, read_times

Moments = NDArray[np.int64]

NO_TIME: Final = np.iinfo(np.int64).min
"""The moment of a row that has none."""

EARLIEST: Final = -62_135_596_800_000_000  # 0001-01-01
LATEST: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999

_SECONDS: Final = 1e11
"""Numbers below are seconds, below a thousand times that milliseconds, and so on."""


def read_moments(array: pa.Array | pa.ChunkedArray, formats: Sequence[str] = FORMATS) -> Moments:
    """Read when rows were: dates, timestamps, texts that say one, or numbers since 1970.

    Parameters
    ----------
    array
        Values [N] of any Arrow type. A number is taken for seconds, milli-, micro- or nanoseconds
        by its size.
    formats
        How dates in text are read: see `thalweg.stats.parsing.read_times`.

    Returns
    -------
    numpy.ndarray
        int64 [N]: microseconds since 1970-01-01 UTC; `NO_TIME` where there is no time between the
        years 1 and 9999.

    Examples
    --------
    >>> read_moments(pa.array(["1970-01-02", "1.5", "1700000000000", None])).tolist()[:3]
    [86400000000, 1500000, 1700000000000000]
    """
    array = plain(array)
    found = np.full(len(array), NO_TIME)
    if sort_of(array.type) == "time" and not isinstance(array, pa.DictionaryArray):
        whole, rest = seconds_of(*ticks_of(array.drop_null()))
        inside = (whole >= EARLIEST // 1_000_000) & (whole <= LATEST // 1_000_000)
        exact = np.where(inside, whole, 0) * 1_000_000 + rest // 1_000
        found[present(array)] = np.where(inside, exact, NO_TIME)
        return found
    seconds, timed = read_times(array, formats)
    if not timed.all():
        numbers, counted = read_numbers(array)
        size = np.abs(numbers)
        scale = np.select(
            [size < _SECONDS, size < 1e3 * _SECONDS, size < 1e6 * _SECONDS], [1.0, 1e3, 1e6], 1e9
        )
        seconds, timed = np.where(timed, seconds, numbers / scale), timed | counted
    inside = timed & (seconds >= EARLIEST / 1e6) & (seconds <= LATEST / 1e6)
    found[inside] = np.rint(seconds[inside] * 1e6).astype(np.int64)
    return found
