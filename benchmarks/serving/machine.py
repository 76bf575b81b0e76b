"""A server as a measured thing: started, stopped meanwhile, its processor time and its memory."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

TICKS = os.sysconf("SC_CLK_TCK")
LUA = Path(__file__).parent / "post.lua"


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def family(pid: int) -> list[int]:
    """Name a process and all that it started."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found.extend(parents.get(one, []))
    return found


class Server:
    """A server and the question that shows that it answers.

    Parameters
    ----------
    words, environment, folder
        How it is started: one thread of arithmetic, and compiled Python is kept, as for users.
    port, path, body, content
        What is posted to it.
    """

    def __init__(
        self,
        words: Sequence[str],
        port: int,
        path: str,
        body: bytes,
        *,
        content: str = "application/json",
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.port, self.path, self.body, self.content = port, path, body, content
        self._words, self._folder = list(words), folder
        kept = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
        self._environment = {
            **kept,
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            **(environment or {}),
        }
        self.starting = 0.0

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile("w+")
        begun = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: S603
            self._words,
            env=self._environment,
            cwd=self._folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while not self._answers():
            if self._process.poll() is not None or time.perf_counter() - begun > 120:
                self._log.seek(0)
                text = self._log.read()
                self.__exit__()
                message = f"{' '.join(self._words)} does not answer:\n{text[-3000:]}"
                raise RuntimeError(message)
            time.sleep(0.005)
        self.starting = time.perf_counter() - begun
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._signal(signal.SIGKILL)  # whoever it left behind
        self._log.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            return self.ask()[0] == 200
        except OSError:
            return False

    def ask(self, body: bytes | None = None) -> tuple[int, Any]:
        """Post a body and give the status and the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Content-Type": self.content}
            connection.request("POST", self.path, body or self.body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (ValueError, http.client.HTTPException) as error:
            raise OSError(error) from None
        finally:
            connection.close()

    def pause(self) -> None:
        """Stop all of its processes."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def processor(self) -> float:
        """Tell the seconds of processor time of all of its processes."""
        ticks = 0
        for pid in family(self._process.pid):
            try:
                told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += int(told[11]) + int(told[12])
        return ticks / TICKS

    def memory(self) -> float:
        """Tell the resident memory of all of its processes in MB; what they share counts once."""
        total = 0
        members = family(self._process.pid)
        name = "status" if len(members) == 1 else "smaps_rollup"
        for pid in members:
            try:
                lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
            except OSError:
                continue
            field = "VmRSS:" if name == "status" else "Pss:"
            total += next(int(one.split()[1]) for one in lines if one.startswith(field))
        return total * 1024 / 1e6


def load(server: Server, bodies: Path, connections: int, seconds: float) -> dict[str, float]:
    """Let wrk ask for some seconds.

    Returns
    -------
    dict
        ``rps``, milliseconds at ``p50`` ``p90`` ``p99`` and at ``most``, ``cpu`` (milliseconds of
        the server's processor time for a request); ``refused`` and ``broken`` requests.
    """
    url = f"http://127.0.0.1:{server.port}{server.path}"
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s"]
    words += ["-s", str(LUA), url, "--", str(bodies), server.content]
    before = server.processor()
    ended = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603
    used = server.processor() - before
    told: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    told["rps"] = told["requests"] / told.pop("seconds")
    told["cpu"] = used * 1e3 / max(told.pop("requests"), 1)
    return told
