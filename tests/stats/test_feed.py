from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from thalweg.stats import TableSummary
from thalweg.stats.feed import feed, thread_pool
from thalweg.stats.hashing import Hashes, RowHasher, hash_rows

ROWS = 60_000


def table(rows: int = ROWS, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    names = pa.array([f"name {at}" for at in range(9_000)])
    return pa.table(
        {
            "number": pa.array(random.normal(size=rows), mask=random.random(rows) < 0.1),
            "price": np.round(random.exponential(9, rows), 2),
            "code": random.integers(0, 3_000, rows).astype(np.int16),
            "name": names.take(pa.array(random.integers(0, 9_000, rows))),
            "town": pa.array(random.choice(["Ulm", " Bonn", "?", "1.0"], rows)).dictionary_encode(),
            "seen": pa.array(np.arange(rows) * 7_000_001, pa.timestamp("us")),
        }
    )


def batches(
    some: pa.Table, size: int, hashed: bool = False
) -> Iterator[tuple[pa.RecordBatch, Hashes | None]]:
    for rows in some.to_batches(max_chunksize=size):
        yield rows, hash_rows(rows) if hashed else None


def fed(some: pa.Table, threads: int | None, size: int = 9_000, hashed: bool = False) -> bytes:
    summary = TableSummary()
    if threads is None:
        taken = list(feed(summary, batches(some, size, hashed)))
    else:
        with thread_pool(threads) as pool:
            taken = list(feed(summary, batches(some, size, hashed), pool))
    assert sum(taken) == summary.rows == some.num_rows
    return summary.to_bytes()


def test_threads_do_not_change_a_bit() -> None:
    some = table()
    alone = fed(some, None)
    assert fed(some, 1) == alone
    assert fed(some, 5) == alone
    assert fed(some, 2, hashed=True) == alone
    assert fed(some, 3, size=25_000) == alone
    summary = TableSummary()
    summary.update(some)
    assert summary.to_bytes() == alone


def test_rows_hash_alike_in_any_pool_and_by_one_hasher() -> None:
    some = table(5_000)
    whole = hash_rows(some)
    hasher = RowHasher()
    with ThreadPoolExecutor(3) as pool:
        parts = [hasher.hash(rows, pool) for rows in some.to_batches(max_chunksize=700)]
        assert (hash_rows(some, pool) == whole).all()
    assert (np.concatenate(parts) == whole).all()
    other = some.select([*reversed(some.column_names)]).combine_chunks()
    assert (hash_rows(other) == whole).all()


def test_a_dictionary_that_changes_is_seen() -> None:
    hasher = RowHasher()
    for values in (["a", "b"], ["b", "a"], ["a", None], [None, None]):
        coded = pa.table({"x": pa.array(values, pa.string()).dictionary_encode()})
        plainly = pa.table({"x": pa.array(values, pa.string())})
        assert (hasher.hash(coded) == hash_rows(plainly)).all()


def test_the_next_batch_is_read_while_one_is_worked_on() -> None:
    reading, working = threading.Event(), threading.Event()
    first, second = table(10).to_batches(max_chunksize=5)

    def two() -> Iterator[tuple[pa.RecordBatch, None]]:
        yield first, None
        reading.set()
        assert working.wait(20)  # would never come if the first batch had to be done before
        yield second, None

    summary = TableSummary()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: (reading.wait(20), working.set()))
        assert list(feed(summary, two(), pool)) == [5, 5]
    assert summary.rows == 10


def test_errors_of_the_reader_and_of_a_column_come_through() -> None:
    def broken() -> Iterator[tuple[pa.RecordBatch, None]]:
        yield table(10).to_batches()[0], None
        raise OSError("the disk is gone")

    with thread_pool(2) as pool:
        with pytest.raises(OSError, match="the disk is gone"):
            list(feed(TableSummary(), broken(), pool))
        summary = TableSummary()
        summary.update(table(10), pool=pool)
        summary.columns["price"]._typed = None  # type: ignore[assignment]
        with pytest.raises(AttributeError):
            summary.update(table(10), pool=pool)


def test_columns_of_one_name_are_taken_in_one_after_the_other() -> None:
    twice = pa.record_batch([pa.array([1, 2]), pa.array([3, 4])], names=["a", "a"])
    summary = TableSummary()
    with thread_pool(2) as pool:
        summary.update(twice, pool=pool)
    assert summary.columns["a"].rows == 4
    assert summary.columns["a"].numbers.maximum == 4


def test_no_batches_are_no_rows() -> None:
    with thread_pool() as pool:
        assert list(feed(TableSummary(), iter(()), pool)) == []
