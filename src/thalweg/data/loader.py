"""Batches for the training loop: whole slices, shuffled anew every epoch, balanced if asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, final, get_args

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import OptionError, near
from thalweg.core.seeds import derive
from thalweg.data.arrays import Arrays

Balance = Literal["none", "weights", "oversample", "undersample", "focal"]


@final
class Loader:
    """Gives an epoch's batches; the same seed and epoch give the same batches.

    Parameters
    ----------
    arrays
        The training rows, encoded.
    batch_size
        Rows in a batch. The last, smaller batch of an epoch is left out (other rows in another
        epoch), unless there is no other.
    seed
        The run's seed.
    classes
        int64 [N]: the class of each row, for a balanced draw.
    balance
        ``oversample`` draws rows of rare classes again until all classes are equal;
        ``undersample`` leaves out rows of common ones, others in each epoch. The other words
        leave the draw as it is.
    """

    def __init__(
        self,
        arrays: Arrays,
        batch_size: int,
        seed: int,
        classes: NDArray[np.int64] | None = None,
        balance: str = "none",
    ) -> None:
        self._arrays = arrays
        self._seed = seed
        self._groups = _groups(classes) if balance in ("oversample", "undersample") else None
        self._size = len(arrays)
        if self._groups is not None:
            counts = [len(group) for group in self._groups]
            each = max(counts) if balance == "oversample" else min(counts)
            self._each = each
            self._size = each * len(counts)
        self._batch = min(batch_size, self._size)

    @property
    def steps(self) -> int:
        """How many batches an epoch has."""
        return max(1, self._size // self._batch)

    @property
    def rows(self) -> int:
        """How many rows an epoch shows."""
        return self.steps * self._batch

    def epoch(self, number: int) -> Iterator[Arrays]:
        """Give the batches of an epoch, each of ``batch_size`` rows."""
        order = self._order(np.random.default_rng(derive(self._seed, "shuffle", number)))
        for start in range(0, self.rows, self._batch):
            yield self._arrays.take(order[start : start + self._batch])

    def _order(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Shuffle the rows that this epoch shows."""
        if self._groups is None:
            return random.permutation(self._size)
        chosen = [_draw(random, group, self._each) for group in self._groups]
        return random.permutation(np.concatenate(chosen))


def class_weights(classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weigh rows [N] so that every class counts the same; the mean weight is 1.

    Examples
    --------
    >>> class_weights(np.array([0, 0, 0, 1])).tolist()
    [0.6666666865348816, 0.6666666865348816, 0.6666666865348816, 2.0]
    """
    counts = np.bincount(classes)
    present = np.count_nonzero(counts)
    with np.errstate(divide="ignore"):
        weights = len(classes) / (present * counts)
    return weights[classes].astype(np.float32)


def check_balance(name: str) -> None:
    """Refuse an unknown way to balance.

    Raises
    ------
    OptionError
        With near names.
    """
    names = get_args(Balance)
    if name not in names:
        raise OptionError(
            f"the balance is {name!r}", "one of " + ", ".join(names), near(name, names)
        )


def _groups(classes: NDArray[np.int64] | None) -> list[NDArray[np.int64]] | None:
    """List the rows of each class."""
    if classes is None:
        return None
    return [np.flatnonzero(classes == one) for one in np.unique(classes)]


def _draw(random: np.random.Generator, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Draw rows without repeating one before all have come."""
    whole, rest = divmod(count, len(rows))
    return np.concatenate([*([rows] * whole), random.permutation(rows)[:rest]])
