"""The record of how a model came to be and how well it does: plain data, saved with the model."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from thalweg.kinds.base import Task


class Plain(BaseModel):
    """Frozen data that survives JSON and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(Plain):
    """A measured figure with its 95% interval.

    Parameters
    ----------
    value
        The figure on all rows.
    low, high
        The bounds of the bootstrap interval.
    """

    value: float
    low: float
    high: float


class Rows(Plain):
    """How many rows went where.

    With no rows to validate, each member of the network held out an eighth of the training rows.
    """

    train: int
    validation: int
    test: int
    dropped: int = 0
    rejected: int = 0


class Epoch(Plain):
    """What one epoch showed. ``epoch`` counts from 0; people read from 1.

    Validation figures are on held-out folds where there is no validation part.
    """

    epoch: int
    steps: int = Field(default=0, description="how many steps it took; fewer where it was cut")
    seconds: float
    learning_rate: float
    train_loss: float
    validation_loss: float
    metric: float = Field(description="the task's leading metric on the validation rows")


class Training(Plain):
    """How a network was trained."""

    seed: int
    settings: dict[str, Any]
    epochs: list[Epoch]
    best_epoch: int
    stopped: str = Field(description="why training ended: 'plan', 'early stopping' or 'time'")
    passes: float = Field(default=0.0, description="how often the training rows were shown")
    metric: str = Field(description="the leading metric's name")
    parameters: int
    rows_per_second: float
    seconds: float
    versions: dict[str, str]


class Slice(Plain):
    """A group of rows on which the model does worse than elsewhere.

    Parameters
    ----------
    where
        The group in words: ``"occupation = 'Sales'"``, ``"age in [17, 24)"``.
    rows
        Its size.
    loss, rest
        Mean loss in the group and on all other rows.
    value
        The leading metric in the group; None where its rows do not define it (one class only).
    probability
        How likely such a difference is by chance (Welch's t, adjusted for all groups tried).
    """

    where: str
    rows: int
    loss: float
    rest: float
    value: float | None
    probability: float


class Importance(Plain):
    """How much the leading metric suffers when one column is shuffled (Breiman 2001).

    Measured on at most 5,000 of the test rows; positive where the column is of use.
    """

    column: str
    kind: str
    value: float
    low: float
    high: float


class Curve(Plain):
    """Points to draw: calibration, residuals, learning."""

    x: list[float]
    y: list[float]
    weight: list[float] = []


class Baseline(Plain):
    """A rival trained on the same rows and judged on the same test rows.

    Parameters
    ----------
    metrics
        As the model's own.
    seconds
        What fitting and predicting took.
    rows
        On how many of the training rows it was fitted, where that was not all.
    """

    metrics: dict[str, Figure]
    seconds: float
    rows: int | None = None


class Evaluation(Plain):
    """How a model does on rows it never saw."""

    task: Task
    rows: int
    metric: str = Field(description="the leading metric's name")
    metrics: dict[str, Figure]
    baselines: dict[str, Baseline] = {}
    classes: list[str] = []
    confusion: list[list[int]] = []
    threshold: float | None = None
    calibration: dict[str, Curve] = {}
    residuals: Curve | None = None
    slices: list[Slice] = []
    importances: list[Importance] = []
    warnings: list[str] = []
