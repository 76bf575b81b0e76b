"""A whole server over pretended models, and a client that can misbehave."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pretended import Pretended, homes
from thalweg.models.artifact import SEAL
from thalweg.models.compiled import CompiledModel
from thalweg.serving.http.app import App
from thalweg.serving.http.deployments import Deployments
from thalweg.serving.http.log import Log
from thalweg.serving.http.metrics import Metrics
from thalweg.serving.http.server import Server

ROW = {
    "size": 80.5,
    "rooms": 3,
    "town": "Ulm",
    "zone": 5,
    "garden": "yes",
    "day": "2024-03-01",
    "price": 300.0,
}


class Homes:
    """A pretended model that can be warmed up, broken and slowed down."""

    precision = "float32"

    def __init__(self, identity: str = "0123456789ab") -> None:
        self.identity = identity
        self._own: Pretended = homes()
        self.schema = self._own.schema
        self.decoder = self._own.decoder
        self.columns = self._own.columns
        self.feed = self._own.feed
        self.quick = self._own.quick
        self.before: Any = None

    def run(self, inputs: Mapping[str, Any]) -> Any:
        if self.before is not None:
            self.before(inputs)
        return self._own.run(inputs)

    def predict(self, rows: Any, folder: Path | None = None) -> None:
        self.run(self.feed(rows).inputs)


class Standing:
    """An application, with what it tells and the models behind it."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.lines = io.StringIO()
        self.log = Log(self.lines, lines="json")
        self.metrics = Metrics(App.paths())
        self.models: list[Homes] = []
        path = folder / "homes"
        path.mkdir(exist_ok=True)
        (path / SEAL).write_text("0")
        words = more.pop("deployments", {})
        self.deployments = Deployments(
            [f"homes={path}"], self._load, log=self.log, metrics=self.metrics, **words
        )
        self.app = App(self.deployments, log=self.log, metrics=self.metrics, **more)

    def _load(self, folder: Path) -> CompiledModel:
        self.models.append(Homes(f"{len(self.models):012x}"))
        return cast("CompiledModel", self.models[-1])

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]


class Client:
    """A connection that sends what it is told, byte by byte."""

    def __init__(self, port: int, seconds: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.rest = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> None:
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\n"
        if body is not None:
            head += f"content-length: {len(body)}\r\n"
        head += "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
        self.send(head.encode() + b"\r\n" + (body or b""))

    def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Read one answer."""
        while b"\r\n\r\n" not in self.rest:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(self.rest)
            self.rest += more
        first, _, self.rest = self.rest.partition(b"\r\n\r\n")
        status, *lines = first.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = 0 if head else int(headers.get("content-length", 0))
        while len(self.rest) < length:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(self.rest)
            self.rest += more
        body, self.rest = self.rest[:length], self.rest[length:]
        return int(status.split()[1]), headers, body

    def closed(self) -> bool:
        """Wait until the server closes the connection."""
        try:
            return self.rest == b"" and self.socket.recv(65536) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()

    def __del__(self) -> None:
        if hasattr(self, "socket"):
            self.socket.close()


class Site:
    """A server that runs, and a client of it."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.standing = Standing(folder, **more)
        self.server = Server(
            self.standing.app,
            port=0,
            log=self.standing.log,
            limits=more.get("limits"),
        )
        self.server.start()
        self.client = Client(self.server.port)

    @property
    def model(self) -> Any:
        return self.standing.models[0]

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        self.client.ask(method, path, body, **headers)
        found = self.client.answer(head=method == "HEAD")
        if found[1].get("connection") == "close":
            self.client.close()
            self.client = Client(self.server.port)
        return found

    def told(self, *asked: Any, **headers: str) -> tuple[int, Any]:
        status, found, body = self.ask(*asked, **headers)
        assert found["content-type"] == "application/json"
        return status, json.loads(body)
