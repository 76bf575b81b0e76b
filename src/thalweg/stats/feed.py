"""A stream of batches taken into a summary: the columns at the same time, and the next one read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import pyarrow as pa

from thalweg.stats.hashing import Hashes
from thalweg.stats.table import TableSummary

BATCH = 131_072
"""How many rows a batch should have: fewer cost more Python, more of them leave the cache."""


@contextmanager
def thread_pool(threads: int | None = None) -> Iterator[Executor]:
    """Open a pool of threads that columns are worked on in; as many as there are cores.

    Whatever the number of threads, results are the same in every bit.

    Parameters
    ----------
    threads
        How many; by default as many as cores that this process may use.
    """
    count = threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(count, thread_name_prefix="columns") as pool:
        yield pool


def feed(
    summary: TableSummary,
    batches: Iterable[tuple[pa.RecordBatch, Hashes | None]],
    pool: Executor | None = None,
) -> Iterator[int]:
    """Take batches in, one after the other; while the pool works on one, the next is read.

    Each column sees its batches in order, so that the summary does not depend on the pool.

    Parameters
    ----------
    summary
        What takes them in. To be read only between two batches.
    batches
        Rows, and their hashes (`thalweg.stats.hashing.hash_rows`) where these are known.
    pool
        Threads that the columns of a batch are shared out to; none by default.

    Yields
    ------
    int
        How many rows were taken in, after each batch.

    Examples
    --------
    >>> some = TableSummary()
    >>> with thread_pool() as pool:
    ...     list(feed(some, [(pa.record_batch({"a": [1, 2]}), None)], pool))
    [2]
    >>> some.rows
    2
    """
    if pool is None:
        for rows, hashes in batches:
            summary.update(rows, hashes)
            yield rows.num_rows
        return
    reader = iter(batches)
    following = next(reader, None)
    while following is not None:
        rows, hashes = following
        finish = summary.begin(rows, hashes, pool)
        try:
            following = next(reader, None)
        finally:  # no thread may still be at work when the caller hears of an error
            finish()
        yield rows.num_rows
