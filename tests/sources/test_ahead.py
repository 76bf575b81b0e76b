"""Reading ahead gives the same things, stays within its bound and always ends its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from thalweg.sources.ahead import ahead


def workers() -> int:
    return sum(thread.name == "thalweg-ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("count", [1, 3])
def test_the_same_things_in_order_and_few_ahead(count: int) -> None:
    made = 0

    def things() -> Iterator[int]:
        nonlocal made
        for thing in range(50):
            made = thing + 1
            yield thing

    for used, thing in enumerate(ahead(things(), count)):
        assert thing == used
        assert made <= used + count + 2
    assert made == 50
    assert not workers()


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def things() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    found = ahead(things())
    assert next(found) == 1
    with pytest.raises(KeyError, match="two"):
        next(found)
    assert not workers()


def test_who_stops_early_ends_the_thread_and_closes_the_iterator() -> None:
    closed = threading.Event()

    def things() -> Iterator[int]:
        try:
            for thing in range(10**9):
                time.sleep(0.001)
                yield thing
        finally:
            closed.set()

    found = ahead(things(), 2)
    assert next(found) == 0
    found.close()
    assert closed.is_set()
    assert not workers()


def test_nothing_and_none() -> None:
    assert list(ahead(iter([]))) == []
    assert list(ahead(iter([None, None]))) == [None, None]
