"""Encoded rows held together: what the loader slices and the network reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

Fields = Mapping[str, NDArray[Any]]

MOST_CLASSES: Final = 8


@final
@dataclass(frozen=True, slots=True)
class Arrays:
    """Encoded rows.

    Parameters
    ----------
    features
        Kind -> field -> array [N, ...].
    target
        Field -> array [N, 1, ...]; empty where there is no target.
    weights
        float32 [N] or, for each member of a network its own, [N, members]: how much each row's
        loss counts; None for 1 each.
    """

    features: Mapping[str, Fields]
    target: Fields = field(default_factory=dict)
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        some = [*self.target.values(), *(a for f in self.features.values() for a in f.values())]
        return len(some[0]) if some else 0

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Arrays:
        """Choose rows by index [M], mask [N] or slice."""

        def chosen(array: NDArray[Any]) -> NDArray[Any]:
            if isinstance(rows, slice) or rows.dtype == np.bool_:
                return array[rows]
            return array.take(rows, axis=0)  # in a quarter of the time

        return Arrays(
            {
                kind: {name: chosen(array) for name, array in fields.items()}
                for kind, fields in self.features.items()
            },
            {name: chosen(array) for name, array in self.target.items()},
            None if self.weights is None else chosen(self.weights),
        )

    def weighted(self, weights: NDArray[np.float32] | None) -> Arrays:
        """Give the same rows with other weights."""
        return Arrays(self.features, self.target, weights)

    @classmethod
    def join(cls, parts: Iterable[Arrays]) -> Arrays:
        """Put rows after one another; all parts have the same fields and no weights."""
        parts = list(parts)
        first = parts[0]
        return cls(
            {
                kind: {
                    name: np.concatenate([part.features[kind][name] for part in parts])
                    for name in fields
                }
                for kind, fields in first.features.items()
            },
            {name: np.concatenate([part.target[name] for part in parts]) for name in first.target},
        )


def target_columns(target: Fields) -> NDArray[np.float64]:
    """See a target as numbers.

    Parameters
    ----------
    target
        The target's fields [N, 1].

    Returns
    -------
    numpy.ndarray
        float64 [N, columns]: a number itself, or the commonest classes or labels as 0 and 1.

    Examples
    --------
    >>> target_columns({"code": np.array([[1], [0], [1]])}).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    if "value" in target:
        values: NDArray[np.float64] = target["value"].astype(np.float64)
        return values
    if "labels" in target:
        labels: NDArray[np.float64] = target["labels"][:, 0].astype(np.float64)
        return labels[:, np.argsort(-labels.sum(axis=0), kind="stable")[:MOST_CLASSES]]
    codes = target["code"][:, 0].astype(np.int64)
    common = np.argsort(-np.bincount(codes), kind="stable")[:MOST_CLASSES]
    shown: NDArray[np.float64] = (codes[:, None] == common).astype(np.float64)
    return shown
