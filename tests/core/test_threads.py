from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from thalweg.core.threads import ordered


def test_results_come_in_the_order_of_the_items() -> None:
    def slow(number: int) -> int:
        time.sleep(0.001 * (number % 5))
        return number

    with ThreadPoolExecutor(3) as pool:
        assert list(ordered(pool, slow, range(40))) == list(range(40))


def test_no_more_items_are_taken_than_are_worked_on() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = ordered(pool, abs, items(), ahead=3)
        assert next(results) == 0
        assert len(taken) == 3
        results.close()  # type: ignore[attr-defined]


def test_errors_reach_the_caller_when_no_thread_is_at_work() -> None:
    working = threading.Semaphore(0)
    busy: list[int] = []

    def fail(number: int) -> int:
        if number == 0:
            message = "broken"
            raise ValueError(message)
        busy.append(number)
        working.acquire(timeout=0.1)
        busy.remove(number)
        return number

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(ValueError, match="broken"):
            list(ordered(pool, fail, range(4)))
        assert not busy
