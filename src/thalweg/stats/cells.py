"""Some cells of a column in full, drawn evenly: what a tokenizer or a picture's size is fitted on.

The distinct values with the smallest hashes, as in `thalweg.stats.distinct`, but whole, and as many
as a number of bytes holds. Which these are depends on nothing but the set of values: a value is
kept as long as those with smaller hashes leave room, in a part of the column as in all of it.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.stats.codec import State, Summary

MOST_CELLS: Final = 16_384
MOST_BYTES: Final = 1 << 23
"""A cell is kept as long as those before it have fewer bytes than this: one at least, always."""

Hashes = NDArray[np.uint64]


@final
class CellSample(Summary):
    """The distinct cells with the smallest hashes, in full.

    Parameters
    ----------
    most_cells, most_bytes
        How many are kept.

    Examples
    --------
    >>> some = CellSample(most_bytes=3)
    >>> some.update(np.array([7, 3, 9], np.uint64), pa.array([b"late", b"ab", b"more"]))
    >>> some.cells().to_pylist()
    [b'ab', b'late']
    """

    __slots__ = ("_cells", "_hashes", "_held", "_waiting", "most_bytes", "most_cells")

    def __init__(self, most_cells: int = MOST_CELLS, most_bytes: int = MOST_BYTES) -> None:
        self.most_cells = most_cells
        self.most_bytes = most_bytes
        self._hashes: Hashes = np.zeros(0, dtype=np.uint64)
        self._cells: pa.LargeBinaryArray = pa.array([], pa.large_binary())
        self._held: list[tuple[Hashes, pa.LargeBinaryArray]] = []
        self._waiting = 0  # bytes of what is held back

    def update(self, hashes: Hashes, cells: pa.Array) -> None:
        """Take cells in.

        Parameters
        ----------
        hashes
            uint64 [N]: of what the cells say; of two cells with one hash the first stays.
        cells
            Text or bytes [N] without nulls.
        """
        where = np.arange(len(hashes))
        if self._full:
            where = np.flatnonzero(hashes < self._hashes[-1])
        where = where[~np.isin(hashes[where], self._hashes)]
        if not len(where):
            return
        chosen = cells.take(pa.array(where)).cast(pa.large_binary())
        self._held.append((hashes[where], chosen))
        self._waiting += chosen.nbytes
        if self._waiting > self.most_bytes:
            self._settle()

    def merge(self, other: CellSample) -> None:
        """Take in what another has taken in."""
        other._settle()
        self._settle()
        fresh = ~np.isin(other._hashes, self._hashes)
        self._held.append((other._hashes[fresh], other._cells.filter(pa.array(fresh))))
        self._settle()

    def cells(self) -> pa.LargeBinaryArray:
        """Give the cells, the smallest hash first."""
        self._settle()
        return self._cells

    def state(self) -> State:
        """Give everything that it is."""
        self._settle()
        state = State({"cells": self.most_cells, "bytes": self.most_bytes})
        state.arrays["hashes"] = self._hashes
        state.put_texts("cells", self._cells)
        return state

    @classmethod
    def from_state(cls, state: State) -> CellSample:
        """Make one of its state."""
        made = cls(int(state.values["cells"]), int(state.values["bytes"]))
        made._hashes = state.arrays["hashes"]
        made._cells = state.texts("cells", pa.large_binary())
        if len(made._cells) != len(made._hashes):
            raise ValueError(len(made._hashes))
        return made

    @property
    def _full(self) -> bool:
        """Whether no cell with a larger hash than the last one's can be kept any more."""
        return len(self._hashes) >= self.most_cells or self._cells.nbytes >= self.most_bytes

    def _settle(self) -> None:
        """Keep the smallest of what is kept and of what was held back."""
        if not self._held:
            return
        hashes = np.concatenate([self._hashes, *(hashes for hashes, _ in self._held)])
        cells = pa.concat_arrays([self._cells, *(cells for _, cells in self._held)])
        self._held, self._waiting = [], 0
        hashes, first = np.unique(hashes, return_index=True)
        sizes = np.diff(np.frombuffer(cells.buffers()[1], np.int64)[cells.offset :])[: len(cells)]
        before = np.cumsum(sizes[first]) - sizes[first]
        kept = min(self.most_cells, int(np.searchsorted(before, self.most_bytes)))
        self._hashes = hashes[:kept]
        self._cells = cells.take(pa.array(first[:kept]))
