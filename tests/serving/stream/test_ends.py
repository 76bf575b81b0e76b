"""How streams begin and end: nothing before they run, and more after they have ended."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import chaos
import pytest

from thalweg import api
from thalweg.core.errors import SourceError
from thalweg.sources.streams.log import Log


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def append(*seconds: int) -> None:
    with Log(Path("events"), 1, "json") as log:
        log.append([json.dumps({"at": 1_700_000_000 + one}).encode() for one in seconds])


def counted() -> int:
    return sum(json.loads(one)["rows"] for one in chaos.payloads("log://out"))


def test_windows_open_again_after_the_end() -> None:
    append(0, 1, 2)
    run = {"window": "10s", "time": "at", "state": "state", "once": True}
    assert api.watch("log://events", "log://out", **run).windows == 1  # type: ignore[arg-type]
    append(60, 61, 75)
    tally = api.watch("log://events", "log://out", **run)  # type: ignore[arg-type]
    assert (tally.late, counted()) == (0, 6)


def test_an_explanation_leaves_nothing_behind(folder: Path) -> None:
    append(0)
    before = sorted(folder.rglob("*"))
    work = api.pipeline("log://events", window="1m", to="log://out", late_to="late/")
    assert set(api.explain_stream(work)["outputs"]) == {"windows", "late", "dead"}
    assert sorted(folder.rglob("*")) == before


def test_an_output_that_is_ahead_of_the_state_is_refused() -> None:
    append(0, 60, 120)
    run = {"window": "10s", "time": "at", "state": "state", "once": True}
    api.watch("log://events", "log://out", **run)  # type: ignore[arg-type]
    shutil.rmtree("state/lanes")
    with pytest.raises(SourceError, match=r"has batch .* Restore the whole of it"):
        api.watch("log://events", "log://out", **run)  # type: ignore[arg-type]
    assert counted() == 3


def test_standard_input_is_read_to_the_last_line() -> None:
    words = ["-m", "thalweg", "watch", "--from", "-", "--window", "1h", "--time", "at", "--quiet"]
    with subprocess.Popen(
        [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stdin is not None
        assert watch.stdout is not None
        for number in range(20_000):  # in pieces that end in the middle of a line
            row = {"at": 1_700_000_000 + number / 1000, "n": number}
            watch.stdin.write(json.dumps(row) + "\n")
        watch.stdin.close()
        (window,) = [json.loads(line) for line in watch.stdout.read().splitlines()]
    assert watch.returncode == 0
    assert (window["rows"], window["n_max"]) == (20_000, 19_999)
