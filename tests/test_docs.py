"""The pages say what is: their commands parse, their links lead somewhere, twins are in step."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import thalweg
from thalweg.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"


def blocks(page: Path) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def headings(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.findall(r"^(#+) ", text, re.M)


def figures(page: Path) -> list[str]:
    return re.findall(r"<!-- figure:(\w+)", page.read_text(encoding="utf-8"))


def test_the_chinese_page_is_in_step() -> None:
    assert headings(CHINESE) == headings(ENGLISH)
    assert blocks(CHINESE) == blocks(ENGLISH)
    figures = re.compile(r"<!-- figure:(\w+)")
    assert figures.findall(CHINESE.read_text("utf-8")) == figures.findall(
        ENGLISH.read_text("utf-8")
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def commands() -> list[str]:
    typed = {
        line.removeprefix("$ ")
        for page in PAGES
        if page.name != "cli.md"
        for language, block in blocks(page)
        if language == "console"
        for line in block.splitlines()
        if line.startswith("$ thalweg ")
    }
    return sorted(typed)


@pytest.mark.parametrize("command", commands())
def test_commands_in_the_pages_parse(command: str) -> None:
    verb, *words = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    with typer.Context(group) as context:
        found = group.get_command(context, verb)
    found.make_context(verb, words).close()


def test_make_targets_in_the_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"(?:^|`)make (\w+)", page.read_text(encoding="utf-8"), re.M):
            assert re.search(rf"^{target}:", makefile, re.M), f"{page.name}: make {target}"


def test_every_source_file_is_in_the_map() -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / "scripts" / "draw_map.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_tests_that_the_architecture_names_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", page))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []


def test_every_verb_has_its_help_and_its_place_in_the_pages() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    readme = ENGLISH.read_text(encoding="utf-8")
    for verb in app.registered_commands:
        assert verb.callback is not None
        name = verb.callback.__name__
        assert verb.callback.__doc__
        assert f"## `thalweg {name}`" in page
        assert f"`thalweg {name} " in readme
        assert callable(getattr(thalweg, name))


def test_the_public_names_are_there() -> None:
    assert sorted(thalweg.__all__) == thalweg.__all__
    assert dir(thalweg) == thalweg.__all__
    for name in thalweg.__all__:
        assert getattr(thalweg, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = thalweg.trian
