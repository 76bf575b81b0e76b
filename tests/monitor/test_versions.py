from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from processes import UNCOVERED
from thalweg.core.errors import ArtifactError, OptionError
from thalweg.monitor.versions import ORDER, RECORD, Versions


def writing(text: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "weights").write_text(text)
        (folder / "model.json").write_text(text * 2)

    return write


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    found = Versions(tmp_path / "versions")
    for number in (1, 2, 3):
        found.add(number, writing(str(number)), f"because {number}", {"loss": number / 2}, number)
    return found


def test_what_was_added_is_there(versions: Versions) -> None:
    second = versions.get(2)
    assert (second.number, second.made, second.because, second.parent) == (2, 2, "because 2", 1)
    assert second.evidence == {"loss": 1.0}
    assert (versions.load_folder(2) / "inner" / "weights").read_text() == "2"
    assert [one.number for one in versions.list()] == [1, 2, 3]
    assert versions.get(1).parent is None
    assert versions.current == 3
    assert versions.order == (0, 0)
    empty = Versions(versions.folder / "nowhere")
    assert (empty.current, empty.order, empty.list()) == (None, (0, 0), [])


def test_back_and_back_again(versions: Versions) -> None:
    assert versions.rollback() == 2
    assert (versions.current, versions.order) == (2, (1, 2))
    assert versions.rollback(2) == 2  # it is: no other order
    assert versions.order == (1, 2)
    assert versions.rollback() == 1
    assert versions.order == (2, 1)
    with pytest.raises(OptionError, match="no version that was served before"):
        versions.rollback()
    assert versions.rollback(3) == 3
    assert versions.order == (3, 3)
    assert versions.rollback() == 1
    # A stream that learned on from there makes the next one, which is served at once.
    versions.add(4, writing("4"), "better")
    assert versions.current == 4
    assert versions.get(4).parent == 1
    assert versions.rollback() == 1
    versions.promote(2)
    assert versions.current == 2


def test_there_is_no_such_version(versions: Versions) -> None:
    with pytest.raises(OptionError, match=r"no version 7; .* There are: 1, 2, 3"):
        versions.rollback(7)
    with pytest.raises(OptionError, match="no version 7"):
        versions.load_folder(7)
    with pytest.raises(OptionError, match="There is none yet"):
        Versions(versions.folder / "nowhere").get(1)


def test_added_again_after_a_crash(versions: Versions) -> None:
    before = (versions.folder / "0003" / RECORD).read_bytes()
    versions.add(3, writing("3"), "told otherwise", {"loss": 9})
    assert (versions.folder / "0003" / RECORD).read_bytes() == before
    versions.add(3, writing("three"), "because 3")
    assert (versions.load_folder(3) / "inner" / "weights").read_text() == "three"
    with pytest.raises(ArtifactError, match="version 2 is there with other files"):
        versions.add(2, writing("two"), "because 2")
    assert (versions.load_folder(2) / "inner" / "weights").read_text() == "2"


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions", kept=3)
    for number in (1, 2, 3):
        versions.add(number, writing("x"), "")
    versions.rollback(1)
    versions.rollback(2)
    for number in range(4, 9):
        versions.add(number, writing("x"), "")
    assert [one.number for one in versions.list()] == [6, 7, 8]
    versions.rollback(6)
    for number in range(9, 12):
        versions.add(number, writing("x"), "")
    assert [one.number for one in versions.list()] == [9, 10, 11]
    assert versions.current == 11


@pytest.mark.parametrize("file", ["inner/weights", "model.json", RECORD])
def test_damage_is_told(versions: Versions, file: str) -> None:
    path = versions.folder / "0002" / file
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    assert [bool(one.damage) for one in versions.list()] == [False, True, False]
    with pytest.raises(ArtifactError, match="is damaged"):
        versions.load_folder(2)
    with pytest.raises(ArtifactError, match=r"is damaged .* Serve another one"):
        versions.rollback()
    assert versions.rollback(1) == 1
    path.unlink()
    assert versions.get(2).damage


def test_a_damaged_order_is_told(versions: Versions) -> None:
    versions.rollback()
    path = versions.folder / ORDER
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 3}))
    with pytest.raises(ArtifactError, match="its hash differs"):
        _ = versions.order
    path.write_text("[]")
    with pytest.raises(ArtifactError, match="damaged"):
        _ = versions.current


def test_a_record_names_no_files_elsewhere(versions: Versions) -> None:
    from thalweg.monitor import versions as module

    path = versions.folder / "0002" / RECORD
    plain = json.loads(path.read_text())
    del plain["seal"]
    path.write_text(module._sealed({**plain, "files": {"../0001/model.json": "x"}}))
    assert "elsewhere" in versions.get(2).damage


def test_a_writer_that_fails_leaves_nothing(versions: Versions) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise KeyError

    with pytest.raises(KeyError):
        versions.add(4, write, "")
    assert versions.current == 3
    assert {path.name for path in versions.folder.iterdir()} == {"0001", "0002", "0003", "lock"}


WORKER = """
import sys
from pathlib import Path
from thalweg.monitor.versions import Versions

versions = Versions(Path(sys.argv[1]), kept=4)
begun = versions.current or 0
print("on", flush=True)
for number in range(max(1, begun), begun + 5000):
    def write(folder):
        for name in "abc":
            (folder / name).write_text(f"{name}{number}" * 2000)
    versions.add(number, write, "why")
    if number % 5 == 0:
        versions.rollback()
"""


def test_killed_at_any_moment_everything_is_whole(tmp_path: Path) -> None:
    draw, folder = random.Random(0), tmp_path / "versions"
    seen = []
    for _ in range(8):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder)],
            env=UNCOVERED,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "on\n"
        time.sleep(draw.random() * 0.3)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
        versions = Versions(folder, kept=4)
        there = versions.list()
        assert [one.damage for one in there] == [""] * len(there)
        if there:
            current = versions.current
            assert current is not None
            text = (versions.load_folder(current) / "c").read_text()
            assert text == f"c{current}" * 2000
            seen.append(versions.order[0])
    assert seen == sorted(seen)
    number = max(one.number for one in there) + 1
    versions.add(number, writing("x"), "")
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
