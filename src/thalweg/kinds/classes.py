"""What kinds of few values share: the lookup; and as targets the head, the decision, the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.kinds.base import Head, LossOptions, Threshold
from thalweg.kinds.cells import require_flat

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def look_up(
    array: pa.Array, code: Callable[[pa.Array], NDArray[np.integer[Any]]], missing: int
) -> NDArray[np.int64]:
    """Code every cell, though each distinct value is read only once.

    Parameters
    ----------
    array
        Cells [N] of any flat Arrow type.
    code
        Gives a code for each of some values, none of which is null.
    missing
        The code of null.

    Returns
    -------
    numpy.ndarray
        int64 [N].

    Raises
    ------
    ColumnError
        Where cells are lists or records.

    Examples
    --------
    >>> cells = pa.array(["bb", None, "a", "bb"])
    >>> look_up(cells, lambda values: np.array([len(text.as_py()) for text in values]), 0)
    array([2, 0, 1, 2])
    """
    require_flat(array)
    if pa.types.is_null(array.type):
        return np.full(len(array), missing, dtype=np.int64)
    distinct = distinct_of(array)
    values, places = distinct.dictionary, distinct.indices
    places = (places.fill_null(len(values)) if places.null_count else places).to_numpy()
    if len(values) > len(places):
        # A few rows out of a large table need not look at all that the table knows.
        used, places = np.unique(places, return_inverse=True)
        values = values.take(pa.array(used[used < len(values)]))
    codes = np.full(len(values) + 1, missing, dtype=np.int64)
    if values.null_count:
        codes[:-1][values.is_valid().to_numpy(zero_copy_only=False)] = code(values.drop_null())
    elif len(values):
        codes[:-1] = code(values)
    found: NDArray[np.int64] = codes.take(places, mode="clip")
    return found


def distinct_of(array: pa.Array) -> pa.DictionaryArray:
    """Hold each distinct value of flat cells [N] once, and for each cell which it is.

    Examples
    --------
    >>> distinct_of(pa.array(["b", "a", "b"])).indices.to_pylist()
    [0, 1, 0]
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return array
    # Arrow finds the distinct values of neither of these by itself.
    if isinstance(kind, pa.BaseExtensionType):
        return distinct_of(array.storage)
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        array = array.cast(pa.decimal128(kind.precision, kind.scale))
    return array.dictionary_encode()


@final
class ClassHead(Head):
    """One logit for each class, also where there are two, and the log loss.

    Parameters
    ----------
    counts
        How many training rows each class has.
    options
        How the loss is bent.

    Examples
    --------
    >>> ClassHead([99, 299], LossOptions()).start().exp()
    tensor([0.2500, 0.7500])
    """

    def __init__(self, counts: Sequence[int], options: LossOptions) -> None:
        self._counts = tuple(counts)
        self._options = options

    @property
    def outputs(self) -> int:
        """How many classes there are."""
        return len(self._counts)

    def start(self) -> torch.Tensor:
        """Give the log of each class's share of the training rows, [classes]."""
        import torch

        # One imagined row each: no class starts as impossible.
        counts = torch.tensor(self._counts, dtype=torch.float64) + 1
        return (counts / counts.sum()).log().float()

    def loss(self, outputs: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Give the log loss of each member on each row, [members, N]."""
        from thalweg.blocks.losses import class_loss

        return class_loss(
            outputs,
            target.get("code"),
            target.get("probabilities"),
            smoothing=self._options.smoothing,
            focusing=self._options.focusing,
        )

    def combine(self, outputs: Tensor) -> Tensor:
        """Give the mean of the members' probabilities, [N, classes]."""
        return outputs.float().softmax(-1).mean(0)


def decide(probabilities: NDArray[np.floating[Any]], threshold: Threshold) -> NDArray[np.int64]:
    """Choose a class for each row.

    Parameters
    ----------
    probabilities
        [N, classes].
    threshold
        With two classes: the second is chosen where its probability is at least this. None
        chooses the likelier class, and so does any threshold with more classes than two.

    Returns
    -------
    numpy.ndarray
        int64 [N].

    Examples
    --------
    >>> decide(np.array([[0.9, 0.1], [0.7, 0.3]]), threshold=0.25)
    array([0, 1])
    >>> decide(np.array([[0.9, 0.1], [0.4, 0.6]]), threshold=None)
    array([0, 1])
    """
    if not isinstance(threshold, (int, float)) or probabilities.shape[1] != 2:
        likeliest: NDArray[np.int64] = probabilities.argmax(axis=1).astype(np.int64)
        return likeliest
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def class_columns(
    probabilities: NDArray[np.floating[Any]],
    classes: pa.Array,
    names: Sequence[str],
    threshold: Threshold,
) -> dict[str, pa.Array]:
    """Write probabilities as columns in the user's own terms.

    Parameters
    ----------
    probabilities
        [N, classes].
    classes
        The classes as the user knows them, of any Arrow type.
    names
        The classes as text, for the names of columns.
    threshold
        See `decide`.

    Returns
    -------
    dict
        ``prediction``, then ``probability_<class>`` (float64) for each class.
    """
    columns = {"prediction": classes.take(pa.array(decide(probabilities, threshold), pa.int64()))}
    for column, name in enumerate(names):
        shares = np.ascontiguousarray(probabilities[:, column], dtype=np.float64)
        columns[f"probability_{name}"] = pa.array(shares, pa.float64())
    return columns
