"""The trained model as it is: it never learns, and is hard to beat while nothing changes."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import TargetError
from thalweg.models.model import Model
from thalweg.training.online.base import Expert, Script, State


@final
class Frozen(Expert):
    """Says what a trained model says.

    Parameters
    ----------
    model
        The model. Its classes are the first codes of a script's; classes beyond them get 0.

    Raises
    ------
    TargetError
        Where the model's rows may have several labels.
    """

    name: ClassVar[str] = "frozen"

    def __init__(self, model: Model) -> None:
        require_single(model)
        self._model = model
        self._rows: pa.RecordBatch | None = None  # whose answers these are
        self._said = np.empty((0, 1))
        self._done = np.empty(0, dtype=bool)

    @property
    def model(self) -> Model:
        """The model that it says what it says."""
        return self._model

    def prepare(self, script: Script) -> None:
        """Answer for all rows that the script predicts, at once."""
        if self._rows is not script.rows:
            self._rows = script.rows
            self._said = np.full((len(script.targets), script.width), np.nan)
            self._done = np.zeros(len(script.targets), dtype=bool)
        rows = np.unique(script.steps[script.steps >= 0])
        rows = rows[~self._done[rows]]
        if len(rows) and script.arrays is not None:
            if script.first is not None:
                answers = script.first[rows]
            else:
                answers = self._model.answers(script.arrays.take(rows)).prediction
            self._said[rows] = fitted(answers, script.width)
            self._done[rows] = True

    def run(self, script: Script, said: NDArray[np.float64]) -> None:
        """See `Expert.run`; nothing is learned."""
        self.prepare(script)  # which has nothing to do where it was asked to before
        rows = script.steps[script.steps >= 0]
        said[rows] = self._said[rows]

    def state(self) -> State:
        """See `Expert.state`: it learns nothing, so there is none."""
        return State()

    def restore(self, state: State) -> None:
        """See `Expert.restore`."""
        del state
        self._rows = None


def require_single(model: Model) -> None:
    """Refuse a model whose rows may have several labels.

    Raises
    ------
    TargetError
        Where they may.
    """
    if model.task == "multilabel":
        raise TargetError(
            "the model's rows may have several labels each",
            "a target of one class or one number",
            "Learning from a stream is for these; run this model without learning.",
        )


def fitted(answers: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Put a model's answers [N] or [N, classes] into [N, width]; further classes get 0.

    A row with an answer that is no finite number is NaN throughout: nothing is said of it.

    Examples
    --------
    >>> fitted(np.array([[0.25, 0.75]]), 3).tolist()
    [[0.25, 0.75, 0.0]]
    """
    found = answers.reshape(len(answers), -1)[:, :width]
    wide = np.zeros((len(found), width))
    wide[:, : found.shape[1]] = found
    wide[~np.isfinite(found).all(axis=1)] = np.nan
    return wide
