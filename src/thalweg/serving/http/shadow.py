"""A candidate that answers in the shadow: after the fact, compared, and never in anyone's way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.models.compiled import CompiledModel, Inputs, Run
from thalweg.models.decoder import Answers
from thalweg.serving.http.batcher import MOST
from thalweg.serving.http.log import Log
from thalweg.serving.http.metrics import Metrics
from thalweg.serving.http.question import Question
from thalweg.serving.http.runs import joined

__all__ = ["Comparison", "Shadow", "compare"]

WAITING: Final = 32
"""Requests that wait for the shadow at most."""

BYTES: Final = 64 * 2**20
"""Bytes of what was asked that wait for it at most: bodies stay in memory meanwhile."""


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """How a candidate's answers differ from those that were given.

    Parameters
    ----------
    rows
        Rows that both answer.
    difference
        The sum over these rows of: the absolute difference (numbers, scores); half the sum over
        the classes of the absolute differences of their probabilities, i.e. the total variation,
        which for two classes is the difference of either; of several labels, the mean.
    disagreements
        Rows whose ``prediction`` is another one. For numbers: is outside of the interval that was
        given; where none was, none are counted.
    """

    rows: int
    difference: float
    disagreements: int


@final
class Shadow:
    """Lets a candidate answer what was answered already, one request at a time.

    It has one thread; while that is busy a few requests wait, and what comes beyond is dropped and
    counted. It belongs to the event loop that calls it.

    Parameters
    ----------
    metrics
        Told of every comparison.
    log
        Told of the first failure of each candidate; all are counted.
    """

    def __init__(self, metrics: Metrics, log: Log) -> None:
        self._metrics = metrics
        self._log = log
        self._failing: tuple[str, str] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._bytes = 0

    @property
    def waiting(self) -> int:
        """How many requests wait or are being answered."""
        return self._waiting

    def ask(
        self,
        names: tuple[str, str],
        models: tuple[CompiledModel, CompiledModel],
        given: tuple[Question, Run],
        read: Callable[[CompiledModel], Question],
        wanted: Callable[[], bool],
        held: int = 0,
    ) -> bool:
        """Have a request answered once more, some time.

        Parameters
        ----------
        names
            The deployment's name and the candidate's version.
        models
            Who answered, and the candidate.
        given
            What was asked and answered.
        read
            Reads the request as a candidate needs it: its columns and levels may be others.
        wanted
            Asked again when it is the request's turn, in another thread.
        held
            Bytes that ``read`` keeps alive.

        Returns
        -------
        bool
            False where the shadow is too busy.
        """
        size = max(held, _size(given[0]))
        if self._waiting >= WAITING or (self._waiting and self._bytes + size > BYTES):
            self._metrics.shadow_failed(*names, "dropped")
            return False
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "thalweg-shadow")
        self._waiting += 1
        self._bytes += size
        loop = asyncio.get_running_loop()
        answering = loop.run_in_executor(self._thread, _answer, models, given, read, wanted)
        answering.add_done_callback(lambda done: self._told(names, size, done))
        return True

    def _told(
        self, names: tuple[str, str], size: int, done: asyncio.Future[Comparison | None]
    ) -> None:
        self._waiting -= 1
        self._bytes -= size
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._metrics.shadow_failed(*names, "error")
            if names != self._failing:
                self._failing = names
                self._log.fault("shadow", error, model=names[0], version=names[1])
            return
        found = done.result()
        if found is not None:
            self._metrics.shadow(*names, found.rows, found.difference, found.disagreements)

    def close(self) -> None:
        """Drop what waits and let the thread end."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None


def _answer(
    models: tuple[CompiledModel, CompiledModel],
    given: tuple[Question, Run],
    read: Callable[[CompiledModel], Question],
    wanted: Callable[[], bool],
) -> Comparison | None:
    """Ask the candidate and compare; None where nobody wants to know any more."""
    if not wanted():
        return None
    served, candidate = models
    question = read(candidate)
    if not question.feed.rows:
        return None
    run = joined([candidate.run(piece) for piece in _pieces(question)])
    return compare((served, *given), (candidate, question, run))


def _pieces(question: Question) -> Iterator[Inputs]:
    """Cut what is asked into runs as short as a batcher's."""
    for start in range(0, question.feed.rows, MOST):
        yield {name: cells[start : start + MOST] for name, cells in question.feed.inputs.items()}


def _size(question: Question) -> int:
    """Say about how many bytes a request holds: its body has several for each of the inputs'."""
    return 8 * sum(cells.nbytes for cells in question.feed.inputs.values())


def compare(
    given: tuple[CompiledModel, Question, Run], other: tuple[CompiledModel, Question, Run]
) -> Comparison:
    """Compare two models' answers to one request, over the rows that both answer.

    Parameters
    ----------
    given, other
        The model, what it was asked and what it said: of whom answered, and of the candidate.
    """
    places, here, there = np.intersect1d(
        _answered(*given[1:]), _answered(*other[1:]), assume_unique=True, return_indices=True
    )
    if not len(places):
        return Comparison(0, 0.0, 0)
    # intersect1d counts among the answered rows; `_answered` says which those are.
    one = _taken(given[2], here)
    two = _taken(other[2], there)
    models = given[0], other[0]
    differences = _differences(models, one, two)
    finite = differences[np.isfinite(differences)]
    return Comparison(len(places), float(finite.sum()), _disagreements(models, one, two))


def _answered(question: Question, run: Run) -> NDArray[np.int64]:
    """Give the places, among the rows that were sent, of those that have an answer."""
    places = np.arange(question.feed.rows) if question.places is None else question.places
    return np.asarray(places[_kept(run)], dtype=np.int64)


def _kept(run: Run) -> NDArray[np.bool_]:
    return ~np.asarray(run.dropped, dtype=np.bool_)


def _taken(run: Run, indices: NDArray[np.int64]) -> Answers:
    """Take some of the answers that are there."""
    rows = np.flatnonzero(_kept(run))[indices]
    said = run.answers
    low, high, surprise = (
        None if part is None else part[rows] for part in (said.low, said.high, said.surprise)
    )
    return Answers(said.prediction[rows], low, high, surprise)


def _differences(
    models: tuple[CompiledModel, CompiledModel], one: Answers, two: Answers
) -> NDArray[np.float64]:
    """Give how far apart two answers are, row by row [N]."""
    if one.prediction.ndim == 1:
        return np.abs(one.prediction - two.prediction)
    names = [list(model.decoder.classes) for model in models]
    union = list(dict.fromkeys(names[0] + names[1]))
    spread = np.zeros((2, len(one.prediction), len(union)))
    for number, answers in enumerate((one, two)):
        columns = [union.index(name) for name in names[number]]
        spread[number][:, columns] = answers.prediction
    apart: NDArray[np.float64] = np.abs(spread[0] - spread[1]).sum(axis=1)
    return apart / (len(union) if models[0].decoder.task == "multilabel" else 2)


def _disagreements(models: tuple[CompiledModel, CompiledModel], one: Answers, two: Answers) -> int:
    """Count the rows of which the candidate says something else."""
    if models[0].decoder.task == "regression":
        if one.low is None or one.high is None:
            return 0
        outside = (two.prediction < one.low) | (two.prediction > one.high)
        return int(np.count_nonzero(outside))
    said: list[Any] = [
        model.decoder.columns(answers)["prediction"]
        for model, answers in zip(models, (one, two), strict=True)
    ]
    if pa.types.is_nested(said[0].type):
        return sum(a != b for a, b in zip(*(each.to_pylist() for each in said), strict=True))
    texts = [each.cast(pa.large_string()) for each in said]
    return int(pc.sum(pc.not_equal(*texts).cast(pa.int64())).as_py() or 0)
