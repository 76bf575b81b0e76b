from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from standing import Client, Standing
from thalweg.core.errors import OptionError
from thalweg.serving.http.exchange import Receive, Scope, Send
from thalweg.serving.http.limits import Limits
from thalweg.serving.http.place import Certificate, is_loopback, listen, require_safe
from thalweg.serving.http.server import Server


class Still:
    """Answers nothing much, and remembers what became of it."""

    def __init__(self, error: Exception | None = None, pause: float = 0.0) -> None:
        self.life: list[str] = []
        self.pause = pause
        self.error = error

    async def start(self) -> None:
        self.life.append("start")
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        self.life.append("close")

    def drain(self) -> None:
        self.life.append("drain")

    def told(self) -> dict[str, object]:
        return {"models": ["still"]}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.pause:
            self.life.append("asked")
            await asyncio.sleep(self.pause)
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", chain, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return Certificate(chain, key)


def test_it_starts_tells_that_it_is_ready_and_stops(tmp_path: Path) -> None:
    standing = Standing(tmp_path)
    server = Server(standing.app, port=0, log=standing.log)
    assert not standing.models
    url = server.start()
    assert url == f"http://127.0.0.1:{server.port}"
    ready = [one for one in standing.events() if one["event"] == "ready"]
    assert [one["url"] for one in ready] == [url]
    assert ready[0]["models"] == ["homes=000000000000"]
    client = Client(server.port)
    client.ask("GET", "/readyz")
    assert client.answer()[0] == 200
    client.close()
    server.stop()
    assert standing.events()[-1]["event"] == "stopped"
    with pytest.raises(ConnectionError):
        Client(server.port)


def test_an_application_that_cannot_start_ends_it_with_its_own_error() -> None:
    still = Still(OptionError("no model", "one"))
    server = Server(still, port=0)
    with pytest.raises(OptionError, match="no model; expected one"):
        server.start()
    assert still.life == ["start", "close"]
    listen("127.0.0.1", server.port).close()


def test_the_end_has_an_order() -> None:
    still = Still()
    server = Server(still, port=0)
    server.start()
    server.stop()
    assert still.life == ["start", "drain", "close"]


def test_a_port_in_use_is_told_in_one_line() -> None:
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(OptionError) as caught:
        Server(Still(), port=port)
    assert str(caught.value) == (
        f"port {port} of '127.0.0.1' is in use; expected one that is free. "
        "Choose another with --port; 0 takes any that is free."
    )
    taken.close()


@pytest.mark.parametrize(
    ("host", "port", "why"),
    [
        ("127.0.0.1", 70_000, "the port is 70000"),
        ("no.such.host.invalid", 0, "is unknown"),
        ("192.0.2.1", 0, "is no port of this machine"),
    ],
)
def test_other_ports_that_cannot_be_opened(host: str, port: int, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        listen(host, port)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "example.invalid"])  # noqa: S104 - refused
@pytest.mark.parametrize(
    ("keys", "tls", "lacking"),
    [(False, False, "keys and TLS"), (True, False, "TLS"), (False, True, "keys")],
)
def test_other_machines_are_not_served_without_keys_and_tls(
    host: str, keys: bool, tls: bool, lacking: str
) -> None:
    with pytest.raises(OptionError, match=f"without {lacking};"):
        require_safe(host, keys=keys, tls=tls)
    require_safe(host, keys=keys, tls=tls, exposed=True)
    require_safe(host, keys=True, tls=True)
    if not (keys or tls):
        with pytest.raises(OptionError, match="open to other machines"):
            Server(Still(), host=host, port=0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_alone_is_served_without_them(host: str) -> None:
    require_safe(host, keys=False, tls=False)
    assert is_loopback(host)


def test_tls_is_spoken_and_nothing_older(certificate: Certificate) -> None:
    server = Server(Still(), port=0, certificate=certificate)
    url = server.start()
    assert url.startswith("https://")
    trusting = ssl.create_default_context(cafile=str(certificate.chain))
    client = HTTPSConnection("localhost", server.port, context=trusting)
    client.request("GET", "/")
    assert client.getresponse().read() == b"ok"
    client.close()
    plain = Client(server.port)
    plain.ask("GET", "/")
    assert plain.closed()
    plain.close()
    server.stop()


def test_who_only_begins_to_greet_is_counted(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thalweg.serving.http.server._HANDSHAKE", 1.0)
    server = Server(Still(), port=0, certificate=certificate, limits=Limits(connections=3))
    server.start()
    trusting = ssl.create_default_context(cafile=str(certificate.chain))

    def asked() -> bytes:
        client = HTTPSConnection("localhost", server.port, context=trusting, timeout=10)
        try:
            client.request("GET", "/")
            return client.getresponse().read()
        finally:
            client.close()

    def asked_soon() -> bytes:
        for _ in range(100):
            with suppress(OSError):
                return asked()
            time.sleep(0.02)
        pytest.fail("places that became free stayed taken")

    half = [Client(server.port) for _ in range(3)]
    half[0].send(bytes.fromhex("16030100a5010000a10303"))
    more = [Client(server.port, seconds=0.5) for _ in range(5)]
    assert all(one.closed() for one in more)
    with pytest.raises(OSError, match=r"."):
        asked()
    assert all(one.closed() for one in half)  # they took too long
    assert asked_soon() == b"ok"
    half = [Client(server.port) for _ in range(2)]
    assert asked_soon() == b"ok"
    start = time.monotonic()
    server.stop()
    assert time.monotonic() - start < 0.9
    assert all(one.closed() for one in half)


def test_a_request_with_tls_is_finished_at_the_end(certificate: Certificate) -> None:
    still = Still(pause=0.5)
    server = Server(still, port=0, certificate=certificate)
    server.start()
    trusting = ssl.create_default_context(cafile=str(certificate.chain))
    client = HTTPSConnection("localhost", server.port, context=trusting, timeout=10)
    client.request("GET", "/")
    while "asked" not in still.life:
        time.sleep(0.01)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    assert client.getresponse().read() == b"ok"
    client.close()
    stopping.join(10)
    assert not stopping.is_alive()
    assert still.life[-2:] == ["drain", "close"]


def test_a_certificate_that_cannot_be_used_is_told_in_one_line(
    certificate: Certificate, tmp_path: Path
) -> None:
    other = tmp_path / "key.pem"
    command = ["openssl", "genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run([*command, "-out", other], check=True, capture_output=True)
    locked = tmp_path / "locked.pem"
    subprocess.run(
        [
            "openssl",
            "pkey",
            "-in",
            certificate.key,
            "-aes256",
            "-passout",
            "pass:x",
            "-out",
            locked,
        ],
        check=True,
        capture_output=True,
    )
    for wrong in (other, locked):
        with pytest.raises(OptionError, match=r"cannot be used \(.+\); expected PEM files"):
            Server(Still(), port=0, certificate=Certificate(certificate.chain, wrong))
    for wrong in (tmp_path / "none.pem", tmp_path):
        with pytest.raises(OptionError, match=f"there is no file {wrong}; expected PEM files"):
            Server(Still(), port=0, certificate=Certificate(certificate.chain, wrong))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_in_order(tmp_path: Path, number: signal.Signals) -> None:
    program = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from standing import Standing
from thalweg.serving.http.log import Log
from thalweg.serving.http.server import Server
standing = Standing(Path(sys.argv[1]))
Server(standing.app, port=0, log=Log(sys.stdout, lines="json")).run()
print("the end", flush=True)
"""
    tests = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), tests],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert ready["event"] == "ready"
    client = Client(int(ready["url"].rpartition(":")[2]))
    client.ask("GET", "/healthz")
    assert client.answer()[0] == 200
    process.send_signal(number)
    rest = process.stdout.read().splitlines()
    process.stdout.close()
    assert process.wait(20) == 0
    assert json.loads(rest[0])["event"] == "stopped"
    assert rest[1] == "the end"


def test_nothing_heavy_is_loaded() -> None:
    program = """
import sys
import thalweg.serving.http.app, thalweg.serving.http.server
print(*sorted({"torch", "scipy", "polars", "pandas", "sklearn"} & {*sys.modules}))
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == ""


def test_a_free_port_is_really_listened_at() -> None:
    opened = listen("localhost", 0)
    assert opened.getsockname()[1] > 0
    with socket.socket(opened.family) as client:
        client.settimeout(5)
        client.connect(opened.getsockname())
    opened.close()
