"""Read and write a million rows of PostgreSQL and MariaDB, beside the bare drivers.

Private servers are started on this machine and thrown away at the end. Each measurement is a
process of its own, so that its peak memory is its own; the ways take turns, and the best of some
rounds counts. Ratios are to the quickest bare driver of the same run.

    python benchmarks/databases.py --rows 1000000 --rounds 3
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

import generate

TABLE = "big"
SCORES = 65_536


def adbc(uri: str) -> int:
    """Read by ADBC as it comes."""
    import adbc_driver_postgresql.dbapi as driver

    with driver.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {TABLE}")
        return sum(batch.num_rows for batch in cursor.fetch_record_batch())


def copy(uri: str) -> int:
    """Receive the bytes of COPY BINARY, and make nothing of them."""
    import psycopg

    with psycopg.connect(uri) as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY {TABLE} TO STDOUT (FORMAT binary)") as received:
            for _ in received:
                pass
        return cursor.rowcount


def connectorx(uri: str, parts: int = 1) -> int:
    """Read by ConnectorX as a stream."""
    import connectorx

    split = {"partition_on": "zip", "partition_num": parts} if parts > 1 else {}
    stream = connectorx.read_sql(uri, f"SELECT * FROM {TABLE}", return_type="arrow_stream", **split)
    return sum(batch.num_rows for batch in stream)


def ours(uri: str) -> int:
    """Read every column through `Source.batches`."""
    from thalweg.sources import open_source

    return sum(batch.rows.num_rows for batch in open_source(f"{uri}?table={TABLE}").batches())


def sink(uri: str, rows: int) -> int:
    """Write predictions back: a key, a label and two probabilities."""
    from thalweg.sources import open_sink

    random = np.random.default_rng(0)
    labels = pa.array(["no", "yes"])
    with open_sink(f"{uri}?table=scores&if_exists=replace") as opened:
        for start in range(0, rows, SCORES):
            count = min(SCORES, rows - start)
            yes = random.random(count).astype(np.float32)
            opened.write(
                pa.record_batch(
                    {
                        "id": np.arange(start, start + count),
                        "prediction": labels.take(pa.array((yes > 0.5).astype(np.int8))),
                        "no": 1 - yes,
                        "yes": yes,
                    }
                )
            )
    return rows


WAYS: dict[str, dict[str, Callable[[str], int]]] = {
    "PostgreSQL": {
        "ADBC": adbc,
        "COPY BINARY, bytes only": copy,
        "ConnectorX": connectorx,
        "ConnectorX, 2 partitions": lambda uri: connectorx(uri, 2),
        "Thalweg": ours,
    },
    "MariaDB": {
        "ConnectorX": connectorx,
        "ConnectorX, 2 partitions": lambda uri: connectorx(uri, 2),
        "Thalweg": ours,
    },
}


def measure(database: str, way: str, uri: str, rows: int) -> None:
    """Measure one way and print what it took; peak memory is that of its processes together."""
    for module in ("adbc_driver_postgresql.dbapi", "connectorx", "polars", "psycopg"):
        importlib.import_module(module)
    from thalweg.sources import open_source  # noqa: F401

    began, used = time.perf_counter(), processor()
    done = sink(uri, rows) if way == "sink" else WAYS[database][way](uri)
    found = {"seconds": time.perf_counter() - began, "processor": processor() - used}
    status = Path("/proc/self/status").read_text()
    kib = int(status.partition("VmHWM:")[2].split()[0])
    # What the system keeps of a child that has ended is never less than its parent's at the time.
    kib += resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"rows": done, "mib": kib / 1024, **found}))


def processor() -> float:
    """Give the processor seconds of this process and those it has started and ended."""
    return sum(os.times()[:4])


def fill(uri: str, rows: int) -> float:
    """Make the table."""
    from thalweg.sources import open_sink

    began = time.perf_counter()
    with open_sink(f"{uri}?table={TABLE}") as opened:
        for chunk in generate.chunks(rows):
            opened.write(chunk)
    return time.perf_counter() - began


def rounds(database: str, uri: str, rows: int, count: int) -> Iterator[dict[str, Any]]:
    """Measure every way in turn, some times, and give the best of each."""
    best: dict[str, dict[str, Any]] = {}
    ways = [*WAYS[database], "sink"]
    for number in range(count):
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            words = [sys.executable, __file__, "--measure", database, way, uri]
            done = subprocess.run(  # noqa: S603 - this script
                [*words, "--rows", str(rows)], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            assert found["rows"] == rows, f"{way} gave {found['rows']:,} rows"
            best[way] = min(best.get(way, found), found, key=lambda one: float(one["seconds"]))
            print(f"{database}, {way}: {rows / found['seconds']:,.0f}/s", file=sys.stderr)
    quickest = min(best[way]["seconds"] for way in WAYS[database] if way != "Thalweg")
    for way in ways:
        yield {"way": way, "ratio": quickest / best[way]["seconds"], **best[way]}


def servers() -> ModuleType:
    """Load what starts servers for the tests."""
    path = Path(__file__).resolve().parent.parent / "tests" / "servers.py"
    spec = importlib.util.spec_from_file_location("servers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["servers"] = module
    spec.loader.exec_module(module)
    return module


def main(rows: int, count: int) -> None:
    """Start the servers one after the other, measure, and print a table."""
    print(f"{rows:,} rows x 24 columns, best of {count}; load {os.getloadavg()[0]:.1f}\n")
    print("| | rows/s | of the quickest driver | client's processor s | peak MiB |")
    print("|---|---|---|---|---|")
    starts = {"PostgreSQL": servers().postgresql, "MariaDB": servers().mariadb}
    for database, start in starts.items():
        with start() as server:
            uri = server.fresh()
            fill(uri, rows)
            for found in rounds(database, uri, rows, count):
                speed = f"{rows / found['seconds']:,.0f}"
                wrote = found["way"] == "sink"
                what = "Thalweg, 4 columns written" if wrote else f"{found['way']}, read"
                share = "" if wrote else f"{found['ratio']:.0%}"
                cost = f"{found['processor']:.1f} | {found['mib']:,.0f}"
                print(f"| {database}: {what} | {speed} | {share} | {cost} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=3, metavar=("DATABASE", "WAY", "URI"))
    given = parser.parse_args()
    with contextlib.suppress(BrokenPipeError):
        if given.measure:
            measure(*given.measure, given.rows)
        else:
            main(given.rows, given.rounds)
