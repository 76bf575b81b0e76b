"""Requests hurt in every way: an answer or a clear refusal, and no harm to the next one."""

from __future__ import annotations

import json
import random
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import fuzz
import hurt
import pytest
import running

from thalweg import api
from thalweg.models.compiled import CompiledModel
from thalweg.serving.http.limits import Limits


@pytest.fixture(scope="module")
def served() -> Iterator[running.Running]:
    with running.running(running.model()) as server:
        yield server


@pytest.fixture(scope="module")
def seeds() -> list[hurt.Request]:
    return hurt.good(running.rows_of(8), running.NAME)


def flat(told: fuzz.Told) -> bool:
    """Say whether memory stays where it is, but for what any allocator keeps."""
    half = told.memory[len(told.memory) // 2]
    return max(told.memory[len(told.memory) // 2 :]) < 1.05 * half + 4


def test_hurt_bodies_are_answered_or_refused_without_a_server(seeds: list[hurt.Request]) -> None:
    model = CompiledModel.load(running.model())
    told = fuzz.fuzz_formats(model, seeds, 2000)
    assert told.statuses[200] > 200
    assert told.statuses[400] > 200


def test_hurt_bodies_over_one_connection(
    served: running.Running, seeds: list[hurt.Request]
) -> None:
    told = fuzz.fuzz(served.port, seeds, 2000, 1, served.pid)
    assert told.statuses[200] > 200
    assert told.statuses[400] > 200
    assert served.complaints() == []


def test_hurt_frames(served: running.Running, seeds: list[hurt.Request]) -> None:
    statuses = fuzz.fuzz_frames(served.port, seeds, 200, 1)
    assert statuses[400]
    assert statuses[431]
    assert served.complaints() == []


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_million_hurt_bodies(served: running.Running, seeds: list[hurt.Request]) -> None:
    told = fuzz.fuzz(served.port, seeds, 1_000_000, 2, served.pid)
    assert flat(told), told.memory
    fuzz.fuzz_frames(served.port, seeds, 5_000, 2)
    assert served.complaints() == []


def test_what_is_whole_is_answered_in_every_format(
    served: running.Running, seeds: list[hurt.Request]
) -> None:
    with fuzz.Wire(served.port) as wire:
        for request in seeds:
            reply = wire.ask(request)
            assert reply.status == 200, reply
            fuzz.check(reply, request)


def test_the_check_sees_what_it_forbids(seeds: list[hurt.Request]) -> None:
    kind = {"content-type": "application/json"}
    bad = [
        fuzz.Reply(500, kind, b'{"error": "x"}'),
        fuzz.Reply(400, kind, b'{"error": "Traceback (most recent call last)"}'),
        fuzz.Reply(400, kind, b"{}"),
        fuzz.Reply(400, {"content-type": "text/plain"}, b"no"),
        fuzz.Reply(200, kind, b'{"predictions": '),
    ]
    for reply in bad:
        with pytest.raises(fuzz.BrokenError):
            fuzz.check(reply, seeds[0])
    fuzz.check(fuzz.Reply(200, kind, b"{}"), seeds[0])


def test_the_same_seed_hurts_the_same_way(seeds: list[hurt.Request]) -> None:
    first, second = (list(hurt.Mutator(seeds, 7).bodies(50)) for _ in range(2))
    assert first == second
    assert [*hurt.frames(seeds, random.Random(1), 9)] == [*hurt.frames(seeds, random.Random(1), 9)]


def test_a_body_that_is_too_large_is_cut_off(tmp_path: Path) -> None:
    with running.running(running.model(), ["--body", "0.1"]) as server:
        headers = {"content-type": hurt.JSON}
        said = hurt.Request("large", "/v1/predict", b"", headers, length="9" * 9)
        with fuzz.Wire(server.port) as wire:
            wire.send(said.wire())
            assert wire.read(1)[0].status == 413
        # Without a length it is counted as it comes.
        head = b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        ends = pytest.raises((ConnectionError, fuzz.BrokenError))
        with fuzz.Wire(server.port) as endless, ends:
            endless.send(head)
            for _ in range(10_000):
                endless.send(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
            endless.read(2)
        assert server.complaints() == []


def test_slow_clients_are_cut_off_and_others_are_served() -> None:
    limits = Limits(seconds=1, head_seconds=1)
    server = api.server([f"{running.NAME}={running.model()}"], port=0, limits=limits)
    server.start()
    try:
        row = hurt.good(running.rows_of(8), running.NAME)[0]
        slow = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(50)]
        begun = time.monotonic()
        for place, one in enumerate(slow):
            whole = row.wire()
            one.sendall(whole[: (3, 40, len(whole) - 5)[place % 3]])
        with fuzz.Wire(server.port) as wire:
            while time.monotonic() < begun + 0.5:
                assert wire.ask(row).status == 200
        for one in slow:
            while one.recv(1000):  # an answer of 408, or nothing
                pass
            one.close()
        assert time.monotonic() - begun < 15
    finally:
        server.stop()


def keys_file(folder: Path) -> tuple[Path, str]:
    """Write a file of keys."""
    from thalweg.serving.http.keys import change_keys

    path = folder / "keys.json"
    made = change_keys(path, add="reader")
    return path, made.key


def test_a_wrong_key_learns_nothing(tmp_path: Path) -> None:
    path, key = keys_file(tmp_path)
    with running.running(running.model(), ["--keys", str(path)]) as server:
        good = hurt.good(running.rows_of(8), running.NAME)[0]
        close = key[:-1] + ("a" if key[-1] != "a" else "b")
        headers = {
            "close": f"Bearer {close}",
            "unknown": "Bearer " + "A" * len(key),
            "short": "Bearer x",
            "none": "",
            "other": "Basic eDp5",
        }
        asked = {
            name: hurt.Request(
                name, good.target, good.body, {**good.headers, "authorization": told}
            )
            for name, told in headers.items()
        }
        right = {**good.headers, "authorization": f"Bearer {key}"}
        with fuzz.Wire(server.port) as wire:
            whole = hurt.Request("right", good.target, good.body, right)
            assert wire.ask(whole).status == 200
            replies = {name: wire.ask(request) for name, request in asked.items()}
            path = "/v1/models/nobody/predict"
            elsewhere = wire.ask(hurt.Request("path", path, b"x", asked["close"].headers))
        assert {reply.status for reply in replies.values()} == {401}
        assert len({(reply.body, tuple(sorted(reply.headers))) for reply in replies.values()}) == 1
        assert elsewhere.body == replies["none"].body
        assert key not in server.log.read_text()
        assert close not in server.log.read_text()
        assert json.loads(replies["none"].body)["error"]


@pytest.mark.soak
def test_how_long_a_refusal_takes_tells_nothing(tmp_path: Path) -> None:
    """Medians of many, in turn: apart by less than what one comparison of bytes would give."""
    path, key = keys_file(tmp_path)
    with running.running(running.model(), ["--keys", str(path)]) as server:
        good = hurt.good(running.rows_of(8), running.NAME)[0]
        told = {
            "close": key[:-1] + ("a" if key[-1] != "a" else "b"),
            "far": ("a" if key[0] != "a" else "b") + key[1:],
            "unknown": "A" * len(key),
        }
        asked = {
            name: hurt.Request(
                name, good.target, good.body, {**good.headers, "authorization": f"Bearer {word}"}
            )
            for name, word in told.items()
        }
        taken: dict[str, list[float]] = {name: [] for name in told}
        with fuzz.Wire(server.port) as wire:
            for _ in range(5000):
                for name, request in asked.items():
                    begun = time.perf_counter()
                    wire.ask(request)
                    taken[name].append(time.perf_counter() - begun)
        medians = [statistics.median(one) for one in taken.values()]
        assert max(medians) < 1.1 * min(medians), dict(zip(taken, medians, strict=True))
