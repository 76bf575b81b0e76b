"""Arrow text by its bytes: words of eight bytes, columns of bytes, equal texts counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from thalweg.stats.arrays import present

_TAILS: Final = np.array([(1 << (8 * kept)) - 1 for kept in range(9)], dtype=np.uint64)
_BLANKS: Final = np.isin(np.arange(256), np.frombuffer(b" \t\n\r\v\f", dtype=np.uint8))


@final
@dataclass(frozen=True, slots=True)
class TextBytes:
    """The UTF-8 bytes behind a text array.

    Parameters
    ----------
    data
        uint8 [bytes + 8]: the bytes, and eight zeros so that a word can be read anywhere.
    starts, lengths
        int64 [N]: where each text's bytes begin and how many they are. A null has none.
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, texts: pa.LargeStringArray | pa.LargeBinaryArray) -> TextBytes:
        """Read the buffers of a large_string or large_binary array, sliced or not."""
        _, offset_buffer, data_buffer = texts.buffers()
        if not len(texts):
            none = np.zeros(0, dtype=np.int64)
            return cls(np.zeros(8, dtype=np.uint8), none, none)
        offsets = np.frombuffer(offset_buffer, dtype=np.int64)
        offsets = offsets[texts.offset : texts.offset + len(texts) + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        data = np.zeros(last - first + 8, dtype=np.uint8)
        if last > first:
            data[:-8] = np.frombuffer(data_buffer, dtype=np.uint8)[first:last]
        lengths = np.diff(offsets)
        if texts.null_count:
            lengths = np.where(present(texts), lengths, 0)
        return cls(data, offsets[:-1] - first, lengths)

    @property
    def ends(self) -> NDArray[np.int64]:
        """Where each text's bytes end: int64 [N]."""
        return self.starts + self.lengths

    def words(self, starts: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Read eight bytes from each start, little-endian; those from ``kept`` on are 0."""
        anywhere = as_strided(
            self.data[:8].view("<u8"), shape=(len(self.data) - 7,), strides=(1,), writeable=False
        )
        loaded = anywhere[starts].astype(np.uint64, copy=False)
        return loaded & _TAILS[kept]

    def matrix(self, words: int) -> NDArray[np.uint8]:
        """Give the first ``8 * words`` bytes of each text as columns: uint8 [8 * words, N]."""
        columns = np.zeros((len(self.starts), words), dtype="<u8")
        for word in range(words):
            kept = np.clip(self.lengths - 8 * word, 0, 8)
            begins = np.minimum(self.starts + 8 * word, len(self.data) - 8)
            columns[:, word] = self.words(begins, kept)
        return np.ascontiguousarray(columns.view(np.uint8).T)

    def blank_parted(self) -> NDArray[np.int64]:
        """Count the words of each text, parted by ASCII blanks: int64 [N]."""
        blank = _BLANKS[self.data]
        begins = np.zeros(len(blank), dtype=np.bool_)
        begins[1:] = ~blank[1:] & blank[:-1]
        some = self.lengths > 0
        begins[self.starts[some]] = ~blank[self.starts[some]]
        places = np.flatnonzero(begins)
        first, last = (np.searchsorted(places, at) for at in (self.starts, self.ends))
        counts: NDArray[np.int64] = last - first
        return counts


def count_texts(
    texts: pa.LargeStringArray, weights: NDArray[np.int64] | None = None
) -> tuple[pa.LargeStringArray, NDArray[np.int64]]:
    """Count equal texts [N]: the distinct ones in the order of their first, and their counts."""
    encoded = texts.dictionary_encode()
    indices = encoded.indices.to_numpy()
    distinct = len(encoded.dictionary)
    if weights is None:
        return encoded.dictionary, np.bincount(indices, minlength=distinct)
    if weights.sum() < 2**53:  # float64 adds such integers exactly
        sums = np.bincount(indices, weights=weights, minlength=distinct)
        return encoded.dictionary, sums.astype(np.int64)
    exact = np.zeros(distinct, dtype=np.int64)
    np.add.at(exact, indices, weights)
    return encoded.dictionary, exact
