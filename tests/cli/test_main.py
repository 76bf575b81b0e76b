"""The command: exit codes, one line for a mistake, and a confession for a fault of ours."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest

from thalweg import __version__, api
from thalweg.cli.main import main
from thalweg.core.errors import SourceError

Captured = pytest.CaptureFixture[str]


def failing(error: BaseException) -> Callable[..., NoReturn]:
    def verb(*_: object, **__: object) -> NoReturn:
        raise error

    return verb


def test_help_names_every_verb(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for verb in ("profile", "train", "evaluate", "predict", "show"):
        assert f"\n  {verb} " in told


def test_no_words_show_the_help(capsys: Captured) -> None:
    assert main([]) == 0
    assert "Usage: thalweg" in capsys.readouterr().out


def test_version(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"thalweg {__version__}\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["train", "x.csv", "--taget", "y"], "--target"),
        (["train", "x.csv", "--target", "y", "--epochs", "many"], "--epochs"),
        (["train"], "SOURCE is missing"),
        (["train", "x.csv", "--target", "y", "--set", "width"], "--set learning_rate=3e-4"),
        (["train", "x.csv", "--target", "y", "--column", "=number"], "--column zip=category"),
        (["profile", "x.csv", "--column", "a=number", "--column", "a=category"], "'a' twice"),
        (["predict", "model"], "SOURCE"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(
    capsys: Captured, words: list[str], hint: str
) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert hint in told.err


def test_a_mistake_is_told_in_json_too(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake = SourceError("x.csv has no rows", "a header and rows", "Check the file.")
    monkeypatch.setattr(api, "profile", failing(mistake))
    assert main(["profile", "x.csv", "--json"]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out) == {"error": str(mistake)}
    assert told.err == f"error: {mistake}\n"


def test_a_fault_of_ours_is_confessed(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "profile", failing(ZeroDivisionError("oops")))
    assert main(["profile", "x.csv"]) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "ZeroDivisionError: oops" in told
    assert "a fault in Thalweg" in told


def test_a_full_disk_is_for_its_owner_to_mend(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model/weights.safetensors")
    monkeypatch.setattr(api, "profile", failing(full))
    assert main(["profile", "x.csv"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "No space left on device: model/weights.safetensors" in told


def test_any_other_failure_of_the_machine_is_ours(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "profile", failing(OSError(errno.EIO, "Input/output error")))
    assert main(["profile", "x.csv"]) == 1
    assert "a fault in Thalweg" in capsys.readouterr().err


def test_what_is_not_installed_is_for_its_owner_to_add(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = ModuleNotFoundError("No module named 'torch'", name="torch")
    monkeypatch.setattr(api, "profile", failing(missing))
    assert main(["profile", "x.csv"]) == 2
    assert "pip install 'thalweg[train]'" in capsys.readouterr().err
    monkeypatch.setattr(api, "profile", failing(ModuleNotFoundError("oops", name="oops")))
    assert main(["profile", "x.csv"]) == 1


def test_an_interrupt_is_130_and_a_line(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "profile", failing(KeyboardInterrupt()))
    assert main(["profile", "x.csv"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_who_leaves_gets_no_traceback() -> None:
    command = [sys.executable, "-m", "thalweg", "--help"]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    finally:
        os.close(writing)
    assert ended.stderr == ""
    assert ended.returncode == 1
