from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from thalweg.models.compiled import CompiledModel, Feed, Run
from thalweg.models.decoder import Answers
from thalweg.serving.http.log import Log
from thalweg.serving.http.metrics import Metrics
from thalweg.serving.http.question import Question
from thalweg.serving.http.shadow import BYTES, WAITING, Comparison, Shadow, compare


class Fake:
    """A model whose answers are what it is asked."""

    def __init__(self, task: str = "binary", classes: tuple[str, ...] = ("no", "yes")) -> None:
        self.task, self.classes = task, list(classes)
        self.decoder = cast("Any", self)

    def columns(self, answers: Answers) -> dict[str, pa.Array]:
        if self.task == "multilabel":
            said = [[c for c, p in zip(self.classes, row, strict=True) if p > 0.5]
                    for row in answers.prediction]  # fmt: skip
            return {"prediction": pa.array(said)}
        best = answers.prediction.argmax(axis=1)
        return {"prediction": pa.array([self.classes[one] for one in best])}

    def run(self, inputs: Any) -> Run:
        return run_of(inputs["x"])


def run_of(prediction: Any, dropped: Any = None, **bounds: Any) -> Run:
    said = np.asarray(prediction, dtype=np.float64)
    none = np.zeros(len(said), dtype=np.bool_)
    return Run(Answers(said, **bounds), none if dropped is None else np.array(dropped))


def asked(prediction: Any, rows: int | None = None, places: Any = None) -> Question:
    said = np.asarray(prediction, dtype=np.float64)
    feed = Feed({"x": said}, len(said), np.zeros(len(said), dtype=np.bool_))
    return Question(rows or len(said), feed, None if places is None else np.array(places))


def compared(one: Any, two: Any, *models: Fake) -> Comparison:
    given, other = models or (Fake(), Fake())
    return compare(
        (cast("CompiledModel", given), asked(one), run_of(one)),
        (cast("CompiledModel", other), asked(two), run_of(two)),
    )


def test_classes() -> None:
    found = compared([[0.9, 0.1], [0.4, 0.6]], [[0.8, 0.2], [0.6, 0.4]])
    assert (found.rows, found.disagreements) == (2, 1)
    assert found.difference == pytest.approx(0.3)


def test_classes_in_another_order_or_new() -> None:
    wider = Fake("multiclass", ("yes", "maybe", "no"))
    found = compared([[0.9, 0.1]], [[0.1, 0.3, 0.6]], Fake(), wider)
    assert found.difference == pytest.approx(0.3)
    assert found.disagreements == 0


def test_labels() -> None:
    models = Fake("multilabel", ("a", "b")), Fake("multilabel", ("b", "a"))
    found = compared([[0.9, 0.1], [0.9, 0.9]], [[0.1, 0.9], [0.1, 0.9]], *models)
    assert found.difference == pytest.approx((0 + 0.8) / 2)
    assert found.disagreements == 1


def test_numbers_disagree_outside_of_the_interval() -> None:
    model = cast("CompiledModel", Fake("regression"))
    low, high = np.array([0.0, 0.0, 0.0]), np.array([2.0, 2.0, 2.0])
    one, two = [1.0, 1.0, 1.0], [2.0, 3.0, float("nan")]
    given = model, asked(one), run_of(one, low=low, high=high)
    other = model, asked(two), run_of(two)
    assert compare(given, other) == Comparison(3, 3.0, 1)
    assert compare((model, asked(one), run_of(one)), other).disagreements == 0


def test_only_rows_that_both_answer_are_compared() -> None:
    model = cast("CompiledModel", Fake("regression"))
    # Of rows 0 to 4 one could read 1, 3 and 4 and sets 4 aside, the other could read all but 0
    # and sets 1 aside: they meet in row 3 alone.
    given = model, asked([1.0, 3.0, 4.0], 5, [1, 3, 4]), run_of([1.0, 3.0, 4.0], [0, 0, 1])
    other = (
        model,
        asked([1.0, 2.0, 3.5, 4.0], 5, [1, 2, 3, 4]),
        run_of([1.0, 2.0, 3.5, 4.0], [1, 0, 0, 0]),
    )
    assert compare(given, other) == Comparison(1, 0.5, 0)
    nobody = model, asked([], 5, np.zeros(0, dtype=np.int64)), run_of([])
    assert compare(given, nobody) == Comparison(0, 0.0, 0)


class Asking:
    """A shadow, and what it is asked."""

    def __init__(self) -> None:
        self.metrics, self.lines = Metrics(), io.StringIO()
        self.metrics.loaded("adult", "c1", "candidate")
        self.shadow = Shadow(self.metrics, Log(self.lines))
        self.threads: set[str] = set()
        self.wanted = True

    def ask(self, read: Callable[[Any], Question] | None = None, bytes_asked: int = 0) -> bool:
        def plain(model: Any) -> Question:
            self.threads.add(threading.current_thread().name)
            return asked([[0.2, 0.8]])

        one = [[0.9, 0.1]]
        model = cast("CompiledModel", Fake())
        cells = {"x": np.array(one), "big": np.zeros(bytes_asked, dtype=np.uint8)}
        question = Question(1, Feed(cells, 1, np.zeros(1, dtype=np.bool_)))
        return self.shadow.ask(
            ("adult", "c1"), (model, model), (question, run_of(one)), read or plain,
            lambda: self.wanted,
        )  # fmt: skip

    async def done(self) -> None:
        end = time.monotonic() + 10
        while self.shadow.waiting:
            assert time.monotonic() < end
            await asyncio.sleep(0.001)

    def figure(self, name: str, more: str = "") -> float:
        page = self.metrics.expose()[0].decode()
        head = f'thalweg_shadow_{name}_total{{model="adult",version="c1"{more}}} '
        found = [line for line in page.splitlines() if line.startswith(head)]
        return float(found[0].removeprefix(head)) if found else 0.0


def test_answers_are_compared_in_another_thread() -> None:
    async def run() -> None:
        asking = Asking()
        for _ in range(3):
            assert asking.ask()
        await asking.done()
        assert asking.figure("rows") == 3
        assert asking.figure("difference") == pytest.approx(2.1)
        assert asking.figure("disagreements") == 3
        assert asking.threads == {"thalweg-shadow_0"}
        asking.shadow.close()

    asyncio.run(run())


def test_what_fails_is_counted_and_hurts_nobody() -> None:
    async def run() -> None:
        asking = Asking()

        def broken(model: Any) -> Question:
            raise RuntimeError

        assert asking.ask(broken)
        assert asking.ask(broken)
        assert asking.ask()
        await asking.done()
        assert asking.figure("failures", ',why="error"') == 2
        assert asking.lines.getvalue().count("RuntimeError") == 1
        assert asking.figure("rows") == 1
        asking.shadow.close()

    asyncio.run(run())


def test_who_is_busy_drops_what_comes() -> None:
    async def run() -> None:
        asking = Asking()
        held = threading.Event()

        def slow(model: Any) -> Question:
            held.wait(10)
            return asked([[0.2, 0.8]])

        assert all(asking.ask(slow) for _ in range(WAITING))
        assert not asking.ask()
        assert asking.figure("failures", ',why="dropped"') == 1
        held.set()
        await asking.done()
        # What is large goes alone, not beside others.
        assert asking.ask(bytes_asked=BYTES // 8)
        assert not asking.ask()
        await asking.done()
        assert asking.ask()
        await asking.done()
        asking.shadow.close()

    asyncio.run(run())


def test_many_rows_are_run_in_pieces() -> None:
    async def run() -> None:
        asking = Asking()
        lengths = []

        class Counting(Fake):
            def run(self, inputs: Any) -> Run:
                lengths.append(len(inputs["x"]))
                return super().run(inputs)

        given = np.tile([0.9, 0.1], (10_000, 1))
        given[7_000] = [0.0, 1.0]
        models = cast("CompiledModel", Fake()), cast("CompiledModel", Counting())
        other = np.tile([0.9, 0.1], (10_000, 1))
        asking.shadow.ask(
            ("adult", "c1"), models, (asked(given), run_of(given)), lambda _: asked(other),
            lambda: True,
        )  # fmt: skip
        await asking.done()
        assert lengths == [4096, 4096, 1808]
        assert (asking.figure("rows"), asking.figure("disagreements")) == (10_000, 1)
        assert asking.figure("difference") == pytest.approx(0.9)
        asking.shadow.close()

    asyncio.run(run())


def test_a_candidate_that_has_gone_is_not_asked() -> None:
    async def run() -> None:
        asking = Asking()
        asking.wanted = False
        assert asking.ask()
        await asking.done()
        assert asking.threads == set()
        assert asking.figure("rows") == 0
        asking.shadow.close()

    asyncio.run(run())
