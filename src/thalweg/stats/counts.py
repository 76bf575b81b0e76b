"""How often each value stands in a column: exact for as many distinct ones as fit, then the heavy.

Beyond the capacity the counts become a Misra-Gries summary in its mergeable form (Agarwal,
Cormode, Huang, Phillips, Wei & Yi 2012, "Mergeable summaries"): every count is too low by at most
`error`, which is at most ``total / (capacity + 1)``, and no value more frequent than that is lost.
While exact, the state depends on the values alone; beyond, on their order too, within the error.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.stats.arrays import sum_by_key, unique_counts
from thalweg.stats.codec import State, Summary
from thalweg.stats.hashing import hash_text
from thalweg.stats.texts import TextBytes, count_texts

KEY_BYTES: Final = 512
"""Longer texts are counted under their first `KEY_CHARACTERS` characters and a hash of the rest."""
KEY_CHARACTERS: Final = 100

Counts = NDArray[np.int64]


@final
class ValueCounts(Summary):
    """How often each text stands in a column.

    Whole numbers are held as integers and other texts as text, each in a table of its own with
    the whole capacity. Which table a text belongs to depends on the text alone.

    Parameters
    ----------
    capacity
        The most distinct texts, and the most distinct whole numbers, that are kept.
    most_bytes
        The most bytes of text that are kept.

    Examples
    --------
    >>> some = ValueCounts()
    >>> some.update(pa.array(["b", "a", "b", "7"]))
    >>> some.top(2), some.exact
    ([('b', 2), ('7', 1)], True)
    """

    __slots__ = ("_numbers", "_texts", "capacity", "most_bytes", "total")

    def __init__(self, capacity: int = 65_536, most_bytes: int = 1 << 24) -> None:
        self.capacity = capacity
        self.most_bytes = most_bytes
        self.total = 0
        self._numbers = _Numbers(capacity)
        self._texts = _Texts(capacity, most_bytes)

    def update(self, texts: pa.Array, weights: Counts | None = None) -> None:
        """Count texts.

        Parameters
        ----------
        texts
            Canonical texts [N] (see `thalweg.stats.parsing.canonical_text`), without nulls.
        weights
            int64 [N], above 0: how often each counts. Once each by default.
        """
        texts = texts.cast(pa.large_string())
        if weights is None:
            texts, weights = count_texts(texts)
        if not len(texts):
            return
        self.total += int(weights.sum())
        import polars as pl

        integers = pl.Series(pl.from_arrow(texts)).cast(pl.Int64, strict=False).to_arrow()
        if integers.null_count < len(integers):
            same = pc.fill_null(pc.equal(integers.cast(pa.large_string()), texts), fill_value=False)
            whole = same.to_numpy(zero_copy_only=False)
            self._numbers.take(integers.filter(same).to_numpy(), weights[whole])
            texts, weights = texts.filter(pc.invert(same)), weights[~whole]
        if len(texts):
            self._texts.take(_cut(texts), weights)

    def update_integers(self, integers: NDArray[np.int64], weights: Counts) -> None:
        """Count int64 [N] as their texts, each int64 [N] times."""
        if len(integers):
            self.total += int(weights.sum())
            self._numbers.take(integers, weights)

    def merge(self, other: ValueCounts) -> None:
        """Count what another has counted.

        Raises
        ------
        ValueError
            Where the capacities differ.
        """
        if (other.capacity, other.most_bytes) != (self.capacity, self.most_bytes):
            message = f"capacities differ: {self.capacity} and {other.capacity}"
            raise ValueError(message)
        self.total += other.total
        self._numbers.merge(other._numbers)
        self._texts.merge(other._texts)

    @property
    def exact(self) -> bool:
        """Whether every value is counted, and counted exactly."""
        return self.error == 0

    @property
    def error(self) -> int:
        """By how much a count may be too low, and the most that a value not kept may count."""
        self._compact()
        return max(self._numbers.error, self._texts.error)

    def __len__(self) -> int:
        """How many distinct values are kept: all there are, while `exact`."""
        self._compact()
        return len(self._numbers.keys) + len(self._texts.keys)

    def top(self, number: int | None = None) -> list[tuple[str, int]]:
        """Give the most frequent values and their counts, equal counts in the order of the text.

        Parameters
        ----------
        number
            How many; all by default.
        """
        self._compact()
        counts = np.concatenate([self._numbers.counts, self._texts.counts])
        number = len(counts) if number is None else min(number, len(counts))
        if number <= 0:
            return []
        least = np.sort(counts)[len(counts) - number]
        integers, texts = self._numbers.counts >= least, self._texts.counts >= least
        keys = pa.concat_arrays(
            [
                pa.array(self._numbers.keys[integers]).cast(pa.large_string()),
                self._texts.keys.filter(pa.array(texts)),
            ]
        )
        kept = np.concatenate([self._numbers.counts[integers], self._texts.counts[texts]])
        import polars as pl

        table = pl.DataFrame({"key": pl.from_arrow(keys), "count": kept})
        table = table.sort(["count", "key"], descending=[True, False]).head(number)
        return list(table.iter_rows())

    def state(self) -> State:
        """Give everything that it is."""
        self._compact()
        state = State(
            {
                "capacity": self.capacity,
                "most_bytes": self.most_bytes,
                "total": self.total,
                "errors": [self._numbers.error, self._texts.error],
            },
            {"numbers": self._numbers.keys, "number_counts": self._numbers.counts},
        )
        order = pc.sort_indices(self._texts.keys)
        state.put_texts("texts", self._texts.keys.take(order))
        state.arrays["text_counts"] = self._texts.counts[order.to_numpy()]
        return state

    @classmethod
    def from_state(cls, state: State) -> ValueCounts:
        """Make one of its state."""
        made = cls(int(state.values["capacity"]), int(state.values["most_bytes"]))
        made.total = int(state.values["total"])
        made._numbers.keys, made._numbers.counts = (
            state.arrays["numbers"],
            state.arrays["number_counts"],
        )
        made._texts.keys, made._texts.counts = state.texts("texts"), state.arrays["text_counts"]
        made._numbers.error, made._texts.error = map(int, state.values["errors"])
        for table in (made._numbers, made._texts):
            if len(table.keys) != len(table.counts):
                raise ValueError(len(table.keys))
        return made

    def _compact(self) -> None:
        self._numbers.compact()
        self._texts.compact()


@final
class _Numbers:
    """Counts of whole numbers."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.error = 0
        self.keys: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.counts: Counts = np.zeros(0, dtype=np.int64)
        self._buffer: tuple[tuple[NDArray[np.int64], Counts], ...] = ()
        self._buffered = 0

    def take(self, keys: NDArray[np.int64], counts: Counts) -> None:
        """Hold some back: many small batches are cheaper to add at once."""
        self._buffer = (*self._buffer, (keys, counts))
        self._buffered += len(keys)
        if self._buffered > 2 * self.capacity:
            self.compact()

    def merge(self, other: _Numbers) -> None:
        """Add another's."""
        other.compact()
        self.error += other.error
        self.take(other.keys, other.counts)

    def compact(self) -> None:
        """Add what was held back, and prune."""
        if not self._buffer:
            return
        self.keys, self.counts = sum_by_key(
            np.concatenate([self.keys, *(keys for keys, _ in self._buffer)]),
            np.concatenate([self.counts, *(counts for _, counts in self._buffer)]),
        )
        self._buffer, self._buffered = (), 0
        cut = _excess(self.counts, self.capacity)
        if cut:
            heavy = self.counts > cut
            self.keys, self.counts = self.keys[heavy], self.counts[heavy] - cut
            self.error += cut


@final
class _Texts:
    """Counts of texts that are no whole numbers."""

    def __init__(self, capacity: int, most_bytes: int) -> None:
        self.capacity = capacity
        self.most_bytes = most_bytes
        self.error = 0
        self.keys: pa.LargeStringArray = pa.array([], type=pa.large_string())
        self.counts: Counts = np.zeros(0, dtype=np.int64)
        self._buffer: tuple[tuple[pa.LargeStringArray, Counts], ...] = ()
        self._buffered = 0
        self._bytes = 0

    def take(self, keys: pa.LargeStringArray, counts: Counts) -> None:
        """Hold some back: many small batches are cheaper to add at once."""
        self._buffer = (*self._buffer, (keys, counts))
        self._buffered += len(keys)
        self._bytes += len(TextBytes.of(keys).data)
        if self._buffered > 2 * self.capacity or self._bytes > 2 * self.most_bytes:
            self.compact()

    def merge(self, other: _Texts) -> None:
        """Add another's."""
        other.compact()
        self.error += other.error
        if len(other.keys):
            self.take(other.keys, other.counts)

    def compact(self) -> None:
        """Add what was held back, and prune."""
        if not self._buffer:
            return
        keys, counts = count_texts(
            pa.concat_arrays([self.keys, *(keys for keys, _ in self._buffer)]),
            np.concatenate([self.counts, *(counts for _, counts in self._buffer)]),
        )
        self._buffer, self._buffered, self._bytes = (), 0, 0
        cut = _excess(counts, self._room(keys, counts))
        if cut:
            heavy = counts > cut
            keys, counts = keys.filter(pa.array(heavy)), counts[heavy] - cut
            self.error += cut
        self.keys, self.counts = keys, counts

    def _room(self, keys: pa.LargeStringArray, counts: Counts) -> int:
        """Say how many of the most frequent texts fit, by number and by bytes."""
        lengths = TextBytes.of(keys).lengths
        if lengths.sum() <= self.most_bytes:
            return self.capacity
        order = np.lexsort((lengths, -counts))
        return min(self.capacity, int((np.cumsum(lengths[order]) <= self.most_bytes).sum()))


def _excess(counts: Counts, room: int) -> int:
    """Give what Misra-Gries takes off every count: the largest that finds no room."""
    if len(counts) <= room:
        return 0
    levels, often = unique_counts(counts)  # far faster than a partition where most are equal
    above = np.cumsum(often[::-1])[::-1] > room
    return int(levels[above][-1])


def _cut(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Write long texts as their beginning and a hash of the whole."""
    long = TextBytes.of(texts).lengths > KEY_BYTES
    if not long.any():
        return texts
    whole = texts.filter(pa.array(long))
    begin = pc.utf8_slice_codeunits(whole, 0, KEY_CHARACTERS)
    digits = pa.array(hash_text(whole)).cast(pa.large_string())
    cut = pc.binary_join_element_wise(begin, digits, pa.scalar("… #", pa.large_string()))
    return pc.replace_with_mask(texts, pa.array(long), cut)
