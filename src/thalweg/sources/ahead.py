"""Read ahead: let a thread of its own make the next things while the last ones are used."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")

_END: Final = object()


def ahead(things: Iterator[T], count: int = 1) -> Iterator[T]:
    """Give what an iterator gives, made by a thread that is at most some things ahead.

    It helps where making and using a thing both leave Python's lock alone, as reading, unpacking
    and training do. Memory: one thing more than ``count`` is held beside the one in use.

    Parameters
    ----------
    things
        Used by one thread at a time, and closed at the end, at an error and where the reader
        stops early.
    count
        How many things may wait.

    Yields
    ------
    object
        The things in their order; then whatever the iterator raised.

    Examples
    --------
    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    waiting: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(count)
    stopped = threading.Event()
    worker = threading.Thread(
        target=_make, args=(things, waiting, stopped), name="thalweg-ahead", daemon=True
    )
    worker.start()
    try:
        while True:
            thing, error = waiting.get()
            if error is not None:
                raise error
            if thing is _END:
                return
            yield cast("T", thing)
            del thing  # Not to be held while the next is waited for.
    finally:
        stopped.set()
        _empty(waiting)
        worker.join()


def _make(
    things: Iterator[Any],
    waiting: queue.Queue[tuple[Any, BaseException | None]],
    stopped: threading.Event,
) -> None:
    """Put things into the queue until they end or nobody wants them."""

    def put(thing: Any, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put((thing, error), timeout=0.1)
                return

    try:
        for thing in things:
            put(thing)
            if stopped.is_set():
                break
    except BaseException as error:  # raised again where the things are used
        put(_END, error)
    else:
        put(_END)
    finally:
        if isinstance(things, Generator):
            things.close()


def _empty(waiting: queue.Queue[Any]) -> None:
    """Throw away what waits, so that whoever puts need not wait."""
    with contextlib.suppress(queue.Empty):
        while True:
            waiting.get_nowait()
