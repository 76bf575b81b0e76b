"""What features read of cells: keys and values as hashes, numbers, moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from thalweg.stats.arrays import plain, present, seconds_of, sort_of, ticks_of
from thalweg.stats.hashing import MISSING, hash_values, mix
from thalweg.stats.parsing import FORMATS, is_missing_text, read_numbers, read_times

Hashes = NDArray[np.uint64]
Moments = NDArray[np.int64]
Mask = NDArray[np.bool_]

NO_TIME: Final = np.iinfo(np.int64).min
"""The moment of a row that has none."""

EARLIEST: Final = -62_135_596_800_000_000  # 0001-01-01
LATEST: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999

_ALL: Final = (1 << 64) - 1
_FEW: Final = 256
_MOST_KNOWN: Final = 1 << 16


def read_moments(array: pa.Array | pa.ChunkedArray, formats: Sequence[str] = FORMATS) -> Moments:
    """Read when rows were: dates, timestamps, texts that say one, or seconds since 1970.

    Returns
    -------
    numpy.ndarray
        int64 [N]: microseconds since 1970-01-01 UTC; `NO_TIME` where there is no time between the
        years 1 and 9999.

    Examples
    --------
    >>> read_moments(pa.array(["1970-01-02", "1.5", None])).tolist()[:2]
    [86400000000, 1500000]
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
        seconds, timed = np.where(timed, seconds, numbers), timed | counted
    inside = timed & (seconds >= EARLIEST / 1e6) & (seconds <= LATEST / 1e6)
    found[inside] = np.rint(seconds[inside] * 1e6).astype(np.int64)
    return found


def read_floats(array: pa.Array) -> NDArray[np.float64]:
    """Read numbers, float64 [N]; NaN where there is no finite one. Zero has no sign."""
    return read_numbers(array)[0] + 0.0


def is_plain(text: str) -> bool:
    """Say whether a text is all that it says: no number, without blanks at its ends."""
    return text.isascii() and text[:1].isalpha() and "!" <= text[-1] <= "~"


def plain_hash(text: str) -> np.uint64:
    """Hash a text that `is_plain` as `hash_values` does, which is made for thousands at once.

    Examples
    --------
    >>> bool(plain_hash("card 17") == hash_values(pa.array(["card 17"]))[0])
    True
    """
    data = text.encode()
    sums = 0
    for word in range(0, len(data), 8):
        sums += _mix(int.from_bytes(data[word : word + 8], "little") ^ _mix(word >> 3))
    return np.uint64(_mix((sums & _ALL) ^ _mix(len(data))))


def _mix(value: int) -> int:
    """Scatter one integer as `thalweg.stats.hashing.mix` does."""
    value = (value + 0x9E37_79B9_7F4A_7C15) & _ALL
    value = ((value ^ value >> 30) * 0xBF58_476D_1CE4_E5B9) & _ALL
    value = ((value ^ value >> 27) * 0x94D0_49BB_1331_11EB) & _ALL
    return value ^ value >> 31


@final
class Hasher:
    """Hashes cells; of small batches it remembers the texts that it has seen.

    A lone text takes longer to hash than everything else that is done with its row.
    """

    def __init__(self) -> None:
        self._known: dict[str, np.uint64] = {}
        self._valued: dict[str, np.uint64] = {}

    def hash(self, array: pa.Array) -> Hashes:
        """Hash cells by what they say; what is no finite value is `MISSING`: uint64 [N]."""
        array = plain(array)
        if pt.is_large_string(array.type) and len(array) <= _FEW:
            return self._few(array, self._known)
        hashes = hash_values(array)
        if pt.is_floating(array.type):
            hashes[~read_numbers(array)[1]] = MISSING
        return hashes

    def values(self, array: pa.Array) -> Hashes:
        """Hash cells as `hash` does; texts that say that a value is missing are `MISSING` too."""
        array = plain(array)
        if pt.is_large_string(array.type) and len(array) <= _FEW:
            return self._few(array, self._valued)
        hashes = self.hash(array)
        hashes[is_missing_text(array)] = MISSING
        return hashes

    def _few(self, array: pa.LargeStringArray, known: dict[str, np.uint64]) -> Hashes:
        texts: list[Any] = array.to_pylist()
        new = [text for text in dict.fromkeys(texts) if text not in known and text is not None]
        if new:
            if len(known) > _MOST_KNOWN:
                known.clear()
                new = [text for text in dict.fromkeys(texts) if text is not None]
            known.update((text, plain_hash(text)) for text in new if is_plain(text))
            rest = pa.array([text for text in new if text not in known], pa.large_string())
            if len(rest):
                known.update(zip(rest.to_pylist(), hash_values(rest), strict=True))
            if known is self._valued:
                missing = is_missing_text(pa.array(new, pa.large_string())).tolist()
                known.update((text, MISSING) for text, no in zip(new, missing, strict=True) if no)
        return np.array([known.get(text, MISSING) for text in texts], dtype=np.uint64)

    def keys(self, arrays: Sequence[pa.Array], rows: int) -> tuple[Hashes, Mask]:
        """Join the cells of columns to a key for each row.

        Returns
        -------
        tuple
            uint64 [N]; and bool [N], whether no part of the key is missing.
        """
        if len(arrays) == 1:
            joined = self.hash(arrays[0])
            return joined, joined != MISSING
        joined = np.zeros(rows, dtype=np.uint64)
        there = np.ones(rows, dtype=np.bool_)
        for array in arrays:
            hashes = self.hash(array)
            there &= hashes != MISSING
            joined = mix(joined + hashes)
        return joined, there
