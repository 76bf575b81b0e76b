"""The profile of a large table beside a bare scan of it: rows a second and memory, in one run.

    python benchmarks/generate.py 20000000 big.parquet
    python benchmarks/profiling.py big.parquet --rounds 3

Each measurement is a process of its own. The bare scan is Polars' streaming engine giving every
column of the file in batches that are thrown away. The profile is ``thalweg.profile``: counts,
moments, quantiles, distinct values, heavy hitters, a sample and dates of every column, and the
copies among the rows. Rounds alternate, so that a noisy machine is noisy for both; the best of
each counts. Seconds of the processor are of all threads, peaks are of resident memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def scan(path: Path) -> int:
    """Read every column and throw it away."""
    import polars as pl

    batches = pl.scan_parquet(path).collect_batches(chunk_size=500_000, maintain_order=False)
    return sum(batch.height for batch in batches)


def profile(path: Path) -> int:
    """Profile the table."""
    import thalweg

    return thalweg.profile(path).summary.rows


def command(path: Path) -> int:
    """Profile the table from the command line, start and printing counted."""
    asked = [sys.executable, "-m", "thalweg", "profile", str(path), "--json"]
    found = subprocess.run(asked, check=True, capture_output=True)  # noqa: S603
    return int(json.loads(found.stdout)["rows"])


WORK = {"scan": scan, "profile": profile, "command": command}
NAMES = {
    "scan": "bare Polars streaming scan",
    "profile": "`thalweg.profile`",
    "command": "`thalweg profile --json`",
}


def measure(name: str, path: Path) -> dict[str, float]:
    """Do one piece of work in this process; give rows, seconds and memory."""
    before = time.process_time()
    began = time.perf_counter()
    rows = WORK[name](path)
    seconds = time.perf_counter() - began
    who = resource.RUSAGE_CHILDREN if name == "command" else resource.RUSAGE_SELF
    used = resource.getrusage(who)
    processor = time.process_time() - before
    if name == "command":
        processor = used.ru_utime + used.ru_stime
    return {
        "rows": rows,
        "seconds": seconds,
        "processor": processor,
        "peak": used.ru_maxrss / 1024,
    }


def apart(name: str, path: Path) -> dict[str, float]:
    """Measure in a fresh process."""
    asked = [sys.executable, __file__, str(path), "--only", name]
    said = subprocess.run(asked, check=True, capture_output=True, text=True)  # noqa: S603
    found: dict[str, float] = json.loads(said.stdout)
    return found


def table(path: Path, rounds: int) -> str:
    """Measure everything so many times and write a table."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in WORK}
    for _ in range(rounds):
        for name in WORK:
            runs[name].append(apart(name, path))
    best = {name: min(some, key=lambda run: run["seconds"]) for name, some in runs.items()}
    limit = best["scan"]["rows"] / best["scan"]["seconds"]
    lines = [
        f"{path.name}: {best['scan']['rows']:,} rows, best of {rounds}",
        "",
        "| | rows/s | of the scan | processor, µs/row | peak memory, MiB |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, run in best.items():
        speed = run["rows"] / run["seconds"]
        peak = max(other["peak"] for other in runs[name])
        lines.append(
            f"| {NAMES[name]} | {speed:,.0f} | {speed / limit:.1%} "
            f"| {run['processor'] / run['rows'] * 1e6:.2f} | {peak:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=sorted(WORK), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measure(given.only, given.paths[0])))
    else:
        for place in given.paths:
            print(table(place, given.rounds), end="\n\n", flush=True)
