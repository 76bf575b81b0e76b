"""Notice what makes a score too good to be true: columns that give the target away, copied rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thalweg.data.arrays import target_columns
from thalweg.data.prepare import Prepared

ALONE: Final = 0.98
"""The share of the target that one column must explain on rows it was not fitted on."""

MOST_CELLS: Final = 256
MOST_ROWS: Final = 100_000


def warnings(prepared: Prepared) -> list[str]:
    """Say, in words, what should be looked at before the score is believed.

    Examples of what is said: ``column 'refund' alone explains 99.8% of the target: is it known
    before the target is?`` and ``31 test rows equal training rows``.
    """
    return [*_columns(prepared), *_copies(prepared)]


def _columns(prepared: Prepared) -> Iterator[str]:
    """Find columns that nearly give the target."""
    arrays = prepared.train.arrays
    step = max(1, len(arrays) // MOST_ROWS)
    target = target_columns(arrays.target)[::step]
    for kind, columns in prepared.schema.by_kind().items():
        fields = arrays.features[kind]
        for index, column in enumerate(columns):
            shares = [
                explained(cell, target)
                for field in fields.values()
                for cell in _cells(field[::step, index])
            ]
            if max(shares, default=0.0) >= ALONE:
                yield (
                    f"column {column.name!r} alone explains {max(shares):.1%} of the target: "
                    "is it known before the target is? Leave it out with --drop if not"
                )


def _cells(field: NDArray[Any]) -> Iterator[NDArray[np.int64]]:
    """Part a field [N] or [N, parts] into cells: codes as they are, numbers by quantiles."""
    for part in field.reshape(len(field), -1).T:
        if np.issubdtype(part.dtype, np.integer):
            yield np.minimum(part.astype(np.int64), MOST_CELLS - 1)
        else:
            edges = np.unique(np.quantile(part, np.linspace(0, 1, MOST_CELLS + 1)[1:-1]))
            yield np.searchsorted(edges, part, side="right")


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
    half = np.random.default_rng(0).random(len(cells)) < 0.5
    count = int(cells.max()) + 1 if len(cells) else 1
    rows = np.bincount(cells[half], minlength=count)
    mean = target[half].mean(axis=0)
    sums = np.stack([np.bincount(cells[half], c, count) for c in target[half].T], axis=1)
    means = (sums + mean) / (rows + 1)[:, None]
    rest = ((target[~half] - means[cells[~half]]) ** 2).sum()
    whole = ((target[~half] - mean) ** 2).sum()
    return float(1 - rest / whole) if whole > 0 else 0.0


def _copies(prepared: Prepared) -> Iterator[str]:
    """Count judging rows that equal training rows."""
    known = np.unique(prepared.train.hashes)
    for name, part in (("validation", prepared.validation), ("test", prepared.test)):
        copies = int(np.isin(part.hashes, known).sum())
        if copies:
            rows = len(part.hashes)
            yield (
                f"{copies:,} of {rows:,} {name} rows equal training rows: "
                "the score on them says nothing of new rows"
            )
