from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.models.compiled import Inputs, Run
from thalweg.models.decoder import Answers
from thalweg.serving.http.batcher import Batcher, Busy, ClosingError
from thalweg.serving.http.cost import Cost
from thalweg.serving.http.runs import answers


class Echo:
    """Answers a row's own number; on a clock that only its runs move."""

    def __init__(self, clock: list[float] | None = None) -> None:
        self.clock = clock if clock is not None else [0.0]
        self.fixed, self.each = 0.001, 0.0
        self.runs: list[list[int]] = []
        self.bad: set[int] = set()
        self.gate: threading.Event | None = None
        self.threads: set[str] = set()

    def run(self, inputs: Inputs) -> Run:
        rows = inputs["number"]
        self.runs.append(rows.tolist())
        self.threads.add(threading.current_thread().name)
        if self.gate is not None:
            assert self.gate.wait(10)
        self.clock[0] += self.fixed + self.each * len(rows)
        if self.bad.intersection(rows.tolist()):
            raise ValueError("a bad row")
        said = rows.astype(np.float64)
        return Run(Answers(said, said - 1, said + 1, np.stack([said, said], axis=1)), rows % 2 == 1)


def asked(*numbers: int) -> Inputs:
    return {"number": np.array(numbers, dtype=np.int64)}


def batched(echo: Echo, **more: Any) -> Batcher:
    return Batcher(clock=lambda: echo.clock[0], **more)


def live(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 20))


def known(echo: Echo, batcher: Batcher, rows: int = 4) -> Coroutine[Any, Any, Run]:
    """Let a batcher learn what a run costs, so that the next is done in the loop."""

    async def learn() -> Run:
        found = await batcher.ask(echo, asked(*range(rows)), rows)
        echo.runs.clear()
        echo.threads.clear()
        return found

    return learn()


def test_what_the_loop_has_read_goes_together_and_the_first_alone() -> None:
    async def work() -> None:
        echo = Echo()
        batcher = batched(echo)
        await known(echo, batcher)
        found = await asyncio.gather(*(batcher.ask(echo, asked(i, i + 10), 2) for i in range(3)))
        assert echo.runs == [[0, 10, 1, 11, 2, 12]]
        assert [run.answers.prediction.tolist() for run in found] == [[0, 10], [1, 11], [2, 12]]
        assert [run.dropped.tolist() for run in found] == [[False] * 2, [True] * 2, [False] * 2]
        alone = asked(7)
        await batcher.ask(echo, alone, 1)
        assert echo.threads == {"MainThread"}

    live(work)


def test_one_question_is_passed_on_without_a_copy() -> None:
    given = asked(3)
    seen: list[Any] = []

    class Looking(Echo):
        def run(self, inputs: Inputs) -> Run:
            seen.append(inputs)
            return super().run(inputs)

    async def work() -> None:
        echo = Looking()
        await batched(echo).ask(echo, given, 1)

    live(work)
    assert seen[0] is given


def test_a_long_run_is_done_in_the_worker_while_others_gather() -> None:
    async def work() -> None:
        echo = Echo()
        echo.gate = threading.Event()
        batcher = batched(echo)
        first = batcher.ask(echo, asked(0), 1)
        while not echo.runs:
            await asyncio.sleep(0.001)
        others = [batcher.ask(echo, asked(i), 1) for i in (1, 2, 3)]
        await asyncio.sleep(0.01)
        assert echo.runs == [[0]]
        assert batcher.waiting == 3
        echo.gate.set()
        await asyncio.gather(first, *others)
        assert echo.runs == [[0], [1, 2, 3]]
        assert "MainThread" not in [*echo.threads][:1] or len(echo.threads) == 2
        await batcher.close()

    live(work)


def test_only_one_model_goes_in_a_run_and_none_is_overtaken() -> None:
    async def work() -> None:
        clock = [0.0]
        one, two = Echo(clock), Echo(clock)
        batcher = batched(one)
        order: list[int] = []
        models = [one, one, two, one, two, two]
        asking = [batcher.ask(m, asked(i), 1) for i, m in enumerate(models)]
        for i, future in enumerate(asking):
            future.add_done_callback(lambda _, i=i: order.append(i))
        await asyncio.gather(*asking)
        assert one.runs == [[0, 1], [3]]
        assert two.runs == [[2], [4, 5]]
        assert order == [0, 1, 2, 3, 4, 5]
        await batcher.close()

    live(work)


def test_runs_have_at_most_so_many_rows() -> None:
    async def work() -> None:
        echo = Echo()
        batcher = batched(echo, most=4)
        await known(echo, batcher)
        await asyncio.gather(*(batcher.ask(echo, asked(i, i), 2) for i in range(5)))
        assert [len(run) for run in echo.runs] == [4, 4, 2]

    live(work)


def test_only_the_question_that_fails_gets_the_error() -> None:
    async def work() -> None:
        echo = Echo()
        batcher = batched(echo)
        await known(echo, batcher)
        echo.bad = {3, 6}
        asking = [batcher.ask(echo, asked(i), 1) for i in range(8)]
        found = await asyncio.gather(*asking, return_exceptions=True)
        failed = [i for i, one in enumerate(found) if isinstance(one, BaseException)]
        assert failed == [3, 6]
        assert all(isinstance(found[i], ValueError) for i in failed)
        assert [one.answers.prediction[0] for one in found if isinstance(one, Run)] == [
            0, 1, 2, 4, 5, 7,
        ]  # fmt: skip
        assert len(echo.runs) <= 1 + 2 * 2 * 3

    live(work)


def test_inputs_that_do_not_fit_together_fail_alone() -> None:
    echo = Echo()
    wide = {"number": np.zeros((1, 2), dtype=np.int64)}
    found = answers(echo, [asked(1), wide, asked(2)])
    assert isinstance(found[0], Run)
    assert isinstance(found[2], Run)
    assert found[2].answers.prediction.tolist() == [2]


def test_a_model_that_answers_too_few_rows_is_at_fault() -> None:
    class Short(Echo):
        def run(self, inputs: Inputs) -> Run:
            return super().run({"number": inputs["number"][:-1]})

    found = answers(Short(), [asked(1, 2), asked(3)])
    assert all(isinstance(one, ValueError) for one in found)


def test_inputs_of_another_number_of_rows_are_refused_at_once() -> None:
    async def work() -> None:
        echo = Echo()
        with pytest.raises(ValueError, match="2 rows, not 3"):
            batched(echo).ask(echo, asked(1, 2), 3)

    live(work)


def test_a_question_that_nobody_waits_for_is_not_run() -> None:
    async def work() -> None:
        echo = Echo()
        batcher = batched(echo, most=2)
        await known(echo, batcher)
        asking = [batcher.ask(echo, asked(i), 1) for i in range(4)]
        large = batcher.ask(echo, asked(7, 8, 9), 3)
        asking[0].cancel()
        asking[2].cancel()
        large.cancel()
        await asyncio.gather(asking[1], asking[3])
        assert sorted(n for run in echo.runs for n in run) == [1, 3]
        assert batcher.waiting == 0

    live(work)


def test_small_questions_come_between_the_pieces_of_a_large_one() -> None:
    async def work() -> None:
        echo = Echo()
        batcher = batched(echo, most=4)
        await known(echo, batcher, 8)
        large = batcher.ask(echo, asked(*range(100, 114)), 14)
        small = [batcher.ask(echo, asked(i, i), 2) for i in range(4)]
        done: list[str] = []
        large.add_done_callback(lambda _: done.append("large"))
        small[3].add_done_callback(lambda _: done.append("small"))
        found = await large
        await asyncio.gather(*small)
        assert done == ["small", "large"]
        assert found.answers.prediction.tolist() == list(range(100, 114))
        assert found.answers.surprise is not None
        assert found.answers.surprise.shape == (14, 2)
        firsts = [run[0] >= 100 for run in echo.runs]
        assert firsts in ([True, False] * 2 + [True] * 2, [False, True] * 2 + [True] * 2)

    live(work)


def test_pieces_are_no_longer_than_others_may_wait() -> None:
    async def work() -> None:
        echo = Echo()
        echo.fixed, echo.each = 0.0, 1e-4
        batcher = batched(echo)
        await known(echo, batcher, 100)
        await known(echo, batcher, 1000)
        await batcher.ask(echo, asked(*range(1000)), 1000)
        assert 190 <= max(len(run) for run in echo.runs) <= 200
        await batcher.close()

    live(work)


def test_a_large_question_that_fails_or_is_cancelled_leaves_the_queue() -> None:
    async def work() -> None:
        echo = Echo()
        batcher = batched(echo, most=4)
        await known(echo, batcher, 8)
        echo.bad = {105}
        first, second = (batcher.ask(echo, asked(*range(n, n + 10)), 10) for n in (100, 200))
        third = batcher.ask(echo, asked(*range(300, 310)), 10)
        second.cancel()
        with pytest.raises(ValueError, match="a bad row"):
            await first
        assert (await third).answers.prediction.tolist() == list(range(300, 310))
        assert batcher.waiting == 0
        assert not any(200 in run for run in echo.runs)

    live(work)


def test_a_bound_on_the_rows_that_wait_holds_always() -> None:
    async def work() -> None:
        echo = Echo()
        batcher = batched(echo, waiting=10)
        with pytest.raises(Busy):
            batcher.ask(echo, asked(*range(11)), 11)
        asking = [batcher.ask(echo, asked(i), 1) for i in range(10)]
        with pytest.raises(Busy, match=r"10 rows wait; expected at most 10 with yours.*Ask again"):
            batcher.ask(echo, asked(0), 1)
        await asyncio.gather(*asking)
        await batcher.ask(echo, asked(0), 1)
        await batcher.close()

    live(work)


def test_what_would_come_too_late_is_refused_at_once_and_told_when_to_come_back() -> None:
    async def work() -> None:
        echo = Echo()
        echo.fixed, echo.each = 0.0, 0.001
        batcher = batched(echo, latency=0.1, most=50)
        await known(echo, batcher, 20)
        await known(echo, batcher, 40)
        asking = [batcher.ask(echo, asked(*range(30)), 30) for _ in range(3)]
        with pytest.raises(Busy) as caught:
            batcher.ask(echo, asked(*range(30)), 30)
        assert caught.value.retry_after == pytest.approx(0.02, abs=0.005)
        asking.append(batcher.ask(echo, asked(1), 1))  # a short one still makes it
        await asyncio.gather(*asking)
        # What no wait could mend is tried now and then, when nothing else is to be done.
        await batcher.ask(echo, asked(*range(200)), 200)
        with pytest.raises(Busy):
            batcher.ask(echo, asked(*range(200)), 200)
        await batcher.close()

    live(work)


def test_closing_answers_what_waits_and_takes_no_more() -> None:
    async def work() -> None:
        others = {*threading.enumerate()}  # of batchers of other tests, which nobody closed
        echo = Echo()
        batcher = batched(echo, most=4)
        asking = [batcher.ask(echo, asked(i), 1) for i in range(3)]
        asking.append(batcher.ask(echo, asked(*range(10)), 10))
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(ClosingError):
            batcher.ask(echo, asked(1), 1)
        await closing
        assert all(future.done() for future in asking)
        own = {*threading.enumerate()} - others
        assert not [one for one in own if one.name.startswith("thalweg-run")]

    live(work)


def test_an_idle_batcher_does_nothing() -> None:
    async def work() -> None:
        echo = Echo()
        batcher = batched(echo)
        loop = asyncio.get_running_loop()
        timers = len(loop._scheduled)  # type: ignore[attr-defined]
        await known(echo, batcher)
        assert len(loop._scheduled) == timers  # type: ignore[attr-defined]
        start = time.process_time()
        await asyncio.sleep(0.1)
        assert time.process_time() - start < 0.05
        await batcher.close()

    live(work)


def test_a_model_that_was_replaced_is_let_go() -> None:
    import gc
    import weakref

    async def work() -> None:
        echo = Echo()
        batcher = Batcher(clock=lambda: 0.0)
        await known(echo, batcher)
        await batcher.ask(echo, asked(1), 1)
        gone = weakref.ref(echo)
        del echo
        await asyncio.sleep(0)
        gc.collect()
        assert gone() is None
        await batcher.close()

    live(work)


@settings(max_examples=60, deadline=None)
@given(
    plan=st.lists(
        st.tuples(
            st.integers(0, 1),  # which model
            st.integers(0, 9),  # rows
            st.sampled_from(["now", "later", "cancelled", "bad"]),
        ),
        max_size=25,
    ),
    most=st.integers(1, 8),
    inline=st.sampled_from([0.0, 1.0]),
)
def test_every_question_gets_its_own_rows_answers_once_and_in_order(
    plan: list[tuple[int, int, str]], most: int, inline: float
) -> None:
    async def work() -> None:
        clock = [0.0]
        models = Echo(clock), Echo(clock)
        batcher = Batcher(most=most, inline=inline, clock=lambda: clock[0])
        number = 0
        asking: list[tuple[int, int, list[int], str, asyncio.Future[Run]]] = []
        done: list[int] = []
        for place, (which, rows, how) in enumerate(plan):
            own = list(range(number, number + rows))
            number += rows
            if how == "later":
                await asyncio.sleep(0)
            if how == "bad" and own:
                models[which].bad.add(own[-1])
            future = batcher.ask(models[which], asked(*own), rows)
            future.add_done_callback(lambda _, place=place: done.append(place))
            if how == "cancelled":
                future.cancel()
            asking.append((place, which, own, how, future))
        await asyncio.gather(*(one[-1] for one in asking), return_exceptions=True)
        await batcher.close()
        await asyncio.sleep(0)
        assert batcher.waiting == 0
        for _, which, own, how, future in asking:
            runs = [run for run in models[which].runs if set(run) & set(own)]
            if future.cancelled():
                assert how == "cancelled"
            elif models[which].bad & set(own):
                assert isinstance(future.exception(), ValueError)
            else:
                run = future.result()
                assert run.answers.prediction.tolist() == own
                assert run.dropped.tolist() == [n % 2 == 1 for n in own]
                if not any(models[which].bad & set(run) for run in runs):
                    assert sum(len(set(run) & set(own)) for run in runs) == len(own)
        for large in (False, True):
            order = [p for p in done if plan[p][2] != "cancelled" and (plan[p][1] > most) == large]
            bad = {p for p in order if plan[p][2] == "bad"}
            kept = [p for p in order if p not in bad]
            assert kept == sorted(kept)

    live(work)


def test_the_cost_of_a_run_is_learned_and_outliers_hardly_count() -> None:
    cost = Cost()
    random = np.random.default_rng(0)
    for _ in range(400):
        rows = int(random.choice([1, 8, 64, 512, 4096]))
        seconds = (1e-4 + 2e-6 * rows) * random.normal(1, 0.05)
        cost.took(rows, seconds * (100 if random.random() < 0.02 else 1))
    for rows in (1, 100, 3000, 8000):
        assert cost.forecast(rows) == pytest.approx(1e-4 + 2e-6 * rows, rel=0.35)
    assert cost.forecast(100_000) is None
    assert cost.pieces(100_000, 4096) == pytest.approx(0.2, rel=0.3)


def test_a_machine_that_slows_down_is_noticed() -> None:
    cost = Cost()
    for _ in range(200):
        cost.took(1, 1e-4)
    for _ in range(200):
        cost.took(1, 1e-3)
    assert cost.forecast(1) == pytest.approx(1e-3, rel=0.1)


def test_a_slow_first_run_is_soon_forgotten() -> None:
    cost = Cost()
    cost.took(1, 5.0)
    cost.took(1, 0.0001)
    assert cost.forecast(1) == pytest.approx(0.0004, rel=0.1)


def test_one_known_size_makes_no_larger_one_dear() -> None:
    cost = Cost()
    cost.took(1, 0.01)
    assert cost.pieces(1000, 4096) == pytest.approx(0.01)
    assert cost.forecast(3) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 10)), min_size=1, max_size=40))
def test_a_forecast_is_never_negative_and_grows_with_the_rows(
    runs: list[tuple[int, float]],
) -> None:
    cost = Cost()
    for rows, seconds in runs:
        cost.took(rows, seconds)
    found = [cost.pieces(rows, 4096) for rows in (0, 1, 10, 1000, 4096, 100_000)]
    assert all(one >= 0 for one in found)
    assert found == sorted(found)
