"""How many rows of one part equal rows of another: exact for few rows, estimated for many."""

from __future__ import annotations

from typing import Final, Self, final

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

KEPT: Final = 1 << 18
"""How many hashes of a part's rows are kept: all of a small table's."""

_ALL: Final = 2**64 - 1


@final
class LowestHashes:
    """The smallest hashes that came: a fair sample of what rows hold.

    Two such samples tell how many rows of one part are copies of another's: below the smaller of
    their ends both are complete (Bar-Yossef et al. 2002, "Counting distinct elements in a data
    stream"). While no more came than are kept, the count is exact.

    Parameters
    ----------
    most
        How many are kept.

    Examples
    --------
    >>> training, judging = LowestHashes(), LowestHashes()
    >>> training.update(np.arange(10, dtype=np.uint64))
    >>> judging.update(np.arange(8, 12, dtype=np.uint64))
    >>> training.shared(judging)
    (2, 4)
    """

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._waiting: list[Hashes] = []
        self._waits = 0
        self._kept: Hashes = np.zeros(0, dtype=np.uint64)
        self._end = _ALL
        self._rows = 0

    @classmethod
    def of(cls, hashes: Hashes) -> Self:
        """Make one of some rows' hashes."""
        made = cls()
        made.update(hashes)
        return made

    def update(self, hashes: Hashes) -> None:
        """Take the hashes of some rows in."""
        low = hashes if self._end == _ALL else hashes[hashes <= np.uint64(self._end)]
        self._rows += len(hashes)
        self._waiting.append(low)
        self._waits += len(low)
        if self._waits > self._most:
            self._prune()

    def shared(self, judging: LowestHashes) -> tuple[int, int]:
        """Say how many of the judging rows are copies of these, and how many rows they are."""
        self._prune()
        judging._prune()
        end = np.uint64(min(self._end, judging._end))
        below = judging._kept[judging._kept <= end]
        copies = int(np.isin(below, np.unique(self._kept)).sum())
        return round(judging._rows * copies / max(1, len(below))), judging._rows

    def to_bytes(self) -> bytes:
        """Write down what is kept."""
        self._prune()
        head = np.array([self._most, self._rows, self._end], dtype="<u8")
        return head.tobytes() + self._kept.astype("<u8").tobytes()

    @classmethod
    def from_bytes(cls, given: bytes) -> Self:
        """Read it back."""
        numbers = np.frombuffer(given, dtype="<u8").astype(np.uint64)
        made = cls(int(numbers[0]))
        made._rows, made._end = int(numbers[1]), int(numbers[2])
        made._kept = numbers[3:]
        return made

    def _prune(self) -> None:
        """Keep the smallest; equal ones at the end are all kept, or none."""
        if not self._waiting:
            return
        kept = np.sort(np.concatenate([self._kept, *self._waiting]))
        if len(kept) > self._most:
            upto = int(np.searchsorted(kept, kept[self._most]))
            # One content may have more copies than are kept of anything.
            upto = upto or int(np.searchsorted(kept, kept[0], side="right"))
            self._end, kept = int(kept[upto - 1]), kept[:upto]
        self._kept, self._waiting, self._waits = kept, [], 0
