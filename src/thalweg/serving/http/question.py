"""What a request asks of a model and what it gets back, whatever the format of either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.lab.contributions import Contributions
from thalweg.models.compiled import Feed, Run
from thalweg.models.decoder import Decoder


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
    unseen
        Columns -> how many of their cells hold what training never, or hardly ever, showed.
    """

    rows: int
    feed: Feed
    places: NDArray[np.int64] | None = None
    errors: Mapping[int, str] = field(default_factory=dict)
    warnings: Mapping[int, Sequence[str]] = field(default_factory=dict)
    unseen: Mapping[str, int] = field(default_factory=dict)


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
    decoder, run
        What the model says [M], and how it is put into the user's own terms.
    errors
        `Question.errors`, and those of rows that were set aside or refused.
    contributions
        Where they were asked for.
    """

    model: str
    version: str
    question: Question
    decoder: Decoder
    run: Run
    errors: Mapping[int, str] = field(default_factory=dict)
    contributions: Contributions | None = None

    @property
    def columns(self) -> pa.RecordBatch:
        """The answers [M], as `thalweg.models.model.Model.predict` gives them.

        Where a cleaning option sets a row aside it is null there, and `errors` says why.
        """
        columns = self.decoder.columns(self.run.answers)
        if self.run.dropped.any():
            gone = pa.array(self.run.dropped)
            columns = {
                name: pc.if_else(gone, pa.scalar(None, array.type), array)
                for name, array in columns.items()
            }
        return pa.RecordBatch.from_arrays([*columns.values()], names=[*columns])

    def spread(self, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
        """Put columns [M] to the rows that were sent [N]: null where there is no answer."""
        asked = self.question
        if asked.places is None and not self.errors:
            return columns
        place = np.full(asked.rows, -1)
        sent = np.arange(asked.rows) if asked.places is None else asked.places
        place[sent] = np.arange(len(sent))
        place[list(self.errors)] = -1
        rows = pa.array(place, mask=place < 0)
        return {name: column.take(rows) for name, column in columns.items()}

    def rows(self) -> list[dict[str, Any]]:
        """Give the same as plain rows; those that are set aside say anything."""
        return self.decoder.rows(self.run.answers)
