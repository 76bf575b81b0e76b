"""Make a table of any size: 24 columns with gaps, long tails and a target that is not linear.

Twelve numbers (one of them with gaps, one with a few absurd values), six columns of texts with 5 to
10,000 levels distributed as Zipf's law has it, three columns of codes that are whole numbers, one
column of 200,000 names, a timestamp, and a target of two classes, about one in five of which is
positive. A chunk depends on its number and the seed alone, so a longer table begins as a shorter
one does.

    python benchmarks/generate.py 20000000 big.parquet
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

CHUNK = 250_000
LEVELS = {"colour": 5, "country": 50, "brand": 300, "city": 1_000, "model": 3_000, "shop": 10_000}
CODES = {"weekday": 7, "zip": 900, "campaign": 5_000}
NAMES = 200_000
TARGET = "bought"


def chunks(rows: int, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """Give the table in chunks of `CHUNK` rows; the last may be smaller."""
    tables = _effects(seed)
    for number, start in enumerate(range(0, rows, CHUNK)):
        yield _chunk(min(CHUNK, rows - start), start, np.random.default_rng([seed, number]), tables)


def write(rows: int, path: Path, seed: int = 0) -> None:
    """Write the table as Parquet, packed with zstandard, a chunk to a row group."""
    writer: pq.ParquetWriter | None = None
    for chunk in chunks(rows, seed):
        writer = writer or pq.ParquetWriter(path, chunk.schema, compression="zstd")
        writer.write_batch(chunk, row_group_size=CHUNK)
    if writer is not None:
        writer.close()


def _effects(seed: int) -> dict[str, NDArray[np.float64]]:
    """Draw what each level adds to the score."""
    random = np.random.default_rng([seed, 2**31])
    return {name: random.normal(size=count) for name, count in (LEVELS | CODES).items()}


def _chunk(
    rows: int, start: int, random: np.random.Generator, effects: dict[str, NDArray[np.float64]]
) -> pa.RecordBatch:
    """Draw some rows."""
    numbers = random.normal(size=(rows, 12))
    numbers[:, 6:9] = np.exp(numbers[:, 6:9])
    numbers[:, 9:] = np.round(numbers[:, 9:] * 10, 2)
    levels = {name: _zipf(random, rows, count) for name, count in (LEVELS | CODES).items()}
    names = _zipf(random, rows, NAMES, power=0.7)
    # A row every other second: 20 million are more than a year.
    seconds = 1_672_531_200 + 2 * np.arange(start, start + rows) + random.integers(0, 2, rows)
    hour = seconds // 3600 % 24

    score = 1.5 * numbers[:, 0] * numbers[:, 1] + np.sin(2 * numbers[:, 2]) + numbers[:, 3]
    score += np.where(numbers[:, 6] > 2, 1.0, 0.0) + 0.5 * np.abs(numbers[:, 4])
    score += 0.8 * np.cos(2 * np.pi * (hour - 18) / 24)
    for name, codes in levels.items():
        score += 0.5 * effects[name][codes]
    score += random.logistic(size=rows) - 3.7

    columns: dict[str, pa.Array] = {}
    for place in range(12):
        values = numbers[:, place]
        if place == 5:
            columns["n5"] = pa.array(values, mask=random.random(rows) < 0.05)
            continue
        if place == 8:
            values = np.where(random.random(rows) < 1e-4, 1e6, values)
        columns[f"n{place}"] = pa.array(values)
    for name, count in LEVELS.items():
        columns[name] = _texts(name, levels[name], count)
    for name in CODES:
        columns[name] = pa.array(levels[name].astype(np.int32))
    columns["name"] = _texts("customer", names, NAMES)
    columns["seen"] = pa.array(seconds * 1_000_000, pa.timestamp("us"))
    columns[TARGET] = pa.array((score > 0).astype(np.int8))
    return pa.RecordBatch.from_pydict(columns)


def _zipf(
    random: np.random.Generator, rows: int, count: int, power: float = 1.1
) -> NDArray[np.int64]:
    """Draw places 0 to ``count`` - 1, the first the commonest."""
    shares = np.cumsum(np.arange(1, count + 1, dtype=np.float64) ** -power)
    return np.searchsorted(shares, random.random(rows) * shares[-1]).astype(np.int64)


def _texts(name: str, codes: NDArray[np.int64], count: int) -> pa.Array:
    """Write codes as texts of a few letters."""
    words = pa.array([f"{name}-{code:05d}" for code in range(count)])
    return words.take(pa.array(codes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    write(given.rows, given.path, given.seed)
    size = given.path.stat().st_size
    print(f"{given.rows:,} rows, {size / 1e6:,.0f} MB, {time.perf_counter() - began:.0f} s")
