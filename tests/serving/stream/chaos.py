"""Streams that are killed again and again: what feeds them, what kills them, what they left."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import servers
from processes import ONE_THREAD
from thalweg import api
from thalweg.core.errors import LostConnectionError
from thalweg.sources.streams import open_publisher, open_stream
from thalweg.sources.streams.base import Writer

START = 1_700_000_000

# Children are forked, so that what is slow to import is imported once. Each is killed at a random
# moment; the last one is left to finish.
KILLER = """
import json, os, random, signal, sys, time, traceback
import torch
from thalweg import api
import thalweg.models.model, thalweg.serving.stream.running, thalweg.stats.windows
if "target" in sys.argv[2]:  # what learns is slow to import
    import thalweg.serving.stream.learning, thalweg.training.online.start
    import thalweg.serving.stream.checkpoint
    thalweg.serving.stream.checkpoint.KEPT = 1_000_000  # so that all can be done again
torch.set_num_threads(1)
model, options, kills, processes, seed = (
    sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
)

def begin(once):
    child = os.fork()
    if child:
        return child
    try:
        work = api.pipeline(model=model or None, once=once, **options)
        api.stream(work)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(3)
    os._exit(0)

def check(child, status):
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit(f"a process ended by itself: {status}")

moments = random.Random(seed)
children = [begin(False) for _ in range(processes)]
for number in range(kills):
    time.sleep(moments.uniform(0.02, 1.0))
    victim = moments.randrange(processes)
    os.kill(children[victim], signal.SIGKILL)
    check(children[victim], os.waitpid(children[victim], 0)[1])
    children[victim] = begin(False)
print("killed", kills, flush=True)
sys.stdin.readline()
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
child = begin(True)
check(child, os.waitpid(child, 0)[1])
"""


def events(count: int, seed: int = 0) -> list[bytes]:
    """Make events as JSON: shuffled within two seconds, one in fifty poisoned."""
    random = np.random.default_rng(seed)
    cities = random.choice(["Ulm", "Bonn", "Kiel", "Köln"], count)
    amounts = np.round(random.gamma(2.0, 30.0, count), 2)
    times = START + np.arange(count) * 0.1 + random.uniform(-1, 1, count)
    made = []
    for number in range(count):
        row = {
            "event": number,
            "city": str(cities[number]),
            "amount": float(amounts[number]),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(times[number])),
        }
        text = json.dumps(row, ensure_ascii=False).encode()
        made.append(text[:-3] if number % 50 == 7 else text)
    return made


def train(folder: Path) -> Path:
    """Train a small model of events."""
    random = np.random.default_rng(1)
    amounts = random.gamma(2.0, 30.0, 800)
    table = pa.table(
        {
            "city": random.choice(["Ulm", "Bonn", "Kiel", "Köln"], 800),
            "amount": amounts,
            "large": np.where(amounts + random.normal(0, 5, 800) > 60, "yes", "no"),
        }
    )
    dials = {"members": 2, "width": 16, "embedding": 4}
    api.train(table, "large", recipe=dials, baselines=(), out=folder / "model")
    return folder / "model"


class System(ABC):
    """Where a test's events come from and its answers go to."""

    broken = True
    """Whether it takes what is no JSON."""

    @abstractmethod
    def options(self, run: str) -> dict[str, str]:
        """Give ``source``, ``to`` and ``windows_to``: outputs are a run's own."""

    @abstractmethod
    def send(self, payloads: list[bytes]) -> None:
        """Send events."""

    @abstractmethod
    def rows(self, run: str, output: str) -> Iterator[dict[str, Any]]:
        """Read what came out: ``to`` or ``windows_to``."""


class Messages(System):
    """A log or a broker, by the URIs of its streams: ``{}`` stands for a stream's name."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._publisher = open_publisher(pattern.format("events"), Writer("feeder", "0"))
        self._publisher.resume(1)
        self._batch = 0
        self._source = pattern.format("events")

    def fed_by(self, other: Messages) -> None:
        """Take events from another's stream of them, which is sent to by another way."""
        self._publisher, self._source = other._publisher, other._source.partition("stream=")[2]
        self._source = f"{self._pattern.partition('stream=')[0]}stream={self._source}"

    def options(self, run: str) -> dict[str, str]:
        names = {"to": f"rows-{run}", "windows_to": f"windows-{run}"}
        outlets = {option: self._pattern.format(name) for option, name in names.items()}
        return {"source": self._source, **outlets}

    def send(self, payloads: list[bytes]) -> None:
        self._batch += 1
        while True:
            try:
                self._publisher.send(self._batch, pa.array(payloads, pa.large_binary()))
                self._publisher.flush({})
            except LostConnectionError:
                if self._there() >= self._batch:
                    return
            else:
                return

    def _there(self) -> int:
        """Wait until the broker can be reached again; give the last batch that it has."""
        while True:
            time.sleep(0.2)
            with contextlib.suppress(LostConnectionError):
                return self._publisher.resume(1)

    def rows(self, run: str, output: str) -> Iterator[dict[str, Any]]:
        for payload in payloads(self.options(run)[output]):
            yield json.loads(payload)


class Tables(System):
    """Tables of a PostgreSQL server, by the URI of a database."""

    broken = False

    def __init__(self, uri: str) -> None:
        self._uri = uri
        columns = "id bigserial PRIMARY KEY, event bigint, city text, amount float8, at timestamptz"
        servers.run_postgresql(uri, f"CREATE TABLE events ({columns})")

    def options(self, run: str) -> dict[str, str]:
        return {
            "source": f"{self._uri}?table=events&key=id",
            "to": f"{self._uri}?table=rows_{run}",
            "windows_to": f"{self._uri}?table=windows_{run}",
        }

    def send(self, payloads: list[bytes]) -> None:
        import psycopg

        rows = [json.loads(one) for one in payloads if one.endswith(b"}")]
        insert = "INSERT INTO events (event, city, amount, at) VALUES "
        insert += "(%(event)s, %(city)s, %(amount)s, %(at)s)"
        with psycopg.connect(self._uri) as connection, connection.cursor() as cursor:
            cursor.executemany(insert, rows)

    def rows(self, run: str, output: str) -> Iterator[dict[str, Any]]:
        import psycopg
        from psycopg.rows import dict_row

        table = self.options(run)[output].partition("table=")[2]
        with psycopg.connect(self._uri, row_factory=dict_row) as connection:
            yield from connection.execute(f"SELECT * FROM {table}")


def payloads(uri: str) -> Iterator[bytes]:
    """Read all payloads of a stream."""
    with open_stream(uri, Path()) as stream:
        for partition in stream.partitions():
            after = None
            while (found := stream.fetch(partition, after)) is not None:
                yield from found.payloads.to_pylist()
                after = found.last


def survive(
    system: System,
    model: Path,
    folder: Path,
    *,
    kills: int,
    processes: int = 1,
    count: int = 3000,
    trouble: Callable[[], None] = lambda: None,
) -> None:
    """Feed a stream while it is killed, and compare what came out with an unbroken run.

    ``trouble`` runs beside, once, in a thread of its own.
    """
    sent = events(count)
    common = {
        "window": "10s",
        "by": ["city"],
        "measure": ["amount"],
        "time": "at",
        "lateness": "3s",
        "checkpoint": "200ms",
    }
    options = {**common, **system.options("killed"), "state": str(folder / "killed")}
    system.send(sent[:50])
    words = [sys.executable, "-c", KILLER, str(model), json.dumps(options)]
    killer = subprocess.Popen(
        [*words, str(kills), str(processes), "7"],
        env=ONE_THREAD,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = threading.Event()

    def listen() -> None:
        assert killer.stdout is not None
        killer.stdout.readline()
        killed.set()

    threading.Thread(target=listen, daemon=True).start()
    troubled = threading.Thread(target=trouble)
    troubled.start()
    rest = sent[50:]
    while rest:  # evenly over the time of the killing, and a last part behind it
        piece = max(1, count // (12 * max(kills, 1))) if not killed.is_set() else len(rest)
        piece = min(piece, len(rest))
        if len(rest) - piece < count // 20 and not killed.is_set():
            killed.wait(0.05)
            continue
        system.send(rest[:piece])
        rest = rest[piece:]
        killed.wait(0.05)
    killed.wait(600)
    troubled.join()
    said = killer.communicate("go\n", timeout=120)
    assert killer.returncode == 0, said[1][-3000:]

    unbroken = {**common, **system.options("unbroken"), "state": str(folder / "unbroken")}
    api.stream(api.pipeline(model=str(model), once=True, **unbroken))
    compare(system, folder, sent)


def lessons(count: int, seed: int = 0) -> list[bytes]:
    """Make events and their labels as JSON: some come at once, some later, a few never.

    What is asked changes after half of them, so that drift is found and a challenger begins.
    """
    random = np.random.default_rng(seed)
    cities = random.choice(["Ulm", "Bonn", "Kiel", "Köln"], count)
    amounts = np.round(random.gamma(2.0, 30.0, count), 2)
    large = (amounts > 60) != (np.arange(count) > count // 2)
    waiting: list[tuple[int, dict[str, Any]]] = []
    made = []
    for number in range(count):
        while waiting and waiting[0][0] <= number:
            made.append(waiting.pop(0)[1])
        row = {"event": number, "city": str(cities[number]), "amount": float(amounts[number])}
        label = {"large": "yes" if large[number] else "no"}
        if number % 3 == 0:
            row |= label
        elif number % 17:
            waiting.append((number + 20 + number % 3, {"event": number, **label}))
            waiting.sort(key=lambda one: one[0])
        made.append(row)
    made += [one for _, one in waiting]
    return [json.dumps(one, ensure_ascii=False).encode() for one in made]


def survive_learning(
    folder: Path, model: Path | None, *, kills: int, count: int = 2000, least: int = 0
) -> None:
    """Kill a stream that learns, and compare what it learned and said with what it should have."""
    sent = lessons(count)
    log = Messages(f"log://{folder}/{{}}")
    names = log.options("killed")
    options = {
        "source": names["source"],
        "to": names["to"],
        "state": str(folder / "killed"),
        "checkpoint": "200ms",
        "target": "large",
        "key": "event",
        "wait": "365d",
    }
    log.send(sent[:100])
    words = [sys.executable, "-c", KILLER, str(model or ""), json.dumps(options)]
    killer = subprocess.Popen(
        [*words, str(kills), "1", "7"],
        env=ONE_THREAD,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = threading.Event()

    def listen() -> None:
        assert killer.stdout is not None
        killer.stdout.readline()
        killed.set()

    threading.Thread(target=listen, daemon=True).start()
    rest = sent[100:]
    while rest:
        piece = len(rest) if killed.is_set() else max(1, len(sent) // (12 * max(kills, 1)))
        log.send(rest[:piece])
        rest = rest[piece:]
        killed.wait(0.05)
    killed.wait(1200)
    said = killer.communicate("go\n", timeout=300)
    assert killer.returncode == 0, said[1][-3000:]

    rows = list(log.rows("killed", "to"))
    events = [str(json.loads(one)["event"]) for one in sent if b"city" in one]
    assert [row["event"] for row in rows] == events
    whole = learned_at_the_end(folder / "killed")
    assert json.loads(whole[0])["seen"] > least
    # All of it done again in one go, from the first checkpoint and the same batches.
    again = folder / "again"
    shutil.copytree(folder / "killed", again)
    lane = again / "lanes" / "0"
    for place in sorted(lane.glob("checkpoint-*"))[1:]:
        shutil.rmtree(place)
    shutil.rmtree(again / "versions")
    api.stream(api.pipeline(model=model, once=True, **{**options, "state": str(again)}))
    assert learned_at_the_end(again) == whole
    if model is None:
        # And with batches of its own, into outputs of its own: nothing depends on how it was cut.
        other = log.options("unbroken")["to"]
        fresh = {**options, "to": other, "state": str(folder / "unbroken")}
        (folder / "unbroken").mkdir()
        known = json.loads((folder / "killed" / "pipeline.json").read_text())
        (folder / "unbroken" / "pipeline.json").write_text(json.dumps({**known, "name": "fresh"}))
        api.stream(api.pipeline(once=True, **fresh))
        assert learned_at_the_end(folder / "unbroken") == whole
        assert list(log.rows("unbroken", "to")) == rows


def learned_at_the_end(state: Path) -> tuple[str, dict[str, bytes]]:
    """Give what a stream had learned by the end: plain JSON, and the bytes of every array."""
    from thalweg.serving.stream import checkpoint
    from thalweg.training.online.base import State

    found = checkpoint.load_newest(state / "lanes" / "0", print)
    assert found is not None
    name = next(
        name for name, part in found.facts["tables"].items() if part == ["learning", "learned"]
    )
    state_of = State.from_bytes(found.tables[name].column(0)[0].as_py())
    arrays = {name: one.tobytes() for name, one in state_of.arrays.items()}
    return json.dumps(state_of.facts, sort_keys=True), arrays


def compare(system: System, folder: Path, sent: list[bytes]) -> None:
    """Check that every event is in one output, once, and the same as if nothing had happened."""
    got = {run: rows_of(system, run) for run in ("killed", "unbroken")}
    poisoned = [payload for payload in sent if not payload.endswith(b"}")]
    expected = {json.loads(payload)["event"] for payload in sent if payload.endswith(b"}")}
    for run, rows in got.items():
        assert Counter(row["event"] for row in rows) == Counter(expected), run
        if not system.broken:
            continue
        letters = [json.loads(one) for one in payloads(f"log://{folder / run / 'dead'}")]
        assert sorted(base64.b64decode(one["payload"]) for one in letters) == sorted(poisoned), run
    same = {row["event"]: row for row in got["unbroken"]}
    for row in got["killed"]:
        other = same[row["event"]]
        assert row["prediction"] == other["prediction"]
        assert abs(row["probability_yes"] - other["probability_yes"]) < 1e-5
    windows = {run: windows_of(system, run) for run in got}
    assert windows["killed"] == windows["unbroken"]
    assert sum(one["rows"] for one in windows["killed"]) == len(expected)


def rows_of(system: System, run: str) -> list[Mapping[str, Any]]:
    return list(system.rows(run, "to"))


def windows_of(system: System, run: str) -> list[Mapping[str, Any]]:
    rows = list(system.rows(run, "windows_to"))
    return sorted(rows, key=lambda row: (str(row["window_start"]), row["city"]))
