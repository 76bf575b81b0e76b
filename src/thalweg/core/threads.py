"""Work shared out to threads, its results in the order of its beginnings."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ordered(
    pool: Executor, function: Callable[[Given], Made], items: Iterable[Given], ahead: int = 4
) -> Iterator[Made]:
    """Apply a function to items in a pool, and give what it makes in the items' order.

    Unlike `Executor.map` it takes no more items than are worked on, so that endless ones and
    large ones can be given.

    Parameters
    ----------
    pool
        Does the work.
    function
        Applied to each item.
    items
        Read in the caller's thread.
    ahead
        How many items may be worked on at a time.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as pool:
    ...     list(ordered(pool, abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    begun: deque[Future[Made]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:  # no thread may be at work when the caller hears of an error
        for left in begun:
            left.cancel()
        wait(begun)
