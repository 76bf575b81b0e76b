"""Files and folders are whole or not at all, whatever happens."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from thalweg.core import files
from thalweg.core.errors import SourceError
from thalweg.core.files import atomic_file, atomic_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_file(target) as building:
        building.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_failure_leaves_the_old_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyError), atomic_file(tmp_path / "a.txt") as building:  # noqa: PT012 - the body fails on purpose
        building.write_text("half")
        raise KeyError
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "x").write_text("old")
    with pytest.raises(KeyError), atomic_folder(tmp_path / "model") as building:  # noqa: PT012 - the body fails on purpose
        (building / "x").write_text("half")
        raise KeyError
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "model" / "x").read_text() == "old"
    assert names(tmp_path) == ["a.txt", "model"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "above" / "model"
    for content in ("one", "two"):
        with atomic_folder(target) as building:
            (building / content).mkdir()
            (building / content / "file").write_text(content)
    assert names(target) == ["two"]
    assert names(target.parent) == ["model"]


def test_writers_at_the_same_time_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as one, atomic_folder(target) as other:
        assert one != other
        (one / "one").touch()
        (other / "other").touch()
    assert names(target) == ["one"]
    assert names(tmp_path) == ["model"]


def test_names_in_the_making_are_hidden(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as building:
        assert building.name.startswith(".")
        assert building.parent == tmp_path
    with atomic_file(tmp_path / ("x" * 250)) as building:
        building.touch()


@pytest.mark.parametrize("wrong", ["file", "folder"])
def test_a_file_does_not_replace_a_folder_nor_a_folder_a_file(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    make = atomic_folder if wrong == "file" else atomic_file
    with pytest.raises(SourceError), make(tmp_path / wrong):
        pass
    assert (tmp_path / "file").read_text() == "kept"
    assert names(tmp_path) == ["file", "folder"]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"), atomic_file(tmp_path / "nowhere" / "a"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SourceError, match="cannot be written"), atomic_file(tmp_path / "a"):
        pass


@pytest.mark.parametrize("exchange", [True, False])
def test_a_failing_swap_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as building:
        (building / "x").write_text("old")
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    with atomic_folder(target) as building:
        (building / "x").write_text("new")
    assert (target / "x").read_text() == "new"
    rename = Path.rename

    def fail(path: Path, to: Path) -> Path:
        if to == target and path.suffix == ".partial":
            raise PermissionError(13, "Permission denied")
        return rename(path, to)

    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(SourceError), atomic_folder(target) as building:
        (building / "x").write_text("newer")
    assert (target / "x").read_text() == "new"
    assert names(tmp_path) == ["model"]


KILLED = """
import os, sys
from pathlib import Path
from thalweg.core.files import atomic_folder
with atomic_folder(sys.argv[1]) as building:
    (building / "x").write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_a_killed_run_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as building:
        (building / "x").write_text("old")
    subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert (target / "x").read_text() == "old"
    assert [name for name in names(tmp_path) if not name.startswith(".")] == ["model"]
    with atomic_folder(target) as building:
        (building / "x").write_text("new")
    assert (target / "x").read_text() == "new"


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / ".model.0123abcd.partial"
    left.mkdir()
    (left / "weights").write_text("half")
    others = [".model.0123abcd", ".model.x.partial", ".other.0123abcd.partial"]
    for name in others:
        (tmp_path / name).mkdir()
    with atomic_folder(tmp_path / "model") as one, atomic_folder(tmp_path / "model") as other:
        assert not left.exists()
        assert one.is_dir()  # it is under way, and nobody removes it
        assert other.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "model"])


def test_where_nothing_can_be_held_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    left = tmp_path / ".model.0123abcd.partial"
    left.mkdir()
    with atomic_folder(tmp_path / "model") as building:
        (building / "weights").write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [left.name, "model"]


FULL = """
import resource, sys
from thalweg.core.errors import SourceError
from thalweg.core.files import atomic_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_file(sys.argv[1]) as building:
        building.write_bytes(b"x" * 10_000)
except SourceError as error:
    print(error)
"""


def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "a")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "room for it" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]
