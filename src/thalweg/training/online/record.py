"""The record of how a stream was predicted while it was learned from: plain data for a report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from thalweg.models.record import Plain

Change = Literal["given", "confirmed"]


class Delays(Plain):
    """How long labels let wait for themselves.

    Parameters
    ----------
    median, mean
        In events. The median is within 2%.
    median_seconds, mean_seconds
        In time, where that is known.
    """

    median: float
    mean: float
    median_seconds: float | None = None
    mean_seconds: float | None = None


class Course(Plain):
    """How scores went over a stream, in a bounded number of points.

    Parameters
    ----------
    at
        After how many labels each point [P] ends.
    rows
        How many labels each is the mean of.
    lines
        Metric -> who -> its mean [P]; None where it is not known.
    weights
        Expert -> its weight at the end of each point [P].
    """

    at: list[int] = Field(default_factory=list)
    rows: list[int] = Field(default_factory=list)
    lines: dict[str, dict[str, list[float | None]]] = Field(default_factory=dict)
    weights: dict[str, list[float | None]] = Field(default_factory=dict)


class Mark(Plain):
    """A change in the stream, and how long it was felt.

    Parameters
    ----------
    at
        After how many labels it came, or was confirmed.
    kind
        Whether it was ``given`` by whoever made the stream or ``confirmed`` by the detector.
    before
        The mean error before it: wrong classes, or the absolute error of numbers.
    limit
        The mean error that counts as recovered: ``before`` and two standard errors.
    recovered
        So many labels later a stretch of labels began whose mean error is within the limit; None
        where there was none before the next change or the end.
    cost
        The sum of errors above ``before`` until then.
    """

    at: int
    kind: Change = "confirmed"
    before: float | None = None
    limit: float | None = None
    recovered: int | None = None
    cost: float | None = None


class Standing(Plain):
    """How good the answers of a stream were, each judged before its label was learned from.

    Parameters
    ----------
    numbers
        Whether numbers were predicted, not classes.
    events, labels
        How many were predicted, and for how many of them a label came.
    silent
        For how many labels there was no answer.
    delays
        How late the labels came; None before the first.
    metrics
        Over all labels.
    fading
        With weights that fade: the latest labels count most.
    recent
        Over the latest labels.
    baselines
        Who -> its metrics over all labels.
    experts
        Who -> its metrics over all labels.
    course
        How it went.
    marks
        Changes.
    """

    numbers: bool
    events: int
    labels: int
    silent: int = 0
    delays: Delays | None = None
    metrics: dict[str, float]
    fading: dict[str, float] = Field(default_factory=dict)
    recent: dict[str, float] = Field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = Field(default_factory=dict)
    experts: dict[str, dict[str, float]] = Field(default_factory=dict)
    course: Course = Field(default_factory=Course)
    marks: list[Mark] = Field(default_factory=list)

    @property
    def seen(self) -> float:
        """The share of events whose label came."""
        return self.labels / self.events if self.events else 0.0


class Opponent(Plain):
    """Another library's learner on the same stream, with the same delay.

    Parameters
    ----------
    standing
        How good it is.
    events_per_second
        How fast it predicts and learns, without reading.
    """

    standing: Standing
    events_per_second: float


class Flow(Plain):
    """A prequential evaluation: every row is predicted first and learned from later.

    Parameters
    ----------
    target
        What was predicted.
    delay
        So many rows later the label of a row came.
    standing
        How good the learner is.
    events_per_second
        How fast it predicts and learns, without reading.
    seconds
        How long that took altogether.
    rivals
        Who -> how it does on the same stream.
    classes
        What was told apart; empty for numbers.
    frozen
        Which of the experts never learns; empty where there is none.
    warnings
        What a reader must know.
    """

    target: str
    delay: int = Field(ge=0)
    standing: Standing
    events_per_second: float
    seconds: float
    rivals: dict[str, Opponent] = Field(default_factory=dict)
    classes: list[str] = Field(default_factory=list)
    frozen: str = ""
    warnings: list[str] = Field(default_factory=list)
