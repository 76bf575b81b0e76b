"""Texts held back until there are enough of them: what is found of a text is found once."""

from __future__ import annotations

from typing import Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.stats.arrays import plain, present
from thalweg.stats.hashing import hash_text

MOST_TEXTS: Final = 1 << 18
"""So many distinct texts are held back, and those that came with the last few dictionaries."""
MOST_BYTES: Final = 1 << 24
"""So many bytes of text are held back, and one dictionary."""

Counts = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Part = tuple[pa.LargeStringArray, Counts, Hashes]


@final
class PendingTexts:
    """Texts and how often each came, and nothing else that would have to be found out.

    Most columns of text repeat themselves, and a Parquet file gives each row group's texts as a
    dictionary. To count a batch is then to count its indices; equal texts of several dictionaries
    are put together now and then, and worked through when there are many, or at the end.
    """

    __slots__ = (
        "_bytes",
        "_dictionary",
        "_different",
        "_held",
        "_most",
        "_parts",
        "_place",
        "_table",
    )

    def __init__(self) -> None:
        self._most = MOST_TEXTS  # so many texts are held back: fewer where that is in vain
        self._clear()

    def _clear(self) -> None:
        self._table: Part = _none()  # in the order of the hashes
        self._parts: list[Part] = []
        self._held = 0  # texts of the parts
        self._bytes = 0  # of all texts
        self._dictionary: pa.Array | None = None  # the last one that came
        self._place: NDArray[np.bool_] | None = None  # which of its values are no nulls
        self._different = False  # whether hardly any of them came twice

    def __bool__(self) -> bool:
        return self._held > 0 or len(self._table[0]) > 0

    def take(self, array: pa.DictionaryArray, hashes: Hashes | None = None) -> int:
        """Count the texts of an array.

        Parameters
        ----------
        array
            Texts [N].
        hashes
            uint64 [D]: for each value of its dictionary; equal texts have equal ones.

        Returns
        -------
        int
            How many values are null.
        """
        dictionary = array.dictionary
        indices = array.indices.drop_null() if array.indices.null_count else array.indices
        counts = np.bincount(indices.to_numpy(), minlength=len(dictionary))
        if self._dictionary is not None and self._dictionary.equals(dictionary):
            if self._place is not None:
                counts = counts[self._place]
            texts, before, hashes = self._parts[-1]
            self._parts[-1] = texts, before + counts, hashes
            return len(array) - int(counts.sum())
        texts = plain(dictionary)
        hashes = hash_text(texts) if hashes is None else hashes
        self._dictionary, self._place = dictionary, None
        if texts.null_count:
            self._place = present(texts)
            texts, counts, hashes = texts.drop_null(), counts[self._place], hashes[self._place]
        self._parts.append((texts, counts, hashes))
        self._held += len(texts)
        self._bytes += texts.nbytes
        return len(array) - int(counts.sum())

    def full(self) -> bool:
        """Say whether it is time to work the texts through."""
        if self._held > self._most or self._bytes > MOST_BYTES:
            self._different = self._all_different()
            self._most = MOST_TEXTS // 4 if self._different else MOST_TEXTS
            if self._different:
                return True
            self._join()
        return self._bytes > MOST_BYTES or len(self._table[0]) > MOST_TEXTS

    def give(self) -> tuple[pa.LargeStringArray, Counts]:
        """Give the texts, hardly any of them twice, and their counts; hold nothing any more."""
        if self._different:
            texts, counts, _ = _joined(self._parts)
        else:
            texts, counts, _ = _counted([self._table, *self._parts]) if self._held else self._table
        self._clear()
        return texts, counts

    def _all_different(self) -> bool:
        """Say whether hardly a text came twice, so that to look for equal ones is in vain."""
        if len(self._table[0]):
            return False
        hashes = np.sort(np.concatenate([hashes for _, _, hashes in self._parts]))
        return int(np.count_nonzero(hashes[1:] == hashes[:-1])) < len(hashes) // 10

    def _join(self) -> None:
        """Put the texts of all dictionaries together."""
        part = _joined(self._parts)
        if len(self._table[0]):
            part = self._without_known(part)
        if len(part[0]) > len(self._table[0]) // 8:
            texts, counts, hashes = _counted([self._table, part])
            order = np.argsort(hashes)
            self._table = texts.take(pa.array(order)), counts[order], hashes[order]
            part = _none()
        self._parts, self._dictionary = [part], None
        self._held = len(part[0])
        self._bytes = self._table[0].nbytes + part[0].nbytes

    def _without_known(self, part: Part) -> Part:
        """Count the texts that the table has, and give those that it has not."""
        texts, counts, hashes = part
        known, sums, places = self._table
        order = np.argsort(hashes)  # to look up in order is far quicker, and so is to sort first
        at = np.empty(len(order), dtype=np.int64)
        at[order] = np.minimum(np.searchsorted(places, hashes[order]), len(places) - 1)
        same = places[at] == hashes
        same &= pc.equal(known.take(pa.array(at)), texts).to_numpy(zero_copy_only=False)
        np.add.at(sums, at[same], counts[same])
        return texts.filter(pa.array(~same)), counts[~same], hashes[~same]


def _none() -> Part:
    return pa.array([], pa.large_string()), np.zeros(0, np.int64), np.zeros(0, np.uint64)


def _joined(parts: list[Part]) -> Part:
    """Put parts one behind the other, without the texts that no row has."""
    texts = pa.concat_arrays([texts for texts, _, _ in parts])
    counts = np.concatenate([counts for _, counts, _ in parts])
    hashes = np.concatenate([hashes for _, _, hashes in parts])
    if counts.all():
        return texts, counts, hashes
    some = counts > 0
    return texts.filter(pa.array(some)), counts[some], hashes[some]


def _counted(parts: list[Part]) -> Part:
    """Put parts together, equal texts once."""
    texts, counts, hashes = _joined(parts)
    codes = texts.dictionary_encode()
    indices = codes.indices.to_numpy()
    sums = np.zeros(len(codes.dictionary), dtype=np.int64)
    found = np.zeros(len(codes.dictionary), dtype=np.uint64)
    np.add.at(sums, indices, counts)
    found[indices] = hashes
    return codes.dictionary, sums, found
