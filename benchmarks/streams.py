"""Streams beside what bounds them: the same model on the same rows as a table, clocks, memory.

    python benchmarks/streams.py --data ../shared/data --out bench-results/streams
    python benchmarks/streams.py --only catch-up,latency

``catch-up``: Adult rows that lie in an embedded log, worked off, against ``predict`` on the same
rows as one table, in turn, in one process. ``latency``: 1,000 events a second, each appended by
itself by another process; from its append to when its prediction is in the log; by the model and
by what it was compiled to. ``memory``: 20 million events of 100,000 keys through sliding windows,
the process's memory each second.
``malformed``: a million mutated JSON lines. Each prints a line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from thalweg import api
from thalweg.sources.streams import open_stream
from thalweg.sources.streams.base import Writer
from thalweg.sources.streams.log import LogPublisher
from thalweg.sources.streams.payloads import payloads_of

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
NETWORKS: dict[str, dict[str, Any]] = {
    "default": {},
    "smallest": {"members": 1, "width": 16, "depth": 1, "embedding": 2},
}


def adult(data: Path) -> pl.DataFrame:
    """Read the training rows."""
    return pl.read_parquet(data / "tabular/adult_train.parquet")


def trained(data: Path, out: Path, name: str) -> Path:
    """Train a model of the income, once."""
    folder = out / f"adult-{name}"
    if not folder.exists():
        path = data / "tabular/adult_train.parquet"
        api.train(path, "income", out=folder, minutes=1, baselines=(), recipe=NETWORKS[name])
    return folder


def catch_up(data: Path, out: Path, rows: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Work off a log, and predict the same rows as a table, in turn."""
    frame = adult(data)
    frame = pl.concat([frame] * (rows // len(frame) + 1))[:rows]
    table = frame.to_arrow()
    for form in ("json", "arrow"):
        folder = out / f"events-{form}"
        shutil.rmtree(folder, ignore_errors=True)
        api.publish(frame, f"log://{folder}?format={form}")
    for name in NETWORKS:
        model = api.load(trained(data, out, name))
        model.predict(table.slice(0, 1000))
        for form in ("json", "arrow"):
            taken: dict[str, list[float]] = {"predict": [], "stream": []}
            for _ in range(rounds):
                begun = time.perf_counter()
                api.predict(model, table)
                taken["predict"].append(time.perf_counter() - begun)
                shutil.rmtree(out / "scored", ignore_errors=True)
                shutil.rmtree(out / "state", ignore_errors=True)
                work = api.pipeline(
                    f"log://{out / f'events-{form}'}",
                    model=model,
                    to=f"log://{out / 'scored'}?format={form}",
                    state=out / "state",
                    once=True,
                )
                begun = time.perf_counter()
                tally = api.stream(work)
                taken["stream"].append(time.perf_counter() - begun)
                assert tally.rows == rows, tally
            rate = {key: rows / min(one) for key, one in taken.items()}
            ratios = [p / s for p, s in zip(taken["predict"], taken["stream"], strict=True)]
            yield {
                "what": "catch-up",
                "network": name,
                "payloads": form,
                "rows": rows,
                "predict_rows_per_second": round(rate["predict"]),
                "stream_rows_per_second": round(rate["stream"]),
                "ratio_median": round(statistics.median(ratios), 3),
                "ratios": [round(one, 3) for one in ratios],
            }


def feed(folder: str, data: str, rate: float, seconds: float) -> dict[str, float]:
    """Append one event at a time at a steady rate."""
    rows = adult(Path(data)).to_arrow().combine_chunks().to_batches()[0]
    payloads = payloads_of(rows, "json")
    writer = Writer(f"feeder-{time.time_ns()}", "0")  # what one wrote before is passed over
    publisher = LogPublisher(f"log://{folder}", writer)
    publisher.resume(1)
    begun = time.perf_counter()
    for number in range(int(rate * seconds)):
        wait = begun + number / rate - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        publisher.send(number + 1, payloads.slice(number % len(payloads), 1))
        publisher.flush({})
    return {"sent": int(rate * seconds), "seconds": time.perf_counter() - begun}


def has_events(folder: Path) -> bool:
    """Say whether a log is there and has anything."""
    if not folder.exists():
        return False
    with open_stream(f"log://{folder}", folder.parent) as log:
        return any(log.newest(name) is not None for name in log.partitions())


def latency(data: Path, out: Path, rate: float, seconds: float) -> Iterator[dict[str, Any]]:
    """Measure from append to prediction at a steady rate."""
    for name, compiled in itertools.product(NETWORKS, (False, True)):
        model = trained(data, out, name)
        if compiled:
            api.compile(model)
        for folder in ("live", "answers", "state"):
            shutil.rmtree(out / folder, ignore_errors=True)
        live = str(out / "live")
        feed(live, str(data), 10, 0.1)
        words = [sys.executable, "-m", "thalweg", "stream", str(model), "--from", f"log://{live}"]
        words += ["--to", f"log://{out / 'answers'}", "--state", str(out / "state")]
        words += ["--start", "latest", "--json", "--quiet", *(["--compiled"] if compiled else [])]
        stream = subprocess.Popen(words, env=ONE_THREAD, stdout=subprocess.PIPE, text=True)  # noqa: S603
        while not has_events(out / "answers"):  # until it answers
            time.sleep(1)
            feed(live, str(data), 10, 0.1)
        time.sleep(2)
        me = [sys.executable, __file__, "--feed", live, "--data", str(data)]
        fed = subprocess.run(  # noqa: S603
            [*me, "--rate", str(rate), "--seconds", str(seconds)],
            env=ONE_THREAD,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        time.sleep(1)
        stream.send_signal(signal.SIGTERM)
        told = json.loads(stream.communicate(timeout=60)[0])
        sent = json.loads(fed.stdout.splitlines()[-1])
        yield {
            "what": "latency",
            "network": name,
            "compiled": compiled,
            "events_per_second": round(sent["sent"] / sent["seconds"]),
            "records": told["records"],
            **{key: round(one, 2) for key, one in told["latency_ms"].items()},
        }


def memory(out: Path, events: int, keys: int) -> Iterator[dict[str, Any]]:
    """Watch a stream in sliding windows, and the memory that this takes."""
    folder = out / "keyed"
    for one in (folder, out / "windows", out / "watch"):
        shutil.rmtree(one, ignore_errors=True)
    publisher = LogPublisher(f"log://{folder}?format=arrow", Writer("feeder", "0"))
    publisher.resume(1)
    chance = np.random.default_rng(0)
    piece, day = 20_000, 1_700_000_000_000_000
    step = 7_200_000_000 / events  # two hours of event time in all
    for number, start in enumerate(range(0, events, piece), 1):
        times = day + ((start + np.arange(piece)) * step).astype(np.int64)
        times += chance.integers(-1_000_000, 1_000_000, piece)
        rows = pa.record_batch(
            {
                "at": pa.array(times, pa.timestamp("us", "UTC")),
                "card": pa.array(chance.integers(0, keys, piece)),
                "amount": pa.array(np.round(chance.gamma(2.0, 30.0, piece), 2)),
            }
        )
        publisher.send(number, payloads_of(rows, "arrow"))
        publisher.flush({})
    publisher.close()
    words = [sys.executable, "-m", "thalweg", "watch", "--from", f"log://{folder}", "--once"]
    words += ["--window", "10m", "--slide", "5m", "--by", "card", "--measure", "amount"]
    words += ["--time", "at", "--lateness", "3s", "--to", f"log://{out / 'windows'}?format=arrow"]
    words += ["--state", str(out / "watch"), "--json"]
    begun = time.perf_counter()
    watch = subprocess.Popen(  # noqa: S603
        words, env=ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    samples: list[int] = []
    state = 0
    while watch.poll() is None:
        samples.append(resident(watch.pid))
        checkpoints = sorted((out / "watch/lanes/0").glob("checkpoint-*"))
        state = max(state, size(checkpoints[-1])) if checkpoints else state
        time.sleep(0.5)
    told = json.loads(watch.communicate()[0])
    seconds = time.perf_counter() - begun
    quarters = [part for part in np.array_split(np.array(samples[4:-1]), 4) if len(part)]
    yield {
        "what": "memory",
        "events": events,
        "keys": keys,
        "records": told["records"],
        "rows": told["rows"],
        "late": told["late"],
        "windows": told["windows"],
        "events_per_second": round(events / seconds),
        "mebibytes_by_quarter": {
            "median": [int(np.median(one)) for one in quarters],
            "most": [int(np.max(one)) for one in quarters],
        },
        "checkpoint_mebibytes": round(state / 2**20),
    }


def resident(pid: int) -> int:
    """Give a process's resident memory in MiB; 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    return int(found[0]) // 1024 if found else 0


def size(folder: Path) -> int:
    """Give the bytes in a folder."""
    found = 0
    for one in folder.rglob("*"):
        with contextlib.suppress(OSError):  # it may be removed meanwhile
            found += one.stat().st_size if one.is_file() else 0
    return found


def malformed(out: Path, count: int) -> Iterator[dict[str, Any]]:
    """Put mutated lines through a model's stream and count where they end."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests/serving/stream"))
    from mutations import mutated

    for one in ("hurt", "scored", "state"):
        shutil.rmtree(out / one, ignore_errors=True)
    publisher = LogPublisher(f"log://{out / 'hurt'}", Writer("feeder", "0"))
    publisher.resume(1)
    held: list[bytes] = []
    number = 0
    for payload in mutated(count):
        held.append(payload)
        if len(held) == 10_000:
            number += 1
            publisher.send(number, pa.array(held, pa.large_binary()))
            publisher.flush({})
            held.clear()
    chance = np.random.default_rng(0)
    amounts = chance.gamma(2.0, 30.0, 800)
    table = {
        "city": chance.choice(["Ulm", "Bonn", "Köln"], 800).tolist(),
        "amount": amounts.tolist(),
        "large": np.where(amounts > 60, "yes", "no").tolist(),
    }
    model = api.train(table, "large", baselines=(), recipe=NETWORKS["smallest"], minutes=0.2)
    work = api.pipeline(
        f"log://{out / 'hurt'}",
        model=model,
        to=f"log://{out / 'scored'}",
        time="at",
        window="1h",
        by=["city"],
        measure=["amount"],
        windows_to=f"log://{out / 'hurt-windows'}",
        state=out / "state",
        once=True,
    )
    shutil.rmtree(out / "hurt-windows", ignore_errors=True)
    begun = time.perf_counter()
    tally = api.stream(work)
    yield {
        "what": "malformed",
        "records": tally.records,
        "output": tally.rows,
        "dead_letters": tally.dead,
        "late": tally.late,
        "adds_up": tally.rows + tally.dead == tally.records == number * 10_000,
        "records_per_second": round(tally.records / (time.perf_counter() - begun)),
    }


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench-results/streams"))
    parser.add_argument("--only", default="catch-up,latency,memory,malformed")
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--feed", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.feed:
        print(json.dumps(feed(given.feed, str(given.data), given.rate, given.seconds)))
        return
    import torch

    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    made: Mapping[str, Iterator[dict[str, Any]]] = {
        "catch-up": catch_up(given.data, given.out, given.rows, given.rounds),
        "latency": latency(given.data, given.out, given.rate, given.seconds),
        "memory": memory(given.out, given.events, given.keys),
        "malformed": malformed(given.out, given.lines),
    }
    for name in given.only.split(","):
        for result in made[name]:
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
