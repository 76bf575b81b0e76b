"""Questions to models go together: whatever waits is asked at once, as soon as a model is free."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, final
from weakref import WeakKeyDictionary

from thalweg.core.errors import ThalwegError
from thalweg.models.compiled import Inputs, Run
from thalweg.serving.http.cost import Cost
from thalweg.serving.http.runs import Runs, answers, joined

MOST: Final = 4096
"""The rows of one run."""

WAITING: Final = 262_144
"""The rows that may wait by default."""

_PIECE: Final = 0.02  # seconds: a run that is forecast to take longer is asked for in pieces

_TRY: Final = 1.0  # seconds between two tries of what is forecast to take too long
_INLINE: Final = 0.002  # seconds: a shorter run is over before a thread would have been woken twice


@final
class Busy(ThalwegError):  # noqa: N818 - the name is what the caller is told
    """A question that cannot be answered in time: too much waits already.

    Attributes
    ----------
    retry_after
        The seconds after which it is worth another attempt.
    """

    def __init__(self, given: str, expected: str, retry_after: float, mend: str = "") -> None:
        after = f"Ask again in {max(1, round(retry_after))} s."
        super().__init__(given, expected, mend or after)
        self.retry_after = retry_after


@final
class ClosingError(ThalwegError):
    """A question to a server that is going down."""


@final
class _Question:
    """What waits: ``done`` of its rows have been answered by `parts`."""

    __slots__ = ("cost", "done", "future", "inputs", "large", "model", "parts", "rows")

    def __init__(
        self, model: Runs, cost: Cost, inputs: Inputs, rows: int, future: asyncio.Future[Run]
    ) -> None:
        self.model = model
        self.cost = cost
        self.inputs = inputs
        self.rows = rows
        self.future = future
        self.large = False  # whether it is asked in pieces
        self.done = 0
        self.parts: list[Run] = []

    def piece(self, most: int) -> Inputs:
        """Take the next rows of a question that is too large for one run."""
        return {name: array[self.done : self.done + most] for name, array in self.inputs.items()}


@final
class Batcher:
    """Asks models in one place, so that what waits for the same model goes together.

    It never lets a question wait for others to come: an idle model is asked at once. What comes
    while a model runs gathers, and goes next. A run that is forecast to be short is done in the
    event loop itself, a long one in the one worker thread. Two queues are served in turns, each
    first in, first out: questions of one run, of at most `MOST` rows or some 20 ms, and larger
    ones, of which a turn answers a piece; so a huge question delays others by one piece, and none
    waits for ever.

    Parameters
    ----------
    latency
        The seconds within which a question should be answered: one that cannot make it behind
        what waits already is refused. None refuses only beyond ``waiting``. A batcher that is idle
        refuses nothing: later would be no better.
    waiting
        The rows that may wait at most.
    most
        The rows of one run at most.
    inline
        The seconds of a run that may be done in the event loop.
    clock
        Gives seconds.
    watch
        Is told of each run: the model, how many questions, how many rows.
    """

    def __init__(
        self,
        latency: float | None = None,
        *,
        waiting: int = WAITING,
        most: int = MOST,
        inline: float = _INLINE,
        clock: Callable[[], float] = time.perf_counter,
        watch: Callable[[Runs, int, int], None] | None = None,
    ) -> None:
        self._latency = latency
        self._bound = waiting
        self._most = most
        self._inline = inline
        self._clock = clock
        self._watch = watch
        self._small: deque[_Question] = deque()
        self._large: deque[_Question] = deque()
        self._large_next = False
        self._ahead: dict[Runs, int] = {}  # rows of the small questions of each model
        self._costs: WeakKeyDictionary[Runs, Cost] = WeakKeyDictionary()
        self._worker: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._until: float | None = None  # when the run under way is forecast to end
        self._scheduled = False
        self._tried = -math.inf  # when an idle worker last took what seemed too much
        self._closing = False
        self._drained: asyncio.Future[None] | None = None
        self.waiting = 0  # rows

    def ask(self, model: Runs, inputs: Inputs, rows: int) -> asyncio.Future[Run]:
        """Ask a model about rows [N]; in an event loop.

        Cancel the answer if nobody wants it any more: then the question is not run.

        Raises
        ------
        Busy
            At once, if the answer could not be there in time.
        ClosingError
            Once it has been closed.
        """
        for name, array in inputs.items():
            if len(array) != rows:  # another question's rows would be answered in its stead
                msg = f"input {name!r} has {len(array)} rows, not {rows}"
                raise ValueError(msg)
        if self._closing:
            raise ClosingError("the server is going down", "one that stays", "Ask another one.")
        self._admit(model, rows)
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Run] = loop.create_future()
        question = _Question(model, self._cost(model), inputs, rows, future)
        question.large = rows > question.cost.most(_PIECE, self._most)
        if not question.large:
            self._small.append(question)
            self._ahead[model] = self._ahead.get(model, 0) + rows
        else:
            self._large.append(question)
        self.waiting += rows
        if not self._scheduled and self._until is None:
            # Not now but once the loop has read what else is there: that goes along.
            self._scheduled = True
            loop.call_soon(self._flush)
        return future

    def _admit(self, model: Runs, rows: int) -> None:
        """Refuse a question that would not be answered in time."""
        if self.waiting + rows > self._bound:
            raise self._full(self._forecast(rows, model))
        if self._latency is None:
            return
        forecast = self._forecast(rows, model)
        if forecast > self._latency:
            idle = self._until is None and not (self._scheduled or self._small or self._large)
            if idle and self._clock() - self._tried > _TRY:
                # What is never let in is never measured: a forecast may be of a worse time.
                self._tried = self._clock()
                return
            raise Busy(
                f"an answer would take {forecast:.3g} s, as {self.waiting} rows wait"
                if not idle
                else f"an answer to {rows} rows would take {forecast:.3g} s",
                f"at most {self._latency:g} s",
                forecast - self._latency,
                "Ask about fewer rows at once." if idle else "",
            )

    def _full(self, forecast: float) -> Busy:
        return Busy(f"{self.waiting} rows wait", f"at most {self._bound} with yours", forecast)

    def _forecast(self, rows: int, model: Runs) -> float:
        """Give the seconds until rows that are asked for now would be answered."""
        seconds = 0.0 if self._until is None else max(0.0, self._until - self._clock())
        seconds += self._cost(model).pieces(rows, self._most)
        ahead = self._ahead
        seconds += sum(self._cost(other).pieces(n, self._most) for other, n in ahead.items())
        if rows <= self._most:
            # One piece of a large question comes before each batch of small ones.
            turns = 1 + sum(ahead.values()) // self._most
            for question in self._large:
                pieces = -(-(question.rows - question.done) // self._most)
                piece = question.cost.pieces(min(question.rows, self._most), self._most)
                seconds += min(turns, pieces) * piece
                turns -= min(turns, pieces)
            return seconds
        for question in self._large:
            left = question.rows - question.done
            seconds += question.cost.pieces(left, self._most)
        return seconds

    def _cost(self, model: Runs) -> Cost:
        cost = self._costs.get(model)
        if cost is None:
            cost = self._costs[model] = Cost()
        return cost

    def _flush(self) -> None:
        """Run what is next, and see to it that the rest follows."""
        self._scheduled = False
        if self._until is not None:
            return
        batch, inputs, rows = self._take()
        if not batch:
            if self._drained is not None and not self._drained.done():
                self._drained.set_result(None)
            return
        forecast = batch[0].cost.forecast(rows)
        if forecast is not None and forecast < self._inline:
            self._finish(batch, rows, *self._timed(batch, inputs))
            return
        loop = self._loop
        if loop is None:
            raise AssertionError
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="thalweg-run")
        self._until = self._clock() + (forecast or 0.0)
        running = loop.run_in_executor(self._worker, self._timed, batch, inputs)
        running.add_done_callback(lambda done: self._finish(batch, rows, *done.result()))

    def _finish(
        self, batch: Sequence[_Question], rows: int, seconds: float, said: list[Run | Exception]
    ) -> None:
        """Hand over what a run said."""
        self._until = None
        batch[0].cost.took(rows, seconds)
        if self._watch is not None:
            self._watch(batch[0].model, len(batch), rows)
        for question, run in zip(batch, said, strict=True):
            self._give(question, run)
        if (self._small or self._large or self._drained is not None) and not self._scheduled:
            if self._loop is None:
                raise AssertionError
            # The loop gets a turn between two runs, to send these answers and read more.
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _give(self, question: _Question, said: Run | Exception) -> None:
        """Answer a question, or keep a piece of the answer."""
        future = question.future
        large = question.large
        if future.done():  # cancelled meanwhile
            if large:
                self._drop(question)
        elif isinstance(said, Exception):
            future.set_exception(said)
            if large:
                self._drop(question)
        elif not large:
            future.set_result(said)
        else:
            question.parts.append(said)
            if question.done >= question.rows:
                self._large.popleft()
                future.set_result(joined(question.parts))

    def _drop(self, question: _Question) -> None:
        """Take a large question out of its queue before it is through."""
        self._large.remove(question)
        self.waiting -= question.rows - question.done

    def _take(self) -> tuple[list[_Question], Inputs | None, int]:
        """Take the questions of the next run, what it reads unless they are to be joined, rows."""
        while self._small and self._small[0].future.done():
            self._next()
        while self._large and self._large[0].future.done():
            question = self._large.popleft()
            self.waiting -= question.rows - question.done
        if self._large and (self._large_next or not self._small):
            self._large_next = False
            question = self._large[0]
            most = question.cost.most(_PIECE, self._most)
            inputs = question.piece(most)
            rows = min(most, question.rows - question.done)
            question.done += rows
            self.waiting -= rows
            return [question], inputs, rows
        self._large_next = True
        batch: list[_Question] = []
        rows = 0
        small = self._small
        most = small[0].cost.most(_PIECE, self._most) if small else 0
        while small:
            question = small[0]
            if batch and (question.model is not batch[0].model or rows + question.rows > most):
                break
            if not self._next().future.done():
                batch.append(question)
                rows += question.rows
        return batch, batch[0].inputs if len(batch) == 1 else None, rows

    def _next(self) -> _Question:
        """Take the first of the small questions."""
        question = self._small.popleft()
        self.waiting -= question.rows
        left = self._ahead[question.model] - question.rows
        if self._small:
            self._ahead[question.model] = left
        else:
            self._ahead.clear()  # a model that was replaced is not held on to
        return question

    def _timed(
        self, batch: Sequence[_Question], inputs: Inputs | None
    ) -> tuple[float, list[Run | Exception]]:
        """Answer for questions of one model; in the event loop or in the worker."""
        start = self._clock()
        said = answers(batch[0].model, [q.inputs for q in batch] if inputs is None else [inputs])
        return self._clock() - start, said

    async def close(self) -> None:
        """Take no more questions, and wait until those that wait are answered."""
        self._closing = True
        if self._until is not None or self._scheduled or self._small or self._large:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        if self._worker is not None:
            self._worker.shutdown()
