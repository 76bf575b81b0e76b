from __future__ import annotations

import json
from pathlib import Path

import pytest

import thalweg
from thalweg.cli.main import main
from thalweg.monitor.versions import VERSIONS, Versions


@pytest.fixture
def state(tmp_path: Path) -> Path:
    versions = Versions(tmp_path / VERSIONS)
    for number in (1, 2, 3):
        made = 1_700_000_000_000_000 + number
        versions.add(number, lambda folder: (folder / "x").write_text("x"), "better", made=made)
    return tmp_path


def test_back_to_the_one_before(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollback", str(state)]) == 0
    told = capsys.readouterr().out
    assert "version 2 is to be served (order 1)" in told
    assert "2023-11-14 22:13:20" in told
    assert Versions(state / VERSIONS).order == (1, 2)


def test_back_to_a_named_one_for_programs(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollback", str(state), "--to", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["order"]) == (1, 1)
    assert [one["number"] for one in told["versions"]] == [1, 2, 3]
    assert thalweg.rollback(state, version=3).version == 3


def test_mistakes_are_one_line(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", str(state), "--to", "9"]) == 2
    assert "no version 9" in capsys.readouterr().err
    assert main(["rollback", str(tmp_path / "nowhere")]) == 2
    assert "holds no versions" in capsys.readouterr().err
    (state / VERSIONS / "0002" / "x").write_text("y")
    assert main(["rollback", str(state)]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert main(["rollback", str(state), "--to", "1"]) == 0
    assert "damaged" in capsys.readouterr().out
