"""Runs of a model over several questions: asked together, told apart, the one to blame found."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from thalweg.models.compiled import Inputs, Run
from thalweg.models.decoder import Answers


class Runs(Protocol):
    """What is asked of a model."""

    def run(self, inputs: Inputs, /) -> Run:
        """Answer for rows [N] in numbers."""
        ...


def answers(model: Runs, questions: Sequence[Inputs]) -> list[Run | Exception]:
    """Ask a model several questions at once; if that fails, find out which of them is to blame.

    A batch that fails is halved until the questions that fail stand alone: k of them among n cost
    about k log2(n) runs more, and the others get their answers.

    Returns
    -------
    list[Run | Exception]
        Of each question, in order.
    """
    try:
        if len(questions) == 1:
            rows = _rows(questions[0])
            run = model.run(questions[0])
            if len(run.dropped) != rows:
                msg = f"the model answered {len(run.dropped)} of {rows} rows"
                raise ValueError(msg)
            return [run]
        run = model.run(
            {name: np.concatenate([q[name] for q in questions]) for name in questions[0]}
        )
        ends = [0, *np.cumsum([_rows(question) for question in questions]).tolist()]
        if len(run.dropped) != ends[-1]:
            msg = f"the model answered {len(run.dropped)} of {ends[-1]} rows"
            raise ValueError(msg)
        return [cut(run, start, stop) for start, stop in pairwise(ends)]
    except Exception as error:
        if len(questions) == 1:
            return [error]
    half = len(questions) // 2
    return answers(model, questions[:half]) + answers(model, questions[half:])


def _rows(inputs: Inputs) -> int:
    for array in inputs.values():
        return len(array)
    return 0


def cut(run: Run, start: int, stop: int) -> Run:
    """Take some rows' answers, as a view."""
    said = run.answers
    return Run(
        Answers(
            said.prediction[start:stop],
            None if said.low is None else said.low[start:stop],
            None if said.high is None else said.high[start:stop],
            None if said.surprise is None else said.surprise[start:stop],
        ),
        run.dropped[start:stop],
    )


def joined(runs: Sequence[Run]) -> Run:
    """Put the answers of consecutive rows together."""
    said = [run.answers for run in runs]
    low = [some.low for some in said if some.low is not None]
    high = [some.high for some in said if some.high is not None]
    surprise = [some.surprise for some in said if some.surprise is not None]
    return Run(
        Answers(
            np.concatenate([some.prediction for some in said]),
            np.concatenate(low) if low else None,
            np.concatenate(high) if high else None,
            np.concatenate(surprise) if surprise else None,
        ),
        np.concatenate([run.dropped for run in runs]),
    )
