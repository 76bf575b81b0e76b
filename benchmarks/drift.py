"""Detectors of drift beside one that always fires: false alarms, delay, events a second.

    python benchmarks/drift.py --out bench-results/drift
    python benchmarks/drift.py --only adwin --stationary 200000

Errors are 1 with a probability of .10; stationary for so many events, and in other runs jumping to
.25. A false alarm is any drift without a jump; ARL0 is the mean number of events between two of
them (above the events seen where there was none). The delay is that of the first drift after a
jump, and "found" the share of jumps found within 2,000 events. Whoever fires every 100 events finds
every jump at once: no delay is worth anything without its ARL0. Speeds are of processor time. A
table is printed, and written to DIR as JSON lines.

The second table is of two tables compared: how many columns of a table that has not changed are
said to have drifted, how many are found whose mean moved by a quarter of a deviation or of whose
values a tenth changed, and how long 1,000 columns take.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.stats import TableSummary
from thalweg.stats.drift.compare import compare
from thalweg.stats.drift.detectors import DETECTORS, detector
from thalweg.stats.drift.detectors.base import Detector
from thalweg.stats.drift.reference import Reference

BEFORE, AFTER = 0.10, 0.25
EVERY = 100
HORIZON = 2000
ALWAYS = "every 100 events"
SLOW = {"kswin": 20}
"""What takes so many times longer sees so many times fewer events."""


class Always:
    """Fires every 100 events, whatever comes: what a detector must be better than."""

    def __init__(self) -> None:
        self.seen = 0

    def take(self, values: NDArray[np.float64]) -> list[int]:
        """Fire."""
        start, self.seen = self.seen, self.seen + len(values)
        return [place for place in range(len(values)) if (start + place + 1) % EVERY == 0]


def errors(seed: int, count: int, rate: float) -> NDArray[np.float64]:
    """Draw errors."""
    return (np.random.default_rng(seed).random(count) < rate).astype(np.float64)


def detectors(names: list[str], stationary: int, seeds: int) -> Iterator[dict[str, Any]]:
    """Try each detector on errors that stay as they are, and on some that jump."""
    for name in names:
        make = Always if name == ALWAYS else lambda name=name: detector(name)
        yield {"detector": name, **tried(make, stationary // SLOW.get(name, 1), seeds)}


def tried(make: Any, stationary: int, seeds: int) -> dict[str, Any]:
    """Try one detector."""
    one: Detector = make()
    values = errors(0, stationary, BEFORE)
    clock = time.process_time()
    false = len(one.take(values))
    seconds = time.process_time() - clock
    delays = []
    for seed in range(seeds):
        one = make()
        one.take(errors(1000 + seed, 3000, BEFORE))
        found = one.take(errors(2000 + seed, HORIZON, AFTER))
        delays.append(found[0] + 1 if found else None)
    known = [one for one in delays if one is not None]
    return {
        "events": stationary,
        "false_alarms": false,
        "arl0": stationary / false if false else f"> {stationary}",
        "found": len(known) / seeds,
        "delay_median": median(known) if known else None,
        "delay_mean": round(mean(known), 1) if known else None,
        "events_per_second": round(stationary / seconds),
    }


def summed(columns: dict[str, Any]) -> TableSummary:
    """Sum a table up."""
    summary = TableSummary()
    summary.update(pa.table(columns))
    return summary


def columns(seed: int, rows: int, count: int, shift: float = 0.0) -> dict[str, Any]:
    """Draw a table, half of it numbers, half categories."""
    drawn = np.random.default_rng(seed)
    letters = np.array(list("abcdefgh"))
    numbers = {f"number {i}": drawn.normal(shift, 1, rows) for i in range(count // 2)}
    chances = np.full(8, 1 / 8) + shift * np.array([1, -1] * 4) / 10
    return numbers | {
        f"letter {i}": letters[drawn.choice(8, rows, p=chances)] for i in range(count // 2)
    }


def tables(seeds: int) -> dict[str, Any]:
    """Compare tables that have not changed, and some that have."""
    quiet, loud, certain = 0, 0, 0
    for seed in range(seeds):
        before = Reference.of(summed(columns(3 * seed, 10_000, 100)))
        same = compare(before, summed(columns(3 * seed + 1, 5_000, 100)))
        moved = compare(before, summed(columns(3 * seed + 2, 5_000, 100, 0.25)))
        quiet += sum(one.drifted for one in same)
        certain += sum(one.q <= 0.05 for one in same)
        loud += sum(one.drifted for one in moved)
    summary = summed(columns(0, 5_000, 1000))
    clock = time.process_time()
    reference = Reference.of(summary)
    made = time.process_time() - clock
    clock = time.process_time()
    compare(reference, summary)
    compared = time.process_time() - clock
    count = 100 * seeds
    return {
        "columns": count,
        "false_discoveries": quiet,
        "false_without_floor": certain,
        "found": loud / count,
        "seconds_reference_1000": round(made, 2),
        "seconds_compare_1000": round(compared, 2),
        "bytes_a_column": len(reference.model_dump_json()) // 1000,
    }


def shown(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    names = list(rows[0])
    cells = [names, *([f"{row[name]}" for name in names] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(names))]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-results/drift"))
    parser.add_argument("--stationary", type=int, default=200_000)
    parser.add_argument("--seeds", type=int, default=21)
    parser.add_argument("--only", default="", help="names of detectors, parted by commas")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else [*DETECTORS, ALWAYS]
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in detectors(names, given.stationary, given.seeds):
        rows.append(row)
        print(json.dumps(row), flush=True)
    compared = [] if given.only else [tables(5)]
    with (given.out / "drift.ndjson").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in [*rows, *compared])
    shown(rows)
    if compared:
        shown(compared)


if __name__ == "__main__":
    main()
