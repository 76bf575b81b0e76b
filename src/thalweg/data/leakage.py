"""Notice what makes a score too good to be true: columns that give the target away, copied rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thalweg.data.arrays import target_columns
from thalweg.data.parts import Prepared
from thalweg.kinds import KINDS

ALONE: Final = 0.98
"""The share of the target that one column must explain on rows it was not fitted on."""

MOST_CELLS: Final = 256
MOST_ROWS: Final = 20_000


def warnings(prepared: Prepared) -> list[str]:
    """Say, in words, what should be looked at before the score is believed.

    Examples of what is said: ``column 'refund' alone explains 99.8% of the target: is it known
    before the target is?`` and ``31 test rows equal training rows``.
    """
    return [*(_columns(prepared) if prepared.schema.target else ()), *_copies(prepared)]


def _columns(prepared: Prepared) -> Iterator[str]:
    """Find columns that nearly give the target."""
    arrays = prepared.train.arrays
    step = max(1, len(arrays) // MOST_ROWS)
    target = target_columns(arrays.target)[::step]
    for kind, columns in prepared.schema.by_kind().items():
        if KINDS[kind].holds:
            continue  # no cell of a picture or a text is one number
        fields = arrays.features[kind]
        for index, column in enumerate(columns):
            shares = [
                share
                for field in fields.values()
                for share in _shares(field[::step, index], target)
            ]
            if max(shares, default=0.0) >= ALONE:
                yield (
                    f"column {column.name!r} alone explains {max(shares):.1%} of the target: "
                    "is it known before the target is? Leave it out with --drop if not"
                )


def _shares(field: NDArray[Any], target: NDArray[np.float64]) -> Iterator[float]:
    """Say what a field [N] or [N, parts] explains: codes as they are, numbers also by a line."""
    for part in field.reshape(len(field), -1).T:
        if np.issubdtype(part.dtype, np.integer):
            yield explained(np.minimum(part.astype(np.int64), MOST_CELLS - 1), target)
        else:
            edges = np.unique(np.quantile(part, np.linspace(0, 1, MOST_CELLS + 1)[1:-1]))
            yield explained(np.searchsorted(edges, part, side="right"), target)
            yield followed(part.astype(np.float64), target)


def followed(values: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Give the share of the target's variance that a line explains on rows left out.

    The line goes through the means of four neighbours each. Unlike cells it needs few rows to
    find a number that is the target in another unit.

    Parameters
    ----------
    values
        float64 [N].
    target
        float64 [N, columns].

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=200)
    >>> followed(values, 2 * values[:, None] + 1) > 0.98
    True
    """
    half = _half(len(values))
    if half.sum() < 8:
        return 0.0
    order = np.argsort(values[half], kind="stable")
    starts = np.arange(0, len(order), 4)
    sizes = np.diff(np.append(starts, len(order)))
    places = np.add.reduceat(values[half][order], starts) / sizes
    means = np.add.reduceat(target[half][order], starts, axis=0) / sizes[:, None]
    guesses = [np.interp(values[~half], places, column) for column in means.T]
    return _share(np.stack(guesses, axis=1), target, half)


def explained(cells: NDArray[np.int64], target: NDArray[np.float64]) -> float:
    """Give the share of the target's variance that cell means explain on rows left out.

    Parameters
    ----------
    cells
        int64 [N].
    target
        float64 [N, columns].

    Examples
    --------
    >>> cells = np.arange(1000) % 4
    >>> round(explained(cells, (cells == 2).astype(float)[:, None]), 3)
    1.0
    """
    half = _half(len(cells))
    if not half.any():
        return 0.0
    count = int(cells.max()) + 1 if len(cells) else 1
    rows = np.bincount(cells[half], minlength=count)
    mean = target[half].mean(axis=0)
    sums = np.stack([np.bincount(cells[half], c, count) for c in target[half].T], axis=1)
    means = (sums + mean) / (rows + 1)[:, None]
    return _share(means[cells[~half]], target, half)


def _half(rows: int) -> NDArray[np.bool_]:
    """Choose the rows [N] to fit on, always the same ones."""
    return np.random.default_rng(0).random(rows) < 0.5


def _share(
    guesses: NDArray[np.float64], target: NDArray[np.float64], half: NDArray[np.bool_]
) -> float:
    """Say how much better guesses for the other half are than the fitted half's mean."""
    rest = ((target[~half] - guesses) ** 2).sum()
    whole = ((target[~half] - target[half].mean(axis=0)) ** 2).sum()
    return float(1 - rest / whole) if whole > 0 else 0.0


def _copies(prepared: Prepared) -> Iterator[str]:
    """Say how many test rows equal training rows."""
    copies, rows = prepared.copies
    if copies:
        yield (
            f"{copies:,} of {rows:,} test rows equal training rows: "
            "the score on them says nothing of new rows"
        )
