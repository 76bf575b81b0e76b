"""The record of how a model came to be and how well it does: plain data, saved with the model."""

from __future__ import annotations

from typing import Any, Literal

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


class Label(Plain):
    """How a model does at one of several labels a row.

    Parameters
    ----------
    name
        The label.
    support
        How many rows have it.
    precision, recall, f1
        Of the rows given it, of those that have it, and of both.
    average_precision
        Over all thresholds; None where no row has it, or all have.
    threshold
        From which probability on it is given.
    """

    name: str
    support: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None = None
    threshold: float = 0.5


class Exhibit(Plain):
    """A cell of a row that went wrong, as the network saw it.

    Parameters
    ----------
    column
        Its column.
    media
        What it is: a ``image`` (PNG), a sound (``audio``, WAV), a ``text``, or another ``value``.
    data
        The cell as text; a picture or a sound in base64. Empty where it is missing.
    pieces
        Of a text: its pieces in order, and how much each spoke for the prediction: what the
        prediction's probability (or a predicted number) loses without it.
    note
        What a reader must know: that the cell is missing, or too large to be kept.
    """

    column: str
    media: Literal["image", "audio", "text", "value"]
    data: str
    pieces: list[tuple[str, float]] = []
    note: str = ""


class Mistake(Plain):
    """A row that the model judged badly.

    Parameters
    ----------
    truth, prediction
        In words.
    probability
        What the model gave the prediction; None for a number.
    loss
        The row's loss.
    exhibits
        Its cells, those to look at and listen to first.
    """

    truth: str
    prediction: str
    probability: float | None = None
    loss: float
    exhibits: list[Exhibit] = []


class Oddness(Plain):
    """How odd rows are that a model without a target never saw.

    Parameters
    ----------
    wanted
        The share of ordinary rows that may be called odd.
    threshold
        The score from which on rows are.
    scores
        How many rows (y) have about each score (x); the highest are put together.
    seen, fitted
        The share of rows (y) with at least a score (x): of the judged rows, and by the curve that
        was fitted to held-out rows.
    shape, scale, count
        Of that curve (generalised Pareto), and how many rows it was fitted to the highest of.
    """

    wanted: float
    threshold: float
    scores: Curve
    seen: Curve
    fitted: Curve
    shape: float
    scale: float
    count: int


class Evaluation(Plain):
    """How a model does on rows it never saw."""

    task: Task
    rows: int
    metric: str = Field(description="the leading metric's name")
    metrics: dict[str, Figure]
    baselines: dict[str, Baseline] = {}
    classes: list[str] = []
    confusion: list[list[int]] = []
    labels: list[Label] = []
    threshold: float | tuple[float, ...] | None = None
    calibration: dict[str, Curve] = {}
    residuals: Curve | None = None
    slices: list[Slice] = []
    mistakes: list[Mistake] = []
    importances: list[Importance] = []
    anomalies: Oddness | None = None
    warnings: list[str] = []
