"""What a request asks of a model and what it gets back, whatever the format of either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.lab.contributions import Contributions
from thalweg.models.compiled import Feed


@final
@dataclass(frozen=True, slots=True)
class Question:
    """The rows of one request, as far as a model can read them.

    Parameters
    ----------
    rows
        How many rows were sent, N.
    feed
        The rows [M] that can be answered.
    places
        int64 [M]: the number of each of them among the rows that were sent, from 0; None where
        these are all (M = N).
    errors
        The other rows' numbers -> why they have no answer, in words.
    warnings
        Numbers of rows that have an answer -> what was amiss about them, in words.
    """

    rows: int
    feed: Feed
    places: NDArray[np.int64] | None = None
    errors: Mapping[int, str] = field(default_factory=dict)
    warnings: Mapping[int, Sequence[str]] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of a question.

    Parameters
    ----------
    model, version
        Who answers: the name it is served by, and its identity.
    question
        What was asked.
    columns
        The answers [M], as `thalweg.models.model.Model.predict` gives them: ``prediction`` first.
        Where a cleaning option sets a row aside it is null there, and `errors` says why.
    errors
        `Question.errors`, and those of rows that were set aside or refused.
    contributions
        Where they were asked for.
    """

    model: str
    version: str
    question: Question
    columns: pa.RecordBatch
    errors: Mapping[int, str] = field(default_factory=dict)
    contributions: Contributions | None = None
