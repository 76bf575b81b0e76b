"""How many distinct values there are, and some of them drawn evenly: the k smallest hashes.

A value's hash is a fixed random number, so the values with the k smallest hashes are an even
sample of the distinct values, and the k-th tells how densely the hashes lie (Bar-Yossef et al.
2002; Cohen & Kaplan 2007, "bottom-k sketches"). Which values these are depends on nothing but the
set of values: no order, no split, no random seed. It is this library's reservoir.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.stats.arrays import sum_by_key
from thalweg.stats.codec import State, Summary

TEXTS: Final = 1000
"""Of how many values the text is kept, and to how many characters."""

Hashes = NDArray[np.uint64]
Counts = NDArray[np.int64]
Texts = Callable[[NDArray[np.int64]], pa.Array]


@final
class DistinctSample(Summary):
    """The values with the smallest hashes and how often each came.

    Parameters
    ----------
    capacity
        How many are kept.

    Examples
    --------
    >>> from thalweg.stats.hashing import hash_values
    >>> some, values = DistinctSample(), pa.array(["a", "b", "a"])
    >>> some.update(hash_values(values), texts=values.take)
    >>> some.estimate(), sorted(some.texts())
    (2.0, ['a', 'b'])
    """

    __slots__ = (
        "_counts",
        "_full",
        "_hashes",
        "_held",
        "_held_texts",
        "_named",
        "_texts",
        "_waiting",
        "capacity",
        "total",
    )

    def __init__(self, capacity: int = 4096) -> None:
        self.capacity = capacity
        self.total = 0
        self._full = False  # whether there were more distinct values than are kept
        self._hashes: Hashes = np.zeros(0, dtype=np.uint64)
        self._counts: Counts = np.zeros(0, dtype=np.int64)
        self._named: Hashes = self._hashes  # those whose texts are kept, in the same order
        self._texts: pa.LargeStringArray = pa.array([], type=pa.large_string())
        self._held: list[tuple[Hashes, Counts]] = []  # what is to be joined: at once is cheaper
        self._held_texts: list[tuple[Hashes, pa.LargeStringArray]] = []
        self._waiting = 0

    def update(
        self, hashes: Hashes, weights: Counts | None = None, texts: Texts | None = None
    ) -> None:
        """Take values in.

        Parameters
        ----------
        hashes
            uint64 [N]: the values' hashes (see `thalweg.stats.hashing`).
        weights
            int64 [N], above 0: how often each came. Once each by default.
        texts
            Gives the texts, without nulls, of the values at some indices (int64 [M]); asked only
            for those that are kept. For all updates of a sample or for none.
        """
        self.total += len(hashes) if weights is None else int(weights.sum())
        if not self._full:
            where = np.arange(len(hashes))
        else:
            where = np.flatnonzero(hashes <= self._hashes[-1])
        if not len(where):
            return
        chosen = hashes[where]
        self._held.append(
            (chosen, np.ones(len(where), np.int64) if weights is None else weights[where])
        )
        self._waiting += len(where)
        if not self._full:
            self._settle()  # it tells which texts are asked for
        if texts is not None:
            there = np.flatnonzero(chosen <= self._last_named())
            if len(there):
                long = texts(where[there]).cast(pa.large_string())
                self._held_texts.append((chosen[there], pc.utf8_slice_codeunits(long, 0, TEXTS)))
        if self._waiting > self.capacity:
            self._settle()

    def merge(self, other: DistinctSample) -> None:
        """Take in what another has taken in.

        Raises
        ------
        ValueError
            Where the capacities differ.
        """
        if other.capacity != self.capacity:
            message = f"capacities differ: {self.capacity} and {other.capacity}"
            raise ValueError(message)
        other._settle()
        self.total += other.total
        self._full |= other._full
        self._held.append((other._hashes, other._counts))
        self._held_texts.append((other._named, other._texts))
        self._settle()

    def __len__(self) -> int:
        """How many distinct values are kept."""
        self._settle()
        return len(self._hashes)

    @property
    def exact(self) -> bool:
        """Whether every distinct value is kept."""
        return not self._full

    @property
    def error(self) -> float:
        """The relative standard error of `estimate`, or a bound of it; 0 while `exact`."""
        return 1 / (self.capacity - 2) ** 0.5 if self._full else 0.0

    def estimate(self) -> float:
        """Estimate the number of distinct values.

        Exact while all are kept. Beyond, either from how densely the hashes lie or, where the
        sampled values came about equally often, from how often: the second makes no error at all
        where every value is different.
        """
        self._settle()
        if not self._full:
            return float(len(self._hashes))
        mean = float(self._counts.mean())
        if float(self._counts.std()) < mean:
            return self.total / mean
        return (self.capacity - 1) / (float(self._hashes[-1]) / 2.0**64)

    def counts(self) -> Counts:
        """Give how often each value of the sample came, exactly: int64 [kept]."""
        self._settle()
        return self._counts.copy()

    def texts(self) -> list[str]:
        """Give the texts of up to 1,000 values of the sample, the smallest hash first."""
        self._settle()
        texts: list[str] = self._texts.to_pylist()
        return texts

    def state(self) -> State:
        """Give everything that it is."""
        self._settle()
        state = State(
            {"capacity": self.capacity, "total": self.total, "full": self._full},
            {"hashes": self._hashes, "counts": self._counts},
        )
        state.put_texts("texts", self._texts)
        return state

    @classmethod
    def from_state(cls, state: State) -> DistinctSample:
        """Make one of its state."""
        made = cls(int(state.values["capacity"]))
        made.total, made._full = int(state.values["total"]), bool(state.values["full"])
        made._hashes, made._counts = state.arrays["hashes"], state.arrays["counts"]
        made._texts = state.texts("texts")
        made._named = made._hashes[: len(made._texts)]
        if not len(made._texts) <= len(made._hashes) == len(made._counts) <= made.capacity:
            raise ValueError(len(made._hashes))
        return made

    def _settle(self) -> None:
        """Keep the smallest of what is kept and of what was held back.

        A kept hash has been among the smallest in every part, so nothing of its count was lost.
        """
        if self._held:
            merged, counts = sum_by_key(
                np.concatenate([self._hashes, *(hashes for hashes, _ in self._held)]),
                np.concatenate([self._counts, *(counts for _, counts in self._held)]),
            )
            self._full |= len(merged) > self.capacity
            self._hashes, self._counts = merged[: self.capacity], counts[: self.capacity]
            self._held, self._waiting = [], 0
        if self._held_texts:
            hashes = np.concatenate([self._named, *(hashes for hashes, _ in self._held_texts)])
            texts = pa.concat_arrays([self._texts, *(texts for _, texts in self._held_texts)])
            self._held_texts = []
            if len(hashes):
                self._name(hashes, texts)

    def _name(self, hashes: Hashes, texts: pa.LargeStringArray) -> None:
        """Keep the texts of the smallest hashes; of two texts with one hash the smaller."""
        order = np.argsort(hashes, kind="stable")
        order = order[hashes[order] <= self._last_named()]
        hashes, texts = hashes[order], texts.take(pa.array(order))
        again = np.flatnonzero(hashes[1:] == hashes[:-1])
        if len(again):
            first, second = texts.take(pa.array(again)), texts.take(pa.array(again + 1))
            if pc.all(pc.equal(first, second)).as_py():
                once = np.delete(np.arange(len(hashes)), again + 1)
                hashes, texts = hashes[once], texts.take(pa.array(once))
            else:
                import polars as pl

                table = pl.DataFrame({"hash": hashes, "text": pl.from_arrow(texts)})
                table = table.group_by("hash").agg(pl.col("text").min()).sort("hash")
                hashes = table["hash"].to_numpy()
                texts = table["text"].to_arrow().cast(pa.large_string())
        self._named, self._texts = hashes, texts

    def _last_named(self) -> np.uint64:
        """Give the largest hash whose text is kept."""
        last: np.uint64 = self._hashes[min(TEXTS, len(self._hashes)) - 1]
        return last
