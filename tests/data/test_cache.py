from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from processes import UNCOVERED
from thalweg.core.errors import SourceError
from thalweg.data.cache import CONTENTS, Cache, default_folder, key_of


def make(cache: Cache, key: str, size: int = 10) -> Path:
    with cache.building(key) as folder:
        (folder / "some.bin").write_bytes(b"x" * size)
    return cache.folder / key


def test_an_entry_is_found_once_it_is_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache.find("a") is None
    with cache.building("a") as folder:
        (folder / "some.bin").write_bytes(b"1")
        assert cache.find("a") is None
    assert cache.find("a") == tmp_path / "cache" / "a"


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "some.bin").write_bytes(b"1")
        raise RuntimeError

    with pytest.raises(RuntimeError), cache.building("a") as folder:
        fail(folder)
    assert cache.find("a") is None
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("damage", ["flipped", "longer", "gone", "contents"])
def test_a_damaged_entry_counts_as_none(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    path = make(cache, "a") / "some.bin"
    match damage:
        case "flipped":
            path.write_bytes(b"xxxxyxxxxx")
        case "longer":
            path.write_bytes(b"x" * 11)
        case "gone":
            path.unlink()
        case _:
            (path.parent / CONTENTS).write_text("[]")
    assert cache.find("a") is None
    make(cache, "a")
    assert cache.find("a") is not None


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from thalweg.data.cache import Cache
with Cache(Path({str(tmp_path)!r})).building("a") as folder:
    (folder / "some.bin").write_bytes(b"1" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False, env=UNCOVERED)
    cache = Cache(tmp_path)
    assert len(list(tmp_path.glob(".*.partial"))) == 1
    assert cache.find("a") is None
    make(cache, "b")
    assert not list(tmp_path.glob(".*.partial"))


def test_what_another_process_builds_is_left_alone(tmp_path: Path) -> None:
    cache, other = Cache(tmp_path), Cache(tmp_path)
    with cache.building("a") as folder:
        (folder / "some.bin").write_bytes(b"1")
        make(other, "b")
        assert (folder / "some.bin").exists()
    assert cache.find("a") is not None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most_bytes=3_000)
    for number, key in enumerate("abc"):
        marker = make(cache, key, 1_000) / CONTENTS
        os.utime(marker, (time.time() - 100 + number,) * 2)
    assert cache.find("a") is not None  # which makes it the latest
    make(cache, "d", 5_000)
    assert [key for key in "abcd" if cache.find(key)] == ["a", "d"] or [
        key for key in "abcd" if cache.find(key)
    ] == ["a", "c", "d"]
    assert cache.find("b") is None


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SourceError, match="cannot be used"),
        Cache(tmp_path / "file").building("a"),
    ):
        pass


def test_a_lent_folder_is_gone_afterwards(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.scratch("copy") as folder:
        (folder / "some.bin").write_bytes(b"1")
    assert not folder.exists()


def test_where_entries_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THALWEG_CACHE", "/big/disk")
    assert default_folder() == Path("/big/disk")
    monkeypatch.delenv("THALWEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/me/.caches")
    assert default_folder() == Path("/home/me/.caches/thalweg")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "thalweg"


def test_keys_tell_facts_apart() -> None:
    assert key_of("a", {"x": 1, "y": 2}) == key_of("a", {"y": 2, "x": 1})
    assert len({key_of("a"), key_of("b"), key_of("a", 1), key_of("a", 2)}) == 4
    assert json.dumps(key_of("a"))
