"""The rivals: how each is installed, started and asked."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

from machine import Server, free_port

HERE = Path(__file__).parent

PACKAGES = {
    "bare": ("fastapi", "uvicorn", "uvloop", "httptools", "onnxruntime", "numpy"),
    "mlserver": ("mlserver==1.7.1", "onnxruntime"),
    "litserve": ("torch==2.13.0", "litserve==0.2.19", "onnxruntime", "uvloop", "httptools"),
}
"""What a rival's environment holds."""


def environment(name: str, folder: Path, packages: tuple[str, ...], *more: str) -> Path:
    """Install packages into an environment of their own, once, and give its folder of programs."""
    place = folder / name
    done = place / "installed.txt"
    wanted = "\n".join(packages)
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {', '.join(packages)}", file=sys.stderr, flush=True)
        venv.create(place, with_pip=True)
        words = [str(place / "bin/python"), "-m", "pip", "install", "--quiet", *more, *packages]
        subprocess.run(words, check=True)  # noqa: S603
        done.write_text(wanted)
    return place / "bin"


def rival(name: str, network: Path, floats: list[float], folder: Path) -> Server:
    """Give a rival that is not started yet."""
    programs = environment(name, folder, PACKAGES[name])
    port = free_port()
    where = {"NETWORK": str(network.absolute())}
    body = json.dumps({"floats": floats}).encode()
    if name == "bare":
        words = [str(programs / "uvicorn"), "--app-dir", str(HERE), "--port", str(port)]
        words += ["--log-level", "warning", "--no-access-log", "bare:app"]
        return Server(words, port, "/predict", body, environment=where)
    if name == "litserve":
        words = [str(programs / "python"), str(HERE / "litserve_app.py"), str(port)]
        return Server(words, port, "/predict", body, environment=where)
    place = folder / "mlserver-model"
    place.mkdir(exist_ok=True)
    settings = {
        "debug": False,
        "parallel_workers": 0,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
    }
    model = {"name": "adult", "implementation": "mlserver_runtime.Network"}
    (place / "settings.json").write_text(json.dumps(settings))
    (place / "model-settings.json").write_text(json.dumps(model))
    tensor = {"name": "floats", "datatype": "FP32", "shape": [1, len(floats)], "data": floats}
    return Server(
        [str(programs / "mlserver"), "start", str(place)],
        port,
        "/v2/models/adult/infer",
        json.dumps({"inputs": [tensor]}).encode(),
        environment={**where, "PYTHONPATH": str(HERE)},
        folder=place,
    )


def body_of(name: str, floats: list[float]) -> str:
    """Write a row as a rival wants it."""
    if name != "mlserver":
        return json.dumps({"floats": floats})
    tensor = {"name": "floats", "datatype": "FP32", "shape": [1, len(floats)], "data": floats}
    return json.dumps({"inputs": [tensor]})


def answers_of(name: str, told: dict[str, list[dict[str, list[float]]]]) -> list[float]:
    """Read a rival's probabilities."""
    return told["outputs"][0]["data"] if name == "mlserver" else told["answers"]  # type: ignore[return-value]
