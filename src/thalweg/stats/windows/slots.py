"""What panes and sessions have in common: each row is counted in a slot of its key and its time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import pyarrow as pa

from thalweg.stats.windows.places import Ids, Mask


@final
@dataclass(frozen=True, slots=True)
class Closing:
    """Pairs [M] of a slot and a window that is closing: a slot may be in several windows.

    Parameters
    ----------
    slots
        The slots.
    keys
        The numbers of their keys.
    starts, ends
        The windows' bounds in microseconds. A key has at most one window that ends at a time.
    """

    slots: Ids
    keys: Ids
    starts: Ids
    ends: Ids


class Slots(ABC):
    """Says in which slot a row is counted, and which slots make up a window."""

    __slots__ = ()

    @abstractmethod
    def __len__(self) -> int:
        """How many slots there are, those of closed windows included."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """How much memory it takes."""

    @property
    @abstractmethod
    def open(self) -> int:
        """How many windows hold rows and are not closed."""

    @abstractmethod
    def place(self, keys: Ids, times: Ids) -> Ids:
        """Give the slot of each row [N], made where there is none; -1 where it is late."""

    @abstractmethod
    def close(self, bound: int) -> Iterator[Closing]:
        """Close all windows that end at or before a time; give their slots in parts.

        No window is spread over several parts; windows of later parts end later.
        """

    @abstractmethod
    def alive(self) -> Mask:
        """Say which slots an open window needs, bool [len(self)]."""

    @abstractmethod
    def dead(self) -> int:
        """How many slots no open window needs, as far as is known without looking."""

    @abstractmethod
    def keep(self, alive: Mask, keys: Ids) -> None:
        """Forget the slots that are not alive; number the keys anew by what they were."""

    @abstractmethod
    def keys(self) -> Ids:
        """Give the number of each slot's key."""

    @abstractmethod
    def table(self) -> tuple[dict[str, int], pa.Table]:
        """Give everything that it is: what is plain JSON, and what is known of each slot."""

    @abstractmethod
    def load(self, plain: dict[str, int], table: pa.Table) -> None:
        """Become what `table` gave."""


def nothing() -> Ids:
    """Give an empty array."""
    return np.zeros(0, dtype=np.int64)
