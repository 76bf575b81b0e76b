"""The verbs over streams: what they answer, and what they say of bad input."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from thalweg.cli.main import main
from thalweg.sources.streams.log import Log

Captured = pytest.CaptureFixture[str]

VERBS = ("stream", "watch", "redrive", "publish")


def table(count: int = 200) -> pl.DataFrame:
    random = np.random.default_rng(0)
    amount = random.gamma(2.0, 30.0, count).round(2)
    return pl.DataFrame(
        {
            "n": np.arange(count),
            "city": random.choice(["Ulm", "Bonn"], count),
            "amount": amount,
            "at": [f"2024-01-01T00:{n // 60:02d}:{n % 60:02d}Z" for n in range(count)],
            "large": np.where(amount > 60, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    table().write_csv(home / "table.csv")
    words = ["train", str(home / "table.csv"), "--target", "large", "--out", str(home / "model")]
    quick = ["--epochs", "1", "--baselines", "none", "--set", "members=1", "--set", "width=8", "-q"]
    assert main([*words, *quick, "--drop", "n", "--drop", "at"]) == 0
    return home / "model"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    table().drop("large").write_ndjson("table.ndjson")
    with Log(Path("events")) as log:
        log.append(Path("table.ndjson").read_bytes().splitlines())
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | None]:
    """All files and folders."""
    found = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in found
    }


def refused(capsys: Captured, words: list[str], *hints: str) -> None:
    """Run a command that must fail: code 2, one helpful line, and nothing changed."""
    before = contents(Path.cwd())
    capsys.readouterr()
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1, told.err
    for hint in hints:
        assert hint in told.err
    assert contents(Path.cwd()) == before


def answer(capsys: Captured, words: list[str]) -> dict[str, Any]:
    """Run a command that answers with one JSON object."""
    capsys.readouterr()
    assert main([*words, "--json", "-q"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.count("\n") == 1
    found: dict[str, Any] = json.loads(told.out, parse_constant=pytest.fail)
    return found


WATCH = ["watch", "--from", "log://events", "--state", "state"]


@pytest.mark.parametrize("verb", VERBS)
def test_help(capsys: Captured, verb: str) -> None:
    assert main([verb, "--help"]) == 0
    told = capsys.readouterr().out
    assert f"thalweg {verb}" in told
    for option in ("--json", "--quiet", "--to"):
        assert option in told
    assert main(["--help"]) == 0
    assert verb in capsys.readouterr().out


def test_stream_answers(capsys: Captured, trained: Path) -> None:
    words = ["stream", str(trained), "--from", "log://events", "--to", "log://out", "--once"]
    found = answer(capsys, words)
    assert (found["records"], found["rows"], found["dead_letters"]) == (200, 200, 0)
    assert found["late"] == found["windows"] == 0
    assert found["unreadable"] == {}
    assert 0 <= found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert Path(found["state"]).is_dir()
    with Log(Path("out")) as log:
        assert log.end("0") == 200
    found = answer(capsys, words)  # what is done is done
    assert found["records"] == 0
    assert found["latency_ms"] == {"p50": None, "p99": None}


def test_watch_answers(capsys: Captured) -> None:
    words = [*WATCH, "--window", "1m", "--by", "city", "--time", "at", "--to", "log://out"]
    found = answer(capsys, [*words, "--once"])
    assert (found["records"], found["windows"], found["late"]) == (200, 8, 0)
    with Log(Path("out")) as log:
        found_rows = [json.loads(one) for one in log.read("0").payloads.to_pylist()]
    assert sum(one["rows"] for one in found_rows) == 200
    wanted = table()["amount"].mean()
    assert isinstance(wanted, float)
    mean = sum(one["rows"] * one["amount_mean"] for one in found_rows) / 200
    assert math.isclose(mean, wanted, rel_tol=1e-9)


def test_watch_prints_windows(capsys: Captured) -> None:
    words = [*WATCH, "--window", "1m", "--time", "at", "--measure", "amount", "--once", "-q"]
    assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["rows"] for one in lines] == [60, 60, 60, 20]


def test_what_is_said_at_the_end(capsys: Captured) -> None:
    with Log(Path("events")) as log:
        log.append([b"?"])
    assert main([*WATCH, "--window", "1m", "--to", "log://out", "--once"]) == 0
    told = capsys.readouterr().out
    assert "201 in" in told
    assert "log://state/dead" in told
    assert "thalweg redrive state" in told
    assert main(["redrive", "state", "--to", "log://again"]) == 0
    assert "sent" in capsys.readouterr().out


def test_redrive_and_publish_answer(capsys: Captured) -> None:
    with Log(Path("events")) as log:
        log.append([b"?", b"\xff"])
    answer(capsys, [*WATCH, "--window", "1m", "--to", "log://out", "--once"])
    words = ["redrive", "state", "--to", "log://again"]
    assert answer(capsys, [*words, "--reason", "UTF-8"]) == {"sent": 1, "passed": 1}
    found = answer(capsys, ["publish", "table.ndjson", "--to", "log://more?partitions=2&key=city"])
    assert found == {"sent": 200, "to": "log://more?partitions=2&key=city"}
    with Log(Path("more")) as log:
        assert log.end("0") + log.end("1") == 200


def test_explain_answers(capsys: Captured, trained: Path) -> None:
    words = ["stream", str(trained), "--from", "log://events", "--to", "log://out", "--explain"]
    found = answer(capsys, words)
    assert set(found["outputs"]) == {"rows", "dead"}
    assert main(words) == 0
    told = capsys.readouterr().out
    for output in found["outputs"].values():
        assert output["guarantee"][:12] in told
    with Log(Path("events")) as log:
        assert log.end("0") == 200


MISTAKES = [
    (["--from", "lgo://events", "--window", "1m"], ["lgo://events", "Did you mean 'log'"]),
    (["--from", "log://evnts", "--window", "1m"], ["evnts"]),
    (["--from", "log://events?partitons=2", "--window", "1m"], ["Did you mean 'partitions'"]),
    (["--from", "log://events?partitions=2", "--window", "1m"], ["partitions=1"]),
    (["--from", "nowhere", "--window", "1m"], ["nowhere"]),
    (["--from", "table.xlsx", "--window", "1m"], ["table.xlsx"]),
    (["--window", "1m", "--to", "lgo://out"], ["lgo://out", "Did you mean 'log'"]),
    (["--window", "1m", "--to", "out.parquet"], ["out.parquet", "folder"]),
    (["--window", "1m", "--dead-letters", "lgo://dead"], ["Did you mean 'log'"]),
    (["--window", "5 minutes"], ["--window is '5 minutes'", "1m"]),
    (["--window", "0s"], ["--window is '0s'"]),
    (["--window", "1m", "--lateness", "soon"], ["--lateness is 'soon'"]),
    (["--window", "1m", "--checkpoint", "-1s"], ["--checkpoint is '-1s'"]),
    (["--window", "1m", "--slide", "2m"], ["slide"]),
    (["--window", "1m", "--session", "1m"], ["--session and --window"]),
    ([], ["no windows", "--window"]),
    (["--by", "city"], ["no windows"]),
    (["--window", "1m", "--by", "ctiy"], ["'ctiy'", "Did you mean 'city'"]),
    (["--window", "1m", "--measure", "amuont"], ["Did you mean 'amount'"]),
    (["--window", "1m", "--time", "att"], ["Did you mean 'at'"]),
    (["--window", "1m", "--by", "city", "--by", "city"], ["'city' twice"]),
    (["--window", "1m", "--lanes", "5"], ["5 lanes for 1 partitions"]),
    (["--window", "1m", "--start", "middle"], ["middle"]),
    (["--window", "1m", "--widow", "1m"], ["--widow"]),
]


@pytest.mark.parametrize(("words", "hints"), MISTAKES)
def test_mistakes(capsys: Captured, words: list[str], hints: list[str]) -> None:
    source = [] if "--from" in words else ["--from", "log://events"]
    to = [] if "--to" in words else ["--to", "log://out"]
    refused(capsys, ["watch", *source, *to, *words, "--once", "-q"], *hints)


STREAM_MISTAKES = [
    (["--by", "city"], ["--by", "Add --window"]),
    (["--slide", "1m"], ["--slide", "Add --window"]),
    (["--windows-to", "log://windows"], ["windows", "--window"]),
    (["--latency", "fast"], ["--latency is 'fast'"]),
    (["--window", "1m", "--by", "ctiy"], ["Did you mean 'city'"]),
    (["--lanes", "0"], ["--lanes"]),
]


@pytest.mark.parametrize(("words", "hints"), STREAM_MISTAKES)
def test_mistakes_of_stream(
    capsys: Captured, trained: Path, words: list[str], hints: list[str]
) -> None:
    stream = ["stream", str(trained), "--from", "log://events", "--to", "log://out", "--once", "-q"]
    refused(capsys, [*stream, *words], *hints)


def test_no_such_model(capsys: Captured) -> None:
    words = ["--from", "log://events", "--to", "log://out", "--once", "-q"]
    refused(capsys, ["stream", "nowhere", *words], "nowhere does not exist")
    refused(capsys, ["stream", "events", *words], "events")


def test_no_letters(capsys: Captured) -> None:
    refused(capsys, ["redrive", "nowhere", "-q"], "nowhere holds no dead letters")
    refused(capsys, ["redrive", "events", "-q"], "events holds no dead letters")
    refused(capsys, ["redrive", "log://nowhere", "--to", "log://again", "-q"], "nowhere")
    refused(capsys, ["redrive", "log://events", "-q"], "--to")


def test_what_is_no_letter(capsys: Captured) -> None:
    refused(capsys, ["redrive", "log://events", "--to", "log://again", "-q"], "letter")


def test_publish_mistakes(capsys: Captured) -> None:
    refused(capsys, ["publish", "tabel.ndjson", "--to", "log://more", "-q"], "tabel.ndjson")
    refused(capsys, ["publish", "table.ndjson", "--to", "lgo://more", "-q"], "Did you mean 'log'")
    words = ["publish", "table.ndjson", "--to", "log://more", "--rate", "0", "-q"]
    refused(capsys, words, "0")


def test_the_state_of_another_stream(capsys: Captured) -> None:
    words = ["--window", "1m", "--to", "log://out", "--once", "-q"]
    assert main([*WATCH, *words]) == 0
    other = [*WATCH, "--window", "2m", *words[2:]]
    refused(capsys, other, "windows is", "state", "--state")
    with Log(Path("others")) as log:
        log.append([b'{"city": "Ulm"}'])
    other = ["watch", "--from", "log://others", "--state", "state", *words]
    refused(capsys, other, "source is", "log://others")


def test_a_mistake_is_told_to_programs_too(capsys: Captured) -> None:
    assert main(["watch", "--from", "lgo://events", "--window", "1m", "--json"]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out)["error"] in told.err
