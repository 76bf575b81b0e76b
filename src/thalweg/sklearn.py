"""The deep model as scikit-learn estimators: for pipelines, grid searches and cross-validation.

They keep scikit-learn's contract to the letter (its own `check_estimator` passes), so they take
what it takes: arrays of numbers, and data frames with named columns of any kind. What
`thalweg.train` does besides (judging on rows that were held out, baselines, the report, the saved
folder) is what scikit-learn has its own tools for, and is left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, Self, final

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from thalweg.api import seconds_of
from thalweg.core.errors import ThalwegError
from thalweg.core.progress import Silent
from thalweg.data.arrays import Arrays
from thalweg.data.parts import Wishes
from thalweg.data.prepare import prepare
from thalweg.data.split import Split
from thalweg.models.decoder import Answers
from thalweg.models.recipe import Recipe
from thalweg.sources import open_source
from thalweg.training.train import Run, train

TARGET: Final = "target y"
"""A column name that no table has."""

PIECE: Final = 128
"""Rows that are predicted at a time. scikit-learn asks that a row's answer should not depend on
its neighbours to the last bit, and the order in which a matrix product adds depends on its shape:
so the shape is always the same."""


class DeepEstimator(BaseEstimator, ABC):
    """What the two faces share.

    Parameters
    ----------
    epochs
        Passes over the training rows; planned from the table by default.
    minutes
        How long training may take; as long as the plan says by default.
    recipe
        Dials by name, such as ``{"members": 8, "learning_rate": 3e-4}``; see
        `thalweg.models.recipe.Recipe`.
    columns
        Column name -> ``KIND[,OPTION=VALUE...]`` for the columns of a data frame. Columns without
        a name are numbers.
    validation_fraction
        The share of rows that choose when to stop and calibrate the answers.
    random_state
        A seed for repeatable results.
    """

    def __init__(
        self,
        *,
        epochs: int | None = None,
        minutes: float | None = None,
        recipe: Mapping[str, Any] | None = None,
        columns: Mapping[str, str] | None = None,
        validation_fraction: float = 0.15,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.epochs = epochs
        self.minutes = minutes
        self.recipe = recipe
        self.columns = columns
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    @abstractmethod
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803 (scikit-learn's name)
        """Train on rows X [N, columns] and their targets y [N]."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _fit(self, table: pa.Table, kind: str, balance: str = "none") -> Self:
        """Train on a table whose last column is the target, of a kind."""
        seed = int(check_random_state(self.random_state).randint(2**31))
        dials = {**(self.recipe or {}), **({"epochs": self.epochs} if self.epochs else {})}
        wishes = Wishes(TARGET, {**self._said(table), TARGET: kind})
        split = Split("random", None, 0.0, self.validation_fraction, seed)
        try:
            seconds = seconds_of(self.minutes)
            prepared = prepare(open_source(table), wishes, split, None, Silent())
            recipe = Recipe.for_table(prepared).turned(dials)
            self.model_ = train(prepared, recipe, Run(seed, seconds, balance), Silent())
        except ThalwegError as mistake:
            # scikit-learn's word for data that cannot be learned from.
            raise ValueError(str(mistake)) from mistake
        return self

    def _said(self, table: pa.Table) -> dict[str, str]:
        """Say what the columns are: as the user says, and numbers where they came as an array."""
        framed = hasattr(self, "feature_names_in_")
        numbers = {} if framed else dict.fromkeys(table.column_names[:-1], "number")
        return numbers | dict(self.columns or {})

    def _table(self, X: Any, *, reset: bool) -> pa.Table:  # noqa: N803
        """Check rows as scikit-learn wants it, and see them as a table."""
        if hasattr(X, "__arrow_c_stream__"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if hasattr(self, "feature_names_in_"):
                frame = pa.RecordBatchReader.from_stream(X).read_all()
                return frame.select(list(self.feature_names_in_))
        array = validate_data(
            self,
            X,
            reset=reset,
            dtype="numeric",
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
        )
        names = getattr(self, "feature_names_in_", [f"x{index}" for index in range(array.shape[1])])
        return pa.table(dict(zip(names, array.T.astype(np.float64), strict=True)))

    def _answers(self, X: Any) -> Answers:  # noqa: N803
        """Answer for rows, in pieces of one size."""
        check_is_fitted(self)
        try:
            encoded = self.model_.schema.encode(self._table(X, reset=False))
        except ThalwegError as mistake:
            raise ValueError(str(mistake)) from mistake
        arrays = Arrays(encoded.fields)
        rows = np.arange(-(-len(arrays) // PIECE) * PIECE) % len(arrays)
        pieces = [
            self.model_.answers(arrays.take(piece)).prediction
            for piece in np.split(rows, len(rows) // PIECE)
        ]
        return Answers(np.concatenate(pieces)[: len(arrays)])


@final
class DeepClassifier(ClassifierMixin, DeepEstimator):
    """A deep classifier of tables.

    Parameters
    ----------
    balance
        What is done for rare classes: ``none``, ``weights``, ``oversample``, ``undersample`` or
        ``focal``.
    epochs, minutes, recipe, columns, validation_fraction, random_state
        See `DeepEstimator`.

    Attributes
    ----------
    classes_
        The classes, in the order of the probabilities.
    model_
        The trained `thalweg.models.model.Model`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = DeepClassifier(epochs=10, random_state=0).fit(X, y)
    >>> classifier.predict_proba(X).shape
    (150, 3)
    """

    def __init__(
        self,
        *,
        balance: str = "none",
        epochs: int | None = None,
        minutes: float | None = None,
        recipe: Mapping[str, Any] | None = None,
        columns: Mapping[str, str] | None = None,
        validation_fraction: float = 0.15,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            epochs=epochs,
            minutes=minutes,
            recipe=recipe,
            columns=columns,
            validation_fraction=validation_fraction,
            random_state=random_state,
        )
        self.balance = balance

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803
        """Train on rows X [N, columns] and their classes y [N]."""
        table = self._table(X, reset=True)
        labels = _targets(X, y)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        # Codes as text: whatever labels are (numbers, text, objects), they come back as they were.
        target = pa.array(codes.astype(str))
        return self._fit(table.append_column(TARGET, target), "category", self.balance)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Give probabilities, float64 [N, classes]."""
        found = self._answers(X).prediction
        ordered = np.zeros((len(found), len(self.classes_)))
        ordered[:, [int(name) for name in self.model_.classes]] = found
        return ordered

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Give the most probable classes [N]."""
        codes = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[codes]
        return labels


@final
class DeepRegressor(RegressorMixin, DeepEstimator):
    """A deep regressor of tables.

    Parameters
    ----------
    epochs, minutes, recipe, columns, validation_fraction, random_state
        See `DeepEstimator`.

    Attributes
    ----------
    model_
        The trained `thalweg.models.model.Model`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = DeepRegressor(epochs=5, random_state=0).fit(X, y)
    >>> regressor.predict(X[:3]).shape
    (3,)
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803
        """Train on rows X [N, columns] and their values y [N]."""
        table = self._table(X, reset=True)
        values = _targets(X, y).astype(np.float64)
        return self._fit(table.append_column(TARGET, pa.array(values)), "number")

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Give predictions, float64 [N]."""
        return self._answers(X).prediction


def _targets(X: ArrayLike, y: ArrayLike) -> NDArray[Any]:  # noqa: N803
    """Check targets as scikit-learn wants it: one for each row, none missing."""
    targets: NDArray[Any] = column_or_1d(np.asarray(y), warn=True)
    assert_all_finite(targets, input_name="y")
    check_consistent_length(X, targets)
    return targets
