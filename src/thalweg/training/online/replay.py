"""Rows kept to be learned from again: the last ones, and a fair sample of all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.data.arrays import Arrays

Flat = Mapping[str, NDArray[Any]]

_TARGET: Final = "target"
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


def flatten(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Name a row's fields ``kind/field``; those of the target ``target/field``."""
    groups = {**arrays.features, _TARGET: arrays.target}
    return {
        f"{kind}/{name}": one for kind, fields in groups.items() for name, one in fields.items()
    }


def unflatten(flat: Flat) -> Arrays:
    """Give back what `flatten` named."""
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for key, array in flat.items():
        kind, _, name = key.partition("/")
        groups.setdefault(kind, {})[name] = array
    return Arrays({k: f for k, f in groups.items() if k != _TARGET}, groups.get(_TARGET, {}))


def bytes_of(arrays: Arrays) -> int:
    """Say how many bytes one encoded row takes."""
    return sum(one.itemsize * math.prod(one.shape[1:]) for one in flatten(arrays).values())


@final
class Ring:
    """The last rows, as many as fit.

    Parameters
    ----------
    capacity
        How many at most.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._fields: dict[str, NDArray[Any]] = {}
        self._end = 0
        self._held = 0

    def __len__(self) -> int:
        return self._held

    def push(self, arrays: Arrays) -> None:
        """Take rows [N] in order; the oldest make room."""
        rows = flatten(arrays.take(slice(-self.capacity, None)))
        count = min(len(arrays), self.capacity)
        if not self._fields:
            self._fields = _room(rows, self.capacity)
        places = (self._end + np.arange(count)) % self.capacity
        for name, array in rows.items():
            self._fields[name][places] = array
        self._end = (self._end + count) % self.capacity
        self._held = min(self.capacity, self._held + count)

    def keep(self, count: int) -> None:
        """Forget all but the last rows."""
        self._held = min(self._held, count)

    def take(self, ages: NDArray[np.int64]) -> Arrays:
        """Give rows by age [M]: 0 is the newest."""
        places = (self._end - 1 - ages) % self.capacity
        return unflatten({name: array[places] for name, array in self._fields.items()})

    def state(self) -> dict[str, NDArray[Any]]:
        """Give the rows, the oldest first."""
        places = (self._end - 1 - np.arange(self._held)[::-1]) % self.capacity
        return {name: array[places] for name, array in self._fields.items()}

    def restore(self, fields: Flat) -> None:
        """Hold these rows, the oldest first, and no others."""
        self._fields, self._end, self._held = {}, 0, 0
        if fields:
            self.push(unflatten(fields))


@final
class Reservoir:
    """A fair sample of all rows so far (algorithm R of Vitter 1985).

    Which row goes where depends on the seed and on the row's number alone.

    Parameters
    ----------
    capacity
        How many at most.
    seed
        Draws the places.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self.capacity = capacity
        self._seed = seed
        self._fields: dict[str, NDArray[Any]] = {}
        self.seen = 0

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def push(self, arrays: Arrays) -> None:
        """Look at rows [N] in order, and keep some."""
        numbers = self.seen + np.arange(len(arrays))
        self.seen += len(arrays)
        places = np.where(
            numbers < self.capacity, numbers, _drawn(self._seed, numbers) % (numbers + 1)
        )
        # Of several rows with one place the last one stays.
        last = len(places) - 1 - np.unique(places[::-1], return_index=True)[1]
        chosen = last[places[last] < self.capacity]
        rows = flatten(arrays.take(chosen))
        if not self._fields:
            self._fields = _room(rows, self.capacity)
        for name, array in rows.items():
            self._fields[name][places[chosen]] = array

    def take(self, places: NDArray[np.int64]) -> Arrays:
        """Give rows by place [M]."""
        return unflatten({name: array[places] for name, array in self._fields.items()})

    def state(self) -> dict[str, NDArray[Any]]:
        """Give the rows by place; `seen` is to be kept beside them."""
        return {name: array[: len(self)].copy() for name, array in self._fields.items()}

    def restore(self, fields: Flat, seen: int) -> None:
        """Hold these rows, and no others."""
        self._fields, self.seen = {}, seen
        if fields:
            self._fields = _room(fields, self.capacity)
            for name, array in fields.items():
                self._fields[name][: len(array)] = array


def _room(rows: Flat, capacity: int) -> dict[str, NDArray[Any]]:
    return {
        name: np.zeros((capacity, *array.shape[1:]), array.dtype) for name, array in rows.items()
    }


def _drawn(seed: int, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Draw a whole number from 0 to 2**63 - 1 for each number (SplitMix64, Steele et al. 2014)."""
    mixed = (numbers.astype(np.uint64) + np.uint64(seed)) * _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)
