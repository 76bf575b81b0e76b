"""What the OpenAPI document promises, asked by machine: schemathesis against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import running

import processes

HOOKS = '''
import schemathesis

@schemathesis.serializer("application/x-ndjson", "application/vnd.apache.arrow.stream")
def lines(context, value):
    """Send what was made up as it is: bytes, or JSON a line."""
    import json

    if isinstance(value, bytes):
        return value
    rows = value if isinstance(value, list) else [value]
    return "".join(json.dumps(row) + "\\\\n" for row in rows).encode()
'''

# A row's wrong cells are answered at that row, and an order may come at the wrong moment.
LEFT_OUT = "positive_data_acceptance,negative_data_rejection"


def run(folder: Path, port: int, *more: str) -> None:
    """Hold a server to its document."""
    (folder / "serializers.py").write_text(HOOKS)
    program = Path(sys.executable).with_name("schemathesis")
    words = [str(program), "run", f"http://127.0.0.1:{port}/openapi.json", "--no-color"]
    words += ["--exclude-checks", LEFT_OUT, "--generation-database", "none"]
    words += ["--continue-on-failure", "--warnings", "off", "--seed", "1", *more]
    environment = {**processes.ONE_THREAD, "SCHEMATHESIS_HOOKS": "serializers"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), environment["PYTHONPATH"]])
    ended = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]


def test_the_document_holds(tmp_path: Path) -> None:
    with running.running(running.model()) as server:
        run(tmp_path, server.port, "--phases", "examples,coverage,fuzzing", "--max-examples", "3")
        assert server.complaints() == []


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_document_holds_for_ten_minutes(tmp_path: Path) -> None:
    with running.running(running.model()) as server:
        run(tmp_path, server.port, "--max-examples", "300", "--max-time", "600")
        assert server.complaints() == []
