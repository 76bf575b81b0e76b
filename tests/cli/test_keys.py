from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from thalweg.cli.keys import keys
from thalweg.core.errors import OptionError
from thalweg.serving.http.keys import Keys

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(keys)


def run(*words: str) -> None:
    app([str(word) for word in words], standalone_mode=False)


def test_a_key_is_made_listed_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys.json"
    run(str(file), "--add", "mobile", "--days", "30")
    told = capsys.readouterr().out
    key = next(word for word in told.split() if word.startswith("tw_"))
    assert Keys(file).check(f"Bearer {key}") is not None
    run(str(file), "--add", "boss", "--admin")
    capsys.readouterr()
    run(str(file))
    told = capsys.readouterr().out
    assert all(word in told for word in ("mobile", "predict", "boss", "admin", "never"))
    assert key not in told
    run(str(file), "--remove", "mobile")
    assert "mobile" not in capsys.readouterr().out
    assert Keys(file).check(f"Bearer {key}") is None


def test_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.json"
    run(str(file), "--add", "mobile", "--json")
    made = json.loads(capsys.readouterr().out)
    assert Keys(file).check(f"Bearer {made['key']}") is not None
    run(str(file), "--json")
    listed = json.loads(capsys.readouterr().out)
    assert listed == {"keys": made["keys"]}
    assert set(listed["keys"][0]) == {"name", "scope", "created", "expires"}


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="without --add"):
        run(str(tmp_path / "keys.json"), "--admin")
