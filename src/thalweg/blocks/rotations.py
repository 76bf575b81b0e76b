"""Look at pairs of columns from several angles.

A piecewise-linear embedding bends a column where the target bends along it, but a ridge that
runs diagonally through two columns (longitude and latitude, price and cost) it can only
approach by multiplying many bends. Seen from the right angle the ridge is one bend again. So the
pairs that interact most are rotated by fixed angles, and each view is embedded like a column.
"""

from __future__ import annotations

import math
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CELLS: Final = 12
"""Quantile cells along each column of a pair when its interaction is measured."""

MOST_COLUMNS: Final = 16
MOST_ROWS: Final = 50_000
STRONG: Final = 0.02
"""The share of the target's variance that a pair must explain beyond its two columns."""


def interactions(
    values: NDArray[np.float32], target: NDArray[np.float64]
) -> list[tuple[float, int, int]]:
    """Measure how much each pair of columns says about the target beyond the two alone.

    The target's mean in each cell of a quantile grid is compared with the best sum of a
    function of either column (backfitting); the rest, less what chance would give so many
    cells, is the interaction. In the spirit of GA2M's FAST (Lou et al. 2013).

    Parameters
    ----------
    values
        float32 [N, columns].
    target
        float64 [N, outputs]: a number, or the classes as columns of 0 and 1.

    Returns
    -------
    list
        (share of the target's variance, first column, second column), the strongest first.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
    >>> share, first, second = interactions(values, values[:, :1] * values[:, 2:])[0]
    >>> first, second, share > 0.5
    (0, 2, True)
    """
    step = max(1, len(values) // MOST_ROWS)
    values, target = values[::step], target[::step].astype(np.float64)
    target = target - target.mean(axis=0)
    variance = float((target**2).sum(axis=1).mean())
    if variance <= 0 or values.shape[1] < 2:
        return []
    cells = [_cells(values[:, column]) for column in range(values.shape[1])]
    alone = [_explained(cell, target) for cell in cells]
    chosen = sorted(np.argsort(alone)[::-1][:MOST_COLUMNS].tolist())
    found = []
    for index, first in enumerate(chosen):
        for second in chosen[index + 1 :]:
            share = _interaction(cells[first], cells[second], target) / variance
            found.append((float(share), first, second))
    return sorted(found, reverse=True)


def _cells(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Give each value's quantile cell."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, CELLS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _means(
    cells: NDArray[np.int64], target: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give each cell's rows and its mean target [cells, outputs]."""
    rows = np.bincount(cells, minlength=count).astype(np.float64)
    sums = np.stack([np.bincount(cells, column, count) for column in target.T], axis=1)
    return rows, sums / np.maximum(rows, 1)[:, None]


def _explained(cells: NDArray[np.int64], target: NDArray[np.float64]) -> float:
    """Give the variance that the cells' means explain."""
    rows, means = _means(cells, target, CELLS)
    return float((rows[:, None] * means**2).sum() / len(target))


def _interaction(
    first: NDArray[np.int64], second: NDArray[np.int64], target: NDArray[np.float64]
) -> float:
    """Give the variance that a pair's cells explain beyond a sum of two functions."""
    rows, means = _means(first * CELLS + second, target, CELLS * CELLS)
    grid = rows.reshape(CELLS, CELLS, 1)
    rest = means.reshape(CELLS, CELLS, -1).copy()
    for _ in range(10):
        for axis in (1, 0):
            weight = np.maximum(grid.sum(axis=axis, keepdims=True), 1)
            rest -= (grid * rest).sum(axis=axis, keepdims=True) / weight
    chance = float((target**2).sum(axis=1).mean()) * np.count_nonzero(rows) / len(target)
    return float((grid * rest**2).sum() / len(target)) - chance


@final
class Rotations(nn.Module):
    """Give the views of some pairs: [N, columns] to [N, pairs * angles].

    Parameters
    ----------
    pairs
        How many pairs.
    angles
        How many views of each, an even number: spread evenly, none of them along an axis.
    """

    first: Tensor
    second: Tensor
    cosine: Tensor
    sine: Tensor

    def __init__(self, pairs: int, angles: int = 12) -> None:
        super().__init__()
        self.views = pairs * angles
        self.pairs = pairs
        self.register_buffer("first", torch.zeros(pairs, dtype=torch.int64))
        self.register_buffer("second", torch.zeros(pairs, dtype=torch.int64))
        turns = (torch.arange(angles, dtype=torch.float64) + 0.5) * math.pi / angles
        self.register_buffer("cosine", turns.cos().float(), persistent=False)
        self.register_buffer("sine", turns.sin().float(), persistent=False)

    def choose(self, values: NDArray[np.float32], target: NDArray[np.float64]) -> None:
        """Take the pairs that interact most on some rows; see `interactions`."""
        for slot, (_, first, second) in enumerate(interactions(values, target)[: self.pairs]):
            self.first[slot], self.second[slot] = first, second

    def forward(self, values: Tensor) -> Tensor:
        """Rotate the chosen pairs of float32 [N, columns]."""
        left = values[:, self.first].unsqueeze(-1) * self.cosine
        right = values[:, self.second].unsqueeze(-1) * self.sine
        return (left + right).flatten(1)
