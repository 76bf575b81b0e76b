"""Clients of every kind ask without end while one version after another takes over."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fuzz
import hurt
import numpy as np
import orjson
import pyarrow as pa
import pytest
import running

from thalweg.models.compiled import CompiledModel

PROBABILITY = "probability_yes"
Answers = list[float | None]


def of_json(reply: fuzz.Reply) -> Answers:
    """Read predictions; a row with an error has none."""
    return [one.get(PROBABILITY) for one in orjson.loads(reply.body)["predictions"]]


def of_lines(reply: fuzz.Reply) -> Answers:
    """Read a prediction a line."""
    return [orjson.loads(line).get(PROBABILITY) for line in reply.body.splitlines()]


def of_arrow(reply: fuzz.Reply) -> Answers:
    """Read a column."""
    found: Answers = pa.ipc.open_stream(reply.body).read_all()[PROBABILITY].to_pylist()
    return found


def of_tensors(reply: fuzz.Reply) -> Answers:
    """Read an output."""
    outputs = {one["name"]: one for one in orjson.loads(reply.body)["outputs"]}
    found: Answers = outputs[PROBABILITY]["data"]
    return found


@dataclass
class Kind:
    """What one client asks again and again, and what each version says to it."""

    request: hurt.Request
    read: Callable[[fuzz.Reply], Answers]
    expected: dict[str, Answers] = field(default_factory=dict)
    status: int = 200

    def check(self, reply: fuzz.Reply) -> str:
        """Hold an answer to the version that it says it is of, and give that."""
        fuzz.check(reply, self.request)
        assert reply.status == self.status, (reply, self.request.name)
        version = reply.headers.get("x-thalweg-version", "")
        if self.status == 200:
            found, expected = self.read(reply), self.expected[version]
            assert len(found) == len(expected), (self.request.name, found)
            for one, other in zip(found, expected, strict=True):
                assert (one is None) == (other is None), (self.request.name, found, expected)
                assert one is None or abs(one - other) < 1e-5, (self.request.name, version)
        return version


def kinds(folders: tuple[Path, Path]) -> list[Kind]:
    """Make clients of every kind."""
    rows = running.rows_of(100)
    path, asked = "/v1/predict", {"content-type": hurt.JSON}
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows[:20])
    packed, head = hurt.tensors(rows[:5], binary=True)
    flat, _ = hurt.tensors(rows[:5], binary=False)
    infer = f"/v2/models/{running.NAME}/infer"
    arrow = {"content-type": hurt.ARROW}
    bad = [rows[0], 7, {"city": "nowhere", "amount": "many"}, {**rows[1], "amount": {"a": 1}}]
    found = [
        Kind(hurt.Request("row", path, json.dumps(rows[0]).encode(), asked), of_json),
        Kind(hurt.Request("rows", path, json.dumps(rows).encode(), asked), of_json),
        Kind(hurt.Request("lines", path, lines, {"content-type": hurt.NDJSON}), of_lines),
        Kind(hurt.Request("arrow", path, hurt.stream(pa.Table.from_pylist(rows)), arrow), of_arrow),
        Kind(hurt.Request("tensors", infer, flat, asked), of_tensors),
        Kind(hurt.Request("binary", infer, packed, {**asked, hurt.LENGTH: str(head)}), of_tensors),
        Kind(
            hurt.Request("explain", f"{path}?explain=true", json.dumps(rows[0]).encode(), asked),
            of_json,
        ),
        Kind(hurt.Request("bad", path, json.dumps(bad).encode(), asked), of_json),
    ]
    half = pa.Table.from_pylist([rows[0], {**rows[0], "city": "nowhere", "amount": None}])
    for folder in folders:
        model = CompiledModel.load(folder)
        told = of_table(model, pa.Table.from_pylist(rows))
        for kind, count in zip(found, (1, 100, 20, 100, 5, 5, 1), strict=False):
            kind.expected[model.identity] = told[:count]
        bare = half.slice(1).set_column(2, "member", pa.nulls(1)).set_column(3, "at", pa.nulls(1))
        found[-1].expected[model.identity] = [told[0], None, *of_table(model, bare), None]
    words = hurt.Request("words", path, b"not JSON", asked)
    return [*found, Kind(words, of_json, status=400)]


def of_table(model: CompiledModel, rows: pa.Table) -> Answers:
    """Predict in this process."""
    found: Answers = model.predict(rows).columns[PROBABILITY].to_pylist()
    return found


class Client(threading.Thread):
    """Asks the same over one connection until it is told to stop."""

    def __init__(self, port: int, kind: Kind, stop: threading.Event) -> None:
        super().__init__(name=kind.request.name, daemon=True)
        self._port, self._kind, self._stop_asking = port, kind, stop
        self.versions: Counter[str] = Counter()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Ask."""
        try:
            with fuzz.Wire(self._port) as wire:
                while not self._stop_asking.is_set():
                    self.versions[self._kind.check(wire.ask(self._kind.request))] += 1
        except BaseException as error:
            self.error = error
            self._stop_asking.set()


def versions_of(folders: tuple[Path, Path]) -> list[str]:
    """Name the versions."""
    return [CompiledModel.load(folder).identity for folder in folders]


def soaked(tmp_path: Path, seconds: float, every: float) -> dict[str, Any]:
    """Let all clients ask for some seconds, and swap as often; everything must be answered."""
    folders = (running.model(0), running.model(1))
    versions = versions_of(folders)
    place = tmp_path / "served"
    running.replaced(place, folders[0])
    stop = threading.Event()
    memory: list[float] = []
    with running.running(place) as server:
        clients = [Client(server.port, kind, stop) for kind in kinds(folders)]
        for client in clients:
            client.start()
        begun, swaps = time.monotonic(), 0
        while time.monotonic() - begun < seconds and not stop.is_set():
            if time.monotonic() - begun >= (swaps + 1) * every:
                swaps += 1
                running.replaced(place, folders[swaps % 2])
                before = clients[0].versions[versions[swaps % 2]]
                end = time.monotonic() + max(every, 20)
                while clients[0].versions[versions[swaps % 2]] == before and not stop.is_set():
                    assert time.monotonic() < end, f"swap {swaps} does not arrive"
                    stop.wait(0.05)
            memory.append(fuzz.resident(server.pid))
            stop.wait(0.2)
        stop.set()
        for client in clients:
            client.join(30)
            if client.error is not None:
                told = f"{client.name}: {client.error!r}; {server.complaints()[:3]}"
                raise AssertionError(told) from client.error
        assert server.complaints() == []
        assert server.stop() == 0
    return {
        "asked": {client.name: sum(client.versions.values()) for client in clients},
        "versions": sum((client.versions for client in clients), Counter()),
        "swaps": swaps,
        "memory": memory,
    }


def test_swaps_under_load_drop_nothing(tmp_path: Path) -> None:
    told = soaked(tmp_path, 7.0, 2.5)
    assert told["swaps"] >= 2
    assert all(told["asked"].values())
    assert set(versions_of((running.model(0), running.model(1)))) <= set(told["versions"])


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_ten_minutes_with_a_swap_every_ten_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = soaked(tmp_path, 600.0, 10.0)
    quarters = [float(np.median(one)) for one in np.array_split(np.array(told["memory"]), 4)]
    with capsys.disabled():
        line = f"{told['swaps']} swaps, {told['asked']}, MB by quarters {quarters}\n"
        sys.stdout.write(line)
    assert told["swaps"] >= 55
    assert quarters[3] < 1.03 * quarters[1] + 2
