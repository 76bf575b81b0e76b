"""Real processes on one log: stopped, killed, joined by others, and with a disk that is full."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import chaos
import pytest

from processes import ONE_THREAD
from thalweg import api
from thalweg.serving.stream import checkpoint
from thalweg.serving.stream.claim import Lock
from thalweg.serving.stream.ledger import Ledger
from thalweg.sources.streams.log import Log

LOG = "log://events"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Process:
    """A ``thalweg`` command that runs."""

    def __init__(self, words: Sequence[str]) -> None:
        self.told = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "thalweg", *words],
            env=ONE_THREAD,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.told += line

    def end(self) -> int:
        """Wait for it, and for all that it told."""
        self._ear.join(30)
        return self.process.wait(1)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def room(self, size: int | None) -> None:
        """Let no file grow beyond a size, as a full disk does."""
        most = resource.RLIM_INFINITY
        limits = (most if size is None else size, most)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, limits)


Begin = Callable[[Sequence[str]], Process]


@pytest.fixture
def begin() -> Iterator[Begin]:
    processes: list[Process] = []

    def make(words: Sequence[str]) -> Process:
        processes.append(Process(words))
        return processes[-1]

    yield make
    for one in processes:
        if one.process.poll() is None:
            one.kill()


def until(true: Callable[[], bool], seconds: float = 30) -> float:
    """Wait for something, and say how long that took."""
    since = time.monotonic()
    while not true():
        took = time.monotonic() - since
        assert took < seconds, "it never came"
        time.sleep(0.02)
    return time.monotonic() - since


def there(uri: str) -> int:
    """How many records a log has, which may not be there yet."""
    if not Path(uri.removeprefix("log://"), "log.json").exists():
        return 0
    return sum(1 for _ in chaos.payloads(uri))


def events(start: int, stop: int) -> list[bytes]:
    """Events, of which every tenth is poison."""
    return [
        json.dumps({"n": n, "city": "Ulm", "amount": 1.5}).encode()[: None if n % 10 else -1]
        for n in range(start, stop)
    ]


def good(stop: int) -> list[int]:
    return [n for n in range(stop) if n % 10]


WATCH = ["watch", "--from", LOG, "--to", "log://out", "--state", "state", "--checkpoint", "200ms"]
EACH = ["--window", "1d", "--by", "n"]


def finish(**said: Any) -> list[int]:
    """Close all windows, and give the events as often as they came."""
    options = {"window": "1d", "by": ["n"], "to": "log://out", "state": "state", **said}
    api.stream(api.pipeline(LOG, once=True, **options))
    found = (json.loads(one) for one in chaos.payloads("log://out"))
    return sorted(int(one["n"]) for one in found for _ in range(one["rows"]))


def letters() -> list[str]:
    """The bytes of the dead letters."""
    if not Path("state", "dead", "log.json").exists():
        return []
    return [json.loads(one)["payload"] for one in chaos.payloads("log://state/dead")]


def saved(lane: Path) -> bool:
    """Whether a checkpoint holds every batch that was begun."""
    newest = checkpoint.load_newest(lane, lambda line: None)
    return newest is not None and not list(Ledger(lane).read(newest.batch))


def test_stopped_gently_it_has_saved_everything(little: Path, begin: Begin) -> None:
    words = ["stream", str(little), "--from", LOG, "--to", "log://out", "--state", "state", "-q"]
    with Log(Path("events")) as log:
        log.append(events(0, 1000))
        first = begin([*words, "--checkpoint", "1h"])
        until(lambda: there("log://out") > 0, 60)
        log.append(events(1000, 3000))
        assert first.stop() == 0, first.told
        assert first.told == ""
        before = there("log://out")
        assert before >= 900
        assert saved(Path("state", "lanes", "0"))
        with Lock(Path("state", "lanes", "0", "lock")) as lock:
            assert lock.take()
        assert list(Path("state", "members").iterdir()) == []
    work = api.pipeline(LOG, model=str(little), to="log://out", state="state", once=True)
    assert api.stream(work).rows == 2700 - before
    found = Counter(json.loads(one)["n"] for one in chaos.payloads("log://out"))
    assert found == Counter(good(3000))
    assert len(letters()) == len(set(letters())) == 300


def test_a_second_ctrl_c_ends_at_once_and_loses_nothing(begin: Begin) -> None:
    with Log(Path("events")) as log:
        log.append(events(0, 100))
        first = begin([*WATCH, *EACH])
        until(lambda: len(letters()) == 10)
        first.process.send_signal(signal.SIGSTOP)
        first.process.send_signal(signal.SIGINT)
        first.process.send_signal(signal.SIGTERM)
        first.process.send_signal(signal.SIGCONT)
        assert first.end() in {0, 130, -signal.SIGTERM, -signal.SIGINT}
    assert finish() == good(100)
    assert len(letters()) == 10


def fence(lane: int) -> int:
    path = Path("state", "lanes", str(lane), "fence")
    return int(path.read_text()) if path.exists() else 0


def test_two_share_the_lanes_and_one_takes_over(begin: Begin) -> None:
    sent = 0
    with Log(Path("events"), 2) as log:

        def send(count: int) -> None:
            nonlocal sent
            for start in range(sent, sent + count, 10):  # to the two partitions in turn
                log.append(events(start, start + 10))
            sent += count

        send(200)
        words = [*WATCH, *EACH, "--lanes", "2", "-q"]
        one = begin(words)
        until(lambda: fence(0) == fence(1) == 1)
        other = begin(words)
        until(lambda: fence(1) == 2)
        send(200)
        until(lambda: len(letters()) == 40)
        assert (fence(0), fence(1)) == (1, 2)  # each has one, and keeps it
        send(100)
        one.kill()
        assert until(lambda: fence(0) == 2) < 2
        send(100)
        until(lambda: len(letters()) == 60)
        third = begin(words)
        until(lambda: fence(0) + fence(1) == 5)
        send(100)
        assert other.stop() == 0
        until(lambda: fence(0) == fence(1) == 3 or fence(0) + fence(1) == 6)
        until(lambda: len(letters()) == 70)
        assert third.stop() == 0
    assert finish(lanes=2) == good(sent)
    assert len(letters()) == len(set(letters())) == sent // 10


def test_a_full_disk_is_waited_for(begin: Begin) -> None:
    with Log(Path("events")) as log:
        log.append(events(0, 100))
        watching = begin([*WATCH, *EACH])
        until(lambda: len(letters()) == 10)
        until(lambda: saved(Path("state", "lanes", "0")))
        watching.room(0)
        log.append(events(100, 200))
        until(lambda: "waiting" in watching.told)
        time.sleep(1)
        log.append(events(200, 300))
        time.sleep(1)
        assert watching.process.poll() is None
        (line,) = [one for one in watching.told.splitlines() if "waiting" in one]
        assert "cannot be written (File too large)" in line
        assert "going on" not in watching.told
        watching.room(None)
        until(lambda: len(letters()) == 30)
        until(lambda: "going on after" in watching.told)
        assert watching.stop() == 0, watching.told
    assert finish() == good(300)
    assert len(letters()) == len(set(letters())) == 30


def test_stopped_while_the_disk_is_full(begin: Begin) -> None:
    with Log(Path("events")) as log:
        log.append(events(0, 100))
        watching = begin([*WATCH, *EACH])
        until(lambda: len(letters()) == 10)
        watching.room(0)
        log.append(events(100, 200))
        until(lambda: "waiting" in watching.told)
        time.sleep(1)
        since = time.monotonic()
        watching.stop()
        assert time.monotonic() - since < 5
    assert finish() == good(200)
    assert len(letters()) == len(set(letters())) == 20


def test_once_waits_for_room_too(begin: Begin) -> None:
    """Also at its end, when all windows close and the last checkpoint is written."""
    with Log(Path("events")) as log:
        log.append(events(0, 100))
    words = [sys.executable, "-c", ONCE, "state"]
    done = subprocess.run(words, env=ONE_THREAD, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len([one for one in said["notes"] if "waiting" in one]) == 1, said
    assert said["windows"] == 90
    assert finish() == good(100)


ONCE = """
import json, resource, sys, threading, time
from thalweg import api
from thalweg.core.progress import Silent
from thalweg.serving.stream.lane import Lane

class Told(Silent):
    notes = []
    def note(self, message):
        self.notes.append(message)

whole, full = Lane.finish, []
def finish(lane):
    if not full:
        full.append(True)
        most = resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
        def room():
            time.sleep(1)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        threading.Thread(target=room).start()
    whole(lane)
Lane.finish = finish
work = api.pipeline("log://events", window="1d", by=["n"], to="log://out", state="state", once=True)
tally = api.stream(work, progress=Told())
print(json.dumps({"notes": Told.notes, "windows": tally.windows}))
"""
