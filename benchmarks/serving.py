"""A model behind HTTP beside what others serve: raw rows for Thalweg, ready-made floats for them.

    python benchmarks/serving.py --data ../shared/data --out bench-results/serving
    python benchmarks/serving.py --model MODEL --only one,arrow,idle --rounds 3 --seconds 5

One model of Adult's income, one worker and one thread each, all on loopback and in the same run:

- ``thalweg serve``: a raw row of JSON in, cleaned, encoded and answered;
- a bare FastAPI endpoint that runs the same network with ONNX Runtime on ready-made floats;
- MLServer with a runtime of its own for that network, LitServe with that network.

``one``: a row in each request, from wrk, over 1 and over 32 connections; whoever is not measured is
stopped meanwhile. Rounds alternate and medians count: a noisy machine is noisy for all. ``arrow``:
10,000 rows as one Arrow stream, beside ``predict`` in this process. ``idle``: processor time and
memory of a server that nobody asks. Each is started three times, from the command to its first
answer; the median counts. Then each limit, and whether it holds.

The others are installed into environments of their own in the folder of results, the first time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(Path(__file__).parent / "serving"))
from machine import Server, free_port, load
from network import export, floats_of
from peers import PACKAGES, answers_of, body_of, environment, rival

from thalweg import api
from thalweg.models.model import Model

ROOT = Path(__file__).absolute().parents[1]
OURS = "thalweg"
TARGET = "income"
ARROW = "application/vnd.apache.arrow.stream"
CONNECTIONS = (1, 32)
BODIES = 200
STARTS = 3

Found = dict[str, dict[str, float]]


def trained(data: Path, out: Path) -> Path:
    """Train a model of the income, once."""
    folder = out / "adult"
    if not folder.exists():
        path = data / "tabular/adult_train.parquet"
        api.train(path, TARGET, out=folder, minutes=1, baselines=())
    return folder


def ours(given: argparse.Namespace, body: bytes) -> Server:
    """Give Thalweg's server, not started yet."""
    port = free_port()
    python = python_of(given.python, given.out / "environments")
    words = given.command.format(model=given.model, port=port).split()
    return Server([python, *words], port, "/v1/predict", body)


def python_of(given: str | None, folder: Path) -> str:
    """Name the Python that serves: by default one of an environment without torch."""
    if given:
        return given
    more = ["--constraint", str(ROOT / "constraints.txt"), "--editable"]
    return str(environment(OURS, folder, (f"{ROOT}[serve]",), *more) / "python")


def start(
    stack: ExitStack,
    model: Model,
    rows: pa.RecordBatch,
    names: list[str],
    given: argparse.Namespace,
) -> tuple[dict[str, Server], dict[str, Path]]:
    """Start everyone, check that all say the same, and write what wrk asks them."""
    out: Path = given.out
    plain = rows.to_pylist()
    floats = floats_of(model, rows).tolist()
    network = out / "network.onnx"
    export(model, rows, network)
    with torch.inference_mode():
        expected = model.predict(rows).columns[f"probability_{model.classes[-1]}"].to_numpy()
    servers, bodies = {}, {}
    for name in names:
        lines = [json.dumps(row) for row in plain]
        if name == OURS:
            server = ours(given, lines[0].encode())
        else:
            lines = [body_of(name, row) for row in floats]
            server = rival(name, network, floats[0], out / "environments")
        bodies[name] = out / f"{name}.bodies"
        bodies[name].write_text("\n".join(lines) + "\n")
        starting = []
        for _ in range(STARTS - 1):
            with server:
                starting.append(server.starting)
        servers[name] = stack.enter_context(server)
        server.starting = statistics.median([*starting, server.starting])
        told = []
        for line in lines[:50]:
            status, answer = server.ask(line.encode())
            assert status == 200, answer
            if name == OURS:
                told.append(answer["predictions"][0][f"probability_{model.classes[-1]}"])
            else:
                told.append(answers_of(name, answer)[-1])
        if name == OURS:
            assert np.abs(np.array(told) - expected[:50]).max() < 1e-5
        else:  # before calibration: in the same order
            assert (np.argsort(told) == np.argsort(expected[:50])).mean() > 0.9
        server.pause()
        print(f"{name:9s} answers after {server.starting:.2f} s", file=sys.stderr, flush=True)
    return servers, bodies


def one(
    servers: Mapping[str, Server], bodies: Mapping[str, Path], rounds: int, seconds: float
) -> Found:
    """Ask for one row at a time, in turn, and give medians by server and connections."""
    told: dict[tuple[str, int], list[dict[str, float]]] = {}
    for number in range(-1, rounds):  # the first is to warm up
        for name, server in servers.items():
            server.resume()
            for connections in CONNECTIONS:
                found = load(server, bodies[name], connections, seconds if number >= 0 else 1)
                assert not found["refused"] + found["broken"], (name, found)
                if number >= 0:
                    told.setdefault((name, connections), []).append(found)
            server.pause()
    result: Found = {}
    for (name, connections), all_found in told.items():
        result[f"{name} {connections}"] = {
            key: statistics.median(found[key] for found in all_found) for key in all_found[0]
        }
    return result


def show(servers: Mapping[str, Server], found: Found) -> None:
    """Print the table."""
    print(f"{'':10s}{'conn':>5s}{'p50 ms':>9s}{'p99 ms':>9s}{'rps':>9s}{'CPU ms':>8s}", end="")
    print(f"{'MB':>7s}{'start s':>9s}")
    for connections in CONNECTIONS:
        for name, server in servers.items():
            told = found[f"{name} {connections}"]
            print(
                f"{name:10s}{connections:5d}{told['p50']:9.3f}{told['p99']:9.3f}"
                f"{told['rps']:9,.0f}{told['cpu']:8.3f}{server.memory():7.0f}{server.starting:9.2f}"
            )


def limits_of_one(found: Found) -> Iterator[tuple[str, float, str, float]]:
    """Give what is asked of single rows: name, ratio, sign, limit."""
    ratio = {
        (name, key, connections): found[f"{OURS} {connections}"][key]
        / max(found[f"{name} {connections}"][key], 1e-9)
        for name in PACKAGES
        for connections in CONNECTIONS
        for key in ("p50", "p99", "rps")
        if f"{name} {connections}" in found
    }
    if ("bare", "p50", 1) in ratio:
        yield "p50 over 1 connection / bare", ratio["bare", "p50", 1], "<=", 1.3
        yield "requests/s over 32 / bare", ratio["bare", "rps", 32], ">=", 0.9
        yield "p99 over 32 / bare", ratio["bare", "p99", 32], "<", 3.0
    for name in ("mlserver", "litserve"):
        for connections in CONNECTIONS:
            if (name, "rps", connections) in ratio:
                told = f"requests/s over {connections} / {name}"
                yield told, ratio[name, "rps", connections], ">=", 2.0


def arrow(server: Server, model: Model, table: pa.Table, rounds: int) -> dict[str, float]:
    """Send rows as one Arrow stream, and predict them in this process, in turn."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue().to_pybytes()
    headers = {"Content-Type": ARROW, "Accept": ARROW}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    torch.set_num_threads(1)
    expected = model.predict(table).columns
    column = f"probability_{model.classes[-1]}"
    taken: dict[str, list[float]] = {"predict": [], "served": [], "cpu": []}
    server.resume()
    for number in range(rounds + 1):
        begun = time.perf_counter()
        model.predict(table)
        middle, used = time.perf_counter(), server.processor()
        connection.request("POST", server.path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        end = time.perf_counter()
        assert response.status == 200, answer[:300]
        if number:
            taken["predict"].append(middle - begun)
            taken["served"].append(end - middle)
            taken["cpu"].append(server.processor() - used)
    server.pause()
    answers = pa.ipc.open_stream(answer).read_all()
    apart = np.abs(answers[column].to_numpy() - expected[column].to_numpy()).max()
    assert len(answers) == len(table), len(answers)
    assert apart < 1e-5, apart
    ratios = [p / s for p, s in zip(taken["predict"], taken["served"], strict=True)]
    return {
        "rows": len(table),
        "predict_rows_per_second": len(table) / statistics.median(taken["predict"]),
        "served_rows_per_second": len(table) / statistics.median(taken["served"]),
        "served_rows_per_cpu_second": len(table) * rounds / sum(taken["cpu"]),
        "ratio": statistics.median(ratios),
    }


def idle(server: Server, seconds: float) -> dict[str, float]:
    """Leave a server alone."""
    server.resume()
    time.sleep(1)
    before = server.processor()
    time.sleep(seconds)
    used = server.processor() - before
    server.pause()
    return {"cores": used / seconds, "megabytes": server.memory(), "starting": server.starting}


def measured(
    given: argparse.Namespace, model: Model, rows: pa.Table
) -> tuple[dict[str, Any], list[tuple[str, float, str, float]]]:
    """Do what is asked for."""
    parts = given.only.split(",")
    names = [name for name in (OURS, *PACKAGES) if name in given.servers.split(",")]
    if "one" not in parts:
        names = [OURS]
    found: dict[str, Any] = {}
    limits: list[tuple[str, float, str, float]] = []
    few = rows.slice(0, BODIES).combine_chunks().to_batches()[0]
    with ExitStack() as stack:
        servers, bodies = start(stack, model, few, names, given)
        if OURS in servers and "idle" in parts:
            found["idle"] = idle(servers[OURS], given.idle)
            limits.append(("idle, cores", found["idle"]["cores"], "<", 0.01))
            limits.append(("idle, MB", found["idle"]["megabytes"], "<", 200.0))
            limits.append(("first answer, s", found["idle"]["starting"], "<", 1.0))
        if "one" in parts:
            found["one"] = one(servers, bodies, given.rounds, given.seconds)
            show(servers, found["one"])
            if OURS in servers:
                limits.extend(limits_of_one(found["one"]))
        if OURS in servers and "arrow" in parts:
            table = rows.slice(0, 10_000).combine_chunks()
            found["arrow"] = arrow(servers[OURS], model, table, 3 * given.rounds)
            limits.append(("Arrow, rows/s / predict", found["arrow"]["ratio"], ">=", 0.8))
        found["starting"] = {name: server.starting for name, server in servers.items()}
        found["megabytes"] = {name: server.memory() for name, server in servers.items()}
    return found, limits


def holds(value: float, sign: str, limit: float) -> bool:
    """Compare."""
    return {"<=": value <= limit, "<": value < limit, ">=": value >= limit}[sign]


def main() -> None:
    """Measure what is asked for, print it, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench-results/serving"))
    parser.add_argument("--model", type=Path, help="of Adult's income; one is trained by default")
    parser.add_argument("--python", help="that serves; an environment without torch by default")
    parser.add_argument("--command", default="-m thalweg serve {model} --port {port}")
    parser.add_argument("--only", default="one,arrow,idle")
    parser.add_argument("--servers", default=",".join((OURS, *PACKAGES)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--idle", type=float, default=20.0)
    given = parser.parse_args()
    given.out = given.out.absolute()
    given.out.mkdir(parents=True, exist_ok=True)
    given.model = (given.model or trained(given.data, given.out)).absolute()
    if not (given.model / "model.onnx").exists() and OURS in given.servers:
        subprocess.run(  # noqa: S603
            [sys.executable, "-m", "thalweg", "compile", str(given.model)], check=True
        )
    rows = pq.read_table(given.data / "tabular/adult_test.parquet").drop_columns([TARGET])
    found, limits = measured(given, Model.load(given.model), rows)
    for name, value, sign, limit in limits:
        verdict = "holds" if holds(value, sign, limit) else "DOES NOT HOLD"
        print(f"{name:32s}{value:8.3f}   limit {sign} {limit:g}   {verdict}")
    found["limits"] = [
        {
            "what": name,
            "value": value,
            "limit": f"{sign} {limit:g}",
            "holds": holds(value, sign, limit),
        }
        for name, value, sign, limit in limits
    ]
    (given.out / "serving.json").write_text(json.dumps(found, indent=2))
    print(json.dumps({"what": "serving", **found}))


if __name__ == "__main__":
    main()
