"""Batches for the training loop: whole slices, shuffled anew every epoch, balanced if asked.

Rows that fit in the memory allowed are shuffled all together. Larger stores are shuffled in two
steps: the blocks are dealt to pools like cards, so that every pool has rows from all over the
store, and a pool's rows are shuffled together. While one pool is given out, a thread reads the
next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Self, final, get_args

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import OptionError, near
from thalweg.core.seeds import derive
from thalweg.data.arrays import Arrays
from thalweg.data.shards import Store

Balance = Literal["none", "weights", "oversample", "undersample", "focal"]

POOL_BYTES: Final = 1 << 27
"""How much is held for shuffling: a whole store, or two pools of a larger one."""

LEAST_BLOCKS: Final = 32
"""A pool of fewer blocks would be no mixture, however wide its rows are."""

Pool = tuple[Arrays, NDArray[np.int64]]
"""Rows, and in which order they are shown."""


@final
@dataclass(frozen=True, slots=True)
class Draw:
    """How often an epoch shows rows of each class.

    Parameters
    ----------
    counts
        int64 [classes]: how many rows of each class there are.
    shown
        int64 [classes]: how many of them an epoch shows. With fewer than there are, some are left
        out, others in each epoch; with more, none is shown again before all have been.

    Examples
    --------
    >>> Draw.of_rates(np.array([90, 10]), np.array([0.5, 3.0])).shown.tolist()
    [45, 30]
    """

    counts: NDArray[np.int64]
    shown: NDArray[np.int64]

    @classmethod
    def of_rates(cls, counts: NDArray[np.int64], rates: NDArray[np.float64]) -> Self:
        """Show each class's rows as often as its rate says, in the mean."""
        shown = np.rint(counts * rates).astype(np.int64)
        return cls(counts, np.where((counts > 0) & (rates > 0), np.maximum(shown, 1), 0))

    @classmethod
    def balanced(cls, counts: NDArray[np.int64], balance: str) -> Self | None:
        """Show all classes equally often.

        Parameters
        ----------
        counts
            int64 [classes]: how many rows of each class there are.
        balance
            ``oversample`` shows rare classes again, ``undersample`` leaves out rows of common
            ones. With any other word the draw is left as it is: None.
        """
        present = counts[counts > 0]
        match balance:
            case "oversample":
                each = present.max()
            case "undersample":
                each = present.min()
            case _:
                return None
        return cls(counts, np.where(counts > 0, each, 0))

    @property
    def rows(self) -> int:
        """How many rows an epoch shows."""
        return int(self.shown.sum())

    def order(
        self,
        codes: NDArray[np.int64],
        before: NDArray[np.int64],
        random: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Shuffle rows, each as often as its turn says.

        Parameters
        ----------
        codes
            int64 [N]: the class of each row.
        before
            int64 [classes]: how many rows of each class came before in this epoch; these are
            added. The k-th row of a class is shown ``floor((k + 1) r) - floor(k r)`` times, where
            r is its rate, so that the sums are exact whatever pool a row is in.
        random
            Shuffles.
        """
        order = random.permutation(len(codes))
        codes = codes[order]
        # The narrowest type is sorted by counting.
        by_class = np.argsort(codes.astype(np.min_scalar_type(len(self.counts))), kind="stable")
        counts = np.bincount(codes, minlength=len(self.counts))
        place = np.empty(len(codes), dtype=np.int64)
        place[by_class] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
        place += before[codes]
        before += counts
        shown, of = self.shown[codes], self.counts[codes]
        times = (place + 1) * shown // of - place * shown // of
        return random.permutation(np.repeat(order, times))


@final
class Loader:
    """Gives an epoch's batches; the same seed and epoch give the same batches.

    Parameters
    ----------
    store
        The training rows, encoded.
    batch_size
        Rows in a batch. The last, smaller batch of an epoch is left out (other rows in another
        epoch), unless there is no other.
    seed
        The run's seed.
    draw
        How often rows of each class are shown; None for each row once.
    weights
        float32 [classes]: what the loss of each class's rows counts; multiplied with the rows'
        own weights, where they have any.
    share
        The share of the rows that an epoch shows; the next epoch goes on with others, until all
        have come.
    pool_bytes
        How much is held for shuffling. A store that fits is shuffled as one and kept.

    Examples
    --------
    >>> from thalweg.data.shards import Held
    >>> rows = Arrays({"number": {"values": np.arange(10.0)[:, None]}})
    >>> loader = Loader(Held(rows), 4, seed=0)
    >>> loader.steps, [len(batch) for batch in loader.epoch(0)]
    (2, [4, 4])
    """

    def __init__(
        self,
        store: Store,
        batch_size: int,
        seed: int,
        *,
        draw: Draw | None = None,
        weights: NDArray[np.float32] | None = None,
        share: float = 1.0,
        pool_bytes: int = POOL_BYTES,
    ) -> None:
        self._store = store
        self._seed = seed
        self._draw = draw
        self._weights = weights
        size = len(store) if draw is None else draw.rows
        self.batch_size = min(batch_size, size)
        self.steps = max(1, int(share * size) // self.batch_size)
        self._parts = max(1, size // self.rows)
        self._pool_blocks = _blocks_of_a_pool(store, pool_bytes, share)
        self._whole: Arrays | None = None

    @property
    def rows(self) -> int:
        """How many rows an epoch shows."""
        return self.steps * self.batch_size

    def epoch(self, number: int, first: int = 0) -> Generator[Arrays]:
        """Give the batches of an epoch, each of ``batch_size`` rows.

        Parameters
        ----------
        number
            Which epoch.
        first
            The step to begin with: that and all later ones are as in an epoch from its start.
            Pools before it are not even read, unless rows are drawn by class.
        """
        if first >= self.steps:
            return
        lap, part = divmod(number, self._parts)
        skip, wanted = first * self.batch_size, (self.steps - first) * self.batch_size
        if self._one_pool:
            pools = _one_after_another([partial(self._shuffled_whole, lap)])
            skip += part * self.rows
        elif self._draw is None:
            jobs, skip = self._window(lap, part * self.rows + skip, wanted)
            pools = _one_ahead(jobs)
        else:
            pools = _one_ahead(self._drawn(lap, part, self._draw))
        with closing(pools):
            for batch in _cut(pools, self.batch_size, skip, self.steps - first):
                yield self._weighted(batch)

    @property
    def _one_pool(self) -> bool:
        """Whether all rows are shuffled together."""
        return self._pool_blocks >= len(self._store.sizes)

    def _shuffled_whole(self, lap: int) -> Pool:
        """Give all rows, which are kept from then on."""
        if self._whole is None:
            self._whole = self._store.read(np.arange(len(self._store.sizes)))
        random = self._random("shuffle", lap)
        if self._draw is None:
            return self._whole, random.permutation(len(self._whole))
        before = np.zeros_like(self._draw.counts)
        return self._whole, self._draw.order(classes_of(self._whole), before, random)

    def _window(self, lap: int, skip: int, wanted: int) -> tuple[list[Callable[[], Pool]], int]:
        """Find the pools that some rows of a pass lie in, and how many rows of these go before."""
        dealt = self._deal(lap)
        ends = np.cumsum([self._store.sizes[blocks].sum() for blocks in dealt])
        inside = np.flatnonzero((ends > skip) & (ends - np.diff(ends, prepend=0) < skip + wanted))
        jobs: list[Callable[[], Pool]] = [
            partial(self._shuffled, dealt[number], self._random("shuffle", lap, number))
            for number in inside.tolist()
        ]
        return jobs, skip - int(ends[inside[0] - 1]) if inside[0] else skip

    def _shuffled(self, blocks: NDArray[np.int64], random: np.random.Generator) -> Pool:
        """Read a pool and shuffle it."""
        rows = self._store.read(blocks)
        return rows, random.permutation(len(rows))

    def _drawn(self, lap: int, part: int, draw: Draw) -> list[Callable[[], Pool]]:
        """Find the pools of a pass, each drawn by class when it is read.

        How many rows a pool will show is not known before, so no pool is passed over. An epoch
        that shows only some rows begins with another pool than the one before it.
        """
        dealt = self._deal(lap)
        before = np.zeros_like(draw.counts)

        def drawn(number: int) -> Pool:
            rows = self._store.read(dealt[number])
            random = self._random("shuffle", lap, number)
            return rows, draw.order(classes_of(rows), before, random)

        start = part * len(dealt) // self._parts
        return [partial(drawn, (start + i) % len(dealt)) for i in range(len(dealt))]

    def _deal(self, lap: int) -> list[NDArray[np.int64]]:
        """Deal the blocks to pools: each gets one of every stretch of as many as there are pools.

        So where the store is sorted by something, every pool has nearly its whole range.
        """
        blocks = len(self._store.sizes)
        pools = -(-blocks // self._pool_blocks)
        stretches = np.arange(-(-blocks // pools) * pools).reshape(-1, pools)
        dealt = self._random("blocks", lap).permuted(stretches, axis=1).T
        return [pool[pool < blocks] for pool in dealt]

    def _random(self, *path: str | int) -> np.random.Generator:
        return np.random.default_rng(derive(self._seed, *path))

    def _weighted(self, batch: Arrays) -> Arrays:
        """Weigh a batch's rows by class."""
        if self._weights is None:
            return batch
        weights = self._weights[classes_of(batch)]
        if batch.weights is not None:
            weights = batch.weights * weights.reshape(-1, *[1] * (batch.weights.ndim - 1))
        return batch.weighted(weights)


def classes_of(arrays: Arrays) -> NDArray[np.int64]:
    """Give each row's class, int64 [N]."""
    codes: NDArray[np.int64] = arrays.target["code"][:, 0].astype(np.int64)
    return codes


def class_weights(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weigh classes so that each counts the same; the mean weight of all rows is 1.

    Parameters
    ----------
    counts
        int64 [classes]: how many rows of each class there are.

    Examples
    --------
    >>> class_weights(np.array([3, 1])).tolist()
    [0.6666666865348816, 2.0]
    """
    weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0).astype(np.float32)


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


def _blocks_of_a_pool(store: Store, pool_bytes: int, share: float) -> int:
    """Say how many blocks are shuffled together."""
    blocks = len(store.sizes)
    row = store.row_bytes + np.dtype(np.int64).itemsize
    if len(store) * row <= pool_bytes:
        return blocks
    fit = int(pool_bytes / 2 / row * blocks / len(store))
    # An epoch that shows few rows should not read many more.
    return max(LEAST_BLOCKS, min(fit, math.ceil(share * blocks)))


def _one_after_another(jobs: Iterable[Callable[[], Pool]]) -> Generator[Pool]:
    """Do jobs when their results are wanted."""
    for job in jobs:
        yield job()


def _one_ahead(jobs: Iterable[Callable[[], Pool]]) -> Generator[Pool]:
    """Do jobs in turn, the next one in a thread while a result is used; at most two are held."""
    coming: Future[Pool] | None = None
    with ThreadPoolExecutor(1, "loader") as reader:
        for job in jobs:
            ready, coming = coming, reader.submit(job)
            if ready is not None:
                yield ready.result()
            ready = None  # before another one is read
        if coming is not None:
            yield coming.result()


def _cut(pools: Iterable[Pool], size: int, skip: int, count: int) -> Generator[Arrays]:
    """Cut pools into a number of batches of one size, after some rows that are passed over.

    What is left of a pool begins the next batch.
    """
    waiting: list[Arrays] = []
    for rows, order in pools:
        place, skip = skip, max(0, skip - len(order))
        while place < len(order):
            if not count:
                return
            upto = place + size - sum(len(piece) for piece in waiting)
            waiting.append(rows.take(order[place:upto]))
            place = upto
            if upto <= len(order):
                yield Arrays.join(waiting) if len(waiting) > 1 else waiting[0]
                waiting.clear()
                count -= 1
        del rows, order  # or three pools would be held while the next one is read
