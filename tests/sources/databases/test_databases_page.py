"""What the page about databases shows can be done, and what it names is there."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "databases.md"


def test_its_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    connection = sqlite3.connect("shop.db")
    connection.execute("create table orders (id integer, price real, city text, paid boolean)")
    rows = [(place, place / 2, "Ulm", place % 2) for place in range(8)]
    connection.executemany("insert into orders values (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    examples = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out.split() == ["8", "4"]
