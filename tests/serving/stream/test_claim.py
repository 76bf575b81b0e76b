"""One process at a time has a lane, and what a dead one had is free at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from processes import UNCOVERED
from thalweg.serving.stream.claim import Lock, Members, next_fence

HOLD = """
import sys, time
from pathlib import Path
from thalweg.serving.stream.claim import Lock
print(Lock(Path(sys.argv[1])).take(), flush=True)
time.sleep(60)
"""
JOIN = """
import sys, time
from pathlib import Path
from thalweg.serving.stream.claim import Members
members = Members(Path(sys.argv[1]))
print("there", flush=True)
sys.stdin.readline()
members.leave()
print("gone", flush=True)
time.sleep(60)
"""


class Child:
    """A process that does one thing and waits."""

    def __init__(self, code: str, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            env=UNCOVERED,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


Begin = Callable[[str, Path], Child]


@pytest.fixture
def begin() -> object:
    children: list[Child] = []

    def make(code: str, path: Path) -> Child:
        children.append(Child(code, path))
        return children[-1]

    yield make
    for child in children:
        child.kill()


def test_a_lock_is_one_process_s_until_it_dies(tmp_path: Path, begin: Begin) -> None:
    path = tmp_path / "lane" / "lock"
    one, other = begin(HOLD, path), begin(HOLD, path)
    assert sorted([one.says(), other.says()]) == ["False", "True"]
    with Lock(path) as lock:
        assert not lock.take()
        one.kill()
        other.kill()
        since = time.monotonic()
        assert lock.take()
        assert time.monotonic() - since < 0.5
        assert lock.take()
        third = begin(HOLD, path)
        assert third.says() == "False"
    with Lock(path) as lock:  # and it was left at the end
        assert lock.take()


def test_two_locks_of_one_process_are_two(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock") as one, Lock(tmp_path / "lock") as other:
        assert one.take()
        assert not other.take()
        one.leave()
        assert other.take()
        one.leave()
        assert not one.take()


def test_fences_grow(tmp_path: Path) -> None:
    assert [next_fence(tmp_path) for _ in range(4)] == [1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["fence"]
    assert next_fence(tmp_path) == 5


def test_members_count_the_living(tmp_path: Path, begin: Begin) -> None:
    own = Members(tmp_path)
    assert own.place() == (0, 1)
    children = [begin(JOIN, tmp_path) for _ in range(2)]
    assert [child.says() for child in children] == ["there", "there"]
    place, living = own.place()
    assert living == 3
    assert 0 <= place < 3
    children[0].kill()
    assert own.place()[1] == 2
    assert len(list(tmp_path.iterdir())) == 2  # what a dead one left is removed
    children[1].go_on()
    assert children[1].says() == "gone"
    assert own.place() == (0, 1)
    own.leave()
    assert list(tmp_path.iterdir()) == []


def test_each_member_has_a_place_of_its_own(tmp_path: Path) -> None:
    members = [Members(tmp_path) for _ in range(5)]
    places = [one.place() for one in members]
    assert sorted(place for place, _ in places) == [0, 1, 2, 3, 4]
    assert {living for _, living in places} == {5}


def test_a_member_whose_file_was_taken_for_a_dead_one_s_comes_back(tmp_path: Path) -> None:
    """As where another looks just when the file is there and not yet locked."""
    own, other = Members(tmp_path), Members(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    assert own.place()[0] == 0
    assert sorted([other.place(), own.place()]) == [(0, 2), (1, 2)]
