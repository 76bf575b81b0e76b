"""What features read of cells: keys and values as hashes, numbers, moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from thalweg.stats.arrays import plain
from thalweg.stats.hashing import MISSING, hash_values, mix
from thalweg.stats.parsing import is_missing_text, read_numbers

Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]

_ALL: Final = (1 << 64) - 1
_FEW: Final = 256
_MOST_KNOWN: Final = 1 << 16


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
