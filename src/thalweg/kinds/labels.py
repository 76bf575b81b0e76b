"""Several labels a row, as a target: the head, the decision and the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.kinds.base import Head, LossOptions, Threshold
from thalweg.kinds.members import joined, lists_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@final
class LabelHead(Head):
    """One logit for each label, yes or no, and the mean of the labels' log losses.

    Parameters
    ----------
    counts
        How many training rows have each label.
    rows
        How many training rows there are.
    options
        How the loss is bent.

    Examples
    --------
    >>> LabelHead([24, 74], 99, LossOptions()).start().sigmoid()
    tensor([0.2450, 0.7450])
    """

    def __init__(self, counts: Sequence[int], rows: int, options: LossOptions) -> None:
        self._counts = tuple(counts)
        self._rows = rows
        self._options = options

    @property
    def outputs(self) -> int:
        """How many labels there are."""
        return len(self._counts)

    def start(self) -> torch.Tensor:
        """Give the log odds of each label among the training rows, [labels]."""
        import torch

        # Half an imagined row each way: no label starts as certain or impossible.
        counts = torch.tensor(self._counts, dtype=torch.float64)
        return ((counts + 0.5) / (self._rows - counts + 0.5)).log().float()

    def loss(self, outputs: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Give the mean log loss of each member on each row, [members, N]."""
        from thalweg.blocks.losses import label_loss

        return label_loss(
            outputs,
            target["labels"],
            smoothing=self._options.smoothing,
            focusing=self._options.focusing,
        )

    def combine(self, outputs: Tensor) -> Tensor:
        """Give the mean of the members' probabilities, [N, labels]."""
        return outputs.float().sigmoid().mean(0)


def decide_labels(
    probabilities: NDArray[np.floating[Any]], threshold: Threshold
) -> NDArray[np.bool_]:
    """Choose the labels of each row.

    Parameters
    ----------
    probabilities
        [N, labels].
    threshold
        The probability from which a label is given: one for all, or one for each. None: 0.5.

    Returns
    -------
    numpy.ndarray
        Bool [N, labels].

    Examples
    --------
    >>> decide_labels(np.array([[0.6, 0.3], [0.4, 0.1]]), threshold=(0.5, 0.2)).tolist()
    [[True, True], [False, False]]
    """
    least = np.asarray(0.5 if threshold is None else threshold, dtype=np.float64)
    chosen: NDArray[np.bool_] = probabilities >= least
    return chosen


def label_columns(
    probabilities: NDArray[np.floating[Any]],
    labels: pa.Array,
    names: Sequence[str],
    threshold: Threshold,
    delimiter: str,
) -> dict[str, pa.Array]:
    """Write probabilities as columns in the user's own terms.

    Parameters
    ----------
    probabilities
        [N, labels].
    labels
        The labels as the user knows them, of any flat Arrow type.
    names
        The labels as text, for the names of columns.
    threshold
        See `decide_labels`.
    delimiter
        What stands between the labels of an answer; where it is empty, answers are lists.

    Returns
    -------
    dict
        ``prediction``, then ``probability_<label>`` (float64) for each label.

    Examples
    --------
    >>> found = label_columns(np.array([[0.6, 0.7]]), pa.array(["a", "b"]), "ab", None, "|")
    >>> found["prediction"].to_pylist()
    ['a|b']
    """
    rows, chosen = np.nonzero(decide_labels(probabilities, threshold))
    lists = lists_of(rows, labels.take(pa.array(chosen)), len(probabilities), None)
    columns = {"prediction": joined(lists, delimiter) if delimiter else lists}
    for column, name in enumerate(names):
        shares = np.ascontiguousarray(probabilities[:, column], dtype=np.float64)
        columns[f"probability_{name}"] = pa.array(shares)
    return columns
