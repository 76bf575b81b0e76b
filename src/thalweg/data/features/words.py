"""Texts held once each and named by numbers."""

from __future__ import annotations

from typing import Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.data.features.runs import NO_CODE, is_there
from thalweg.data.features.values import is_plain
from thalweg.stats.parsing import MISSING_TEXTS, canonical_text, is_missing_text

Codes = NDArray[np.int64]

_FEW: Final = 64


def _stays(word: str) -> bool:
    """Say whether a text is kept as it is."""
    return is_plain(word) and word.lower() not in MISSING_TEXTS


@final
class Words:
    """The texts of a slot; one may have several codes until they are narrowed.

    Examples
    --------
    >>> words = Words()
    >>> codes = words.add(pa.array(["b", None, "a"]))
    >>> words.take(codes).to_pylist(), words.order(codes[[0, 2]]).tolist()
    (['b', None, 'a'], [1, 0])
    """

    def __init__(self) -> None:
        self._old = pa.array([], pa.large_string())
        self._new = self._old

    def add(self, cells: pa.Array | pa.ChunkedArray) -> Codes:
        """Give the codes of cells [N], as `canonical_text` writes them.

        What is missing, by a word for it as well (`MISSING_TEXTS`), is `NO_CODE`.
        """
        if len(cells) <= _FEW and isinstance(cells, pa.StringArray | pa.LargeStringArray):
            words = cells.to_pylist()
            if all(word is None or _stays(word) for word in words):
                return self._few(words)
        texts = canonical_text(cells).cast(pa.large_string())
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        coded = texts.dictionary_encode()
        first = len(self._old) + len(self._new)
        words = coded.dictionary
        if len(words):
            self._new = pa.concat_arrays([self._new, words])
        codes = pc.fill_null(coded.indices.cast(pa.int64()), NO_CODE).to_numpy()
        missing = np.append(is_missing_text(words), True)  # the last is for null
        return np.where(missing[codes], NO_CODE, codes + first)

    def _few(self, words: list[str | None]) -> Codes:
        """Give the codes of a few texts that stay as they are."""
        first = len(self._old) + len(self._new)
        self._new = pa.concat_arrays([self._new, pa.array(words, pa.large_string())])
        numbered = [NO_CODE if word is None else first + at for at, word in enumerate(words)]
        return np.array(numbered, dtype=np.int64)

    def take(self, codes: Codes) -> pa.LargeStringArray:
        """Give the texts of codes [N]; null of `NO_CODE`."""
        border = len(self._old)
        there = is_there(codes)
        if border and not (codes >= border).any():
            return self._old.take(pa.array(codes, mask=~there))
        new = codes >= border
        if not border or bool((new | ~there).all()):
            return self._new.take(pa.array(codes - border, mask=~there))
        words = pa.concat_arrays([self._old, self._new])
        return words.take(pa.array(codes, mask=~there))

    def order(self, codes: Codes) -> Codes:
        """Rank codes [N] by their texts; equal texts have equal ranks."""
        unique, inverse = np.unique(codes, return_inverse=True)
        ranks = pc.rank(self.take(unique), tiebreaker="dense").to_numpy().astype(np.int64)
        ranked: Codes = (ranks - 1)[inverse]
        return ranked

    def narrowed(self, codes: Codes) -> Codes:
        """Keep the texts of codes [N] alone, each once, and give their new codes."""
        coded = self.take(codes).dictionary_encode()
        self._old = coded.dictionary
        self._new = self._old.slice(0, 0)
        found: Codes = pc.fill_null(coded.indices.cast(pa.int64()), NO_CODE).to_numpy()
        return found

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return int(self._old.nbytes + self._new.nbytes)
