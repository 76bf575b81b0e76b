"""Redis Streams against a real server: exactly once, taken over, trimmed, killed, cut off."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest

import servers
from thalweg.core.errors import LostConnectionError, SourceError
from thalweg.sources.streams import redis as module
from thalweg.sources.streams.base import FencedError, LostRecordsError, Writer
from thalweg.sources.streams.check import (
    PublisherTrial,
    StreamTrial,
    check_publisher,
    check_stream,
)
from thalweg.sources.streams.redis import RedisPublisher, RedisStream


def payloads(*texts: str) -> pa.LargeBinaryArray:
    return pa.array([text.encode() for text in texts], pa.large_binary())


def texts(stream: RedisStream, partition: str, after: str | None = None) -> list[str]:
    found = []
    while records := stream.fetch(partition, after, 1000):
        found += [one.decode() for one in records.payloads.to_pylist()]
        after = records.last
    return found


@pytest.fixture
def uri(redis: servers.Broker) -> str:
    return f"{redis.uri}/0?stream={redis.fresh()}"


@pytest.fixture
def own() -> Iterator[servers.Broker]:
    yield from servers.wanted(servers.redis)


@pytest.fixture
def client(redis: servers.Broker) -> Iterator[Any]:
    import redis as package

    with package.Redis(port=redis.port) as one:
        yield one


@pytest.mark.parametrize("more", ["", "&partitions=3"])
def test_it_is_a_stream(redis: servers.Broker, more: str) -> None:
    def make() -> StreamTrial:
        uri = f"{redis.uri}/0?stream={redis.fresh()}{more}"
        batches = itertools.count(1)
        writer = RedisPublisher(uri, Writer("trial", uri))
        writer.resume(1)

        def append(given: Sequence[bytes]) -> None:
            writer.send(next(batches), pa.array(given, pa.large_binary()))
            writer.flush({})

        return StreamTrial(lambda: RedisStream(uri), append)

    check_stream(make)


@pytest.mark.parametrize("more", ["", "&partitions=3"])
def test_it_takes_each_batch_once(redis: servers.Broker, more: str) -> None:
    import redis as package

    def make() -> PublisherTrial:
        with package.Redis(port=redis.port) as client:
            client.flushdb()
        uri = f"{redis.uri}/0?stream={redis.fresh()}{more}"

        def read() -> list[list[bytes]]:
            with RedisStream(uri) as stream:
                found = [stream.fetch(name, None) for name in stream.partitions()]
            return [one.payloads.to_pylist() if one else [] for one in found]

        return PublisherTrial(lambda writer: RedisPublisher(uri, writer), read)

    check_publisher(make)


def test_entries_after_a_position_until_another(uri: str) -> None:
    writer = RedisPublisher(uri, Writer("p", uri))
    assert writer.resume(1) == 0
    writer.send(1, payloads(*(str(i) for i in range(500))))
    writer.flush({})
    with RedisStream(uri) as stream:
        name = stream.partitions()[0]
        all_ = stream.fetch(name, None)
        assert all_ is not None
        assert stream.newest(name) == all_.last
        assert abs(all_.times[-1] / 1e6 - time.time()) < 60
        ids = all_.positions.to_pylist()
        some = stream.fetch(name, ids[99], 1000, ids[299])
        assert some is not None
        assert some.positions.to_pylist() == ids[100:300]
        assert some.payloads.to_pylist() == [b"%d" % i for i in range(100, 300)]
        assert stream.fetch(name, ids[299], 10, ids[299]) is None
        assert stream.fetch(name, all_.last) is None
    writer.close()


def test_an_entry_of_other_fields_is_json(uri: str, client: Any) -> None:
    name = uri.partition("=")[2]
    client.xadd(name, {"city": 'a "b"\n', "n": "3"})
    client.xadd(name, {"n": "4", "data": b"\x00\xff"})
    client.xadd(name, {"body": "x"})
    with RedisStream(uri) as stream:
        found = stream.fetch(name, None)
        assert found is not None
        expected = [b'{"city":"a \\"b\\"\\n","n":"3"}', b"\x00\xff", b'{"body":"x"}']
        assert found.payloads.to_pylist() == expected
    with RedisStream(f"{uri}&field=body") as stream:
        found = stream.fetch(name, "0-0")
        assert found is not None
        assert found.payloads.to_pylist()[2] == b"x"


def test_large_entries_come_a_few_at_a_time(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES", 100_000)
    writer = RedisPublisher(uri, Writer("p", uri))
    writer.resume(1)
    writer.send(1, payloads(*(f"{i:05}" * 6_000 for i in range(40))))
    writer.flush({})
    with RedisStream(uri) as stream:
        name = stream.partitions()[0]
        first = stream.fetch(name, None)
        assert first is not None
        assert len(first) < 20
        assert [one[:5] for one in texts(stream, name)] == [f"{i:05}" for i in range(40)]
    writer.close()


def test_equal_keys_share_a_partition(uri: str) -> None:
    writer = RedisPublisher(f"{uri}&partitions=4", Writer("p", uri))
    writer.resume(1)
    keys = [f"k{i % 10}" for i in range(1000)]
    writer.send(
        1, payloads(*(f"{k}:{i}" for i, k in enumerate(keys))), pa.array(keys, "large_string")
    )
    writer.flush({})
    places: dict[str, set[str]] = {}
    with RedisStream(f"{uri}&partitions=4") as stream:
        found = {name: texts(stream, name) for name in stream.partitions()}
    for name, some in found.items():
        for text in some:
            places.setdefault(text.partition(":")[0], set()).add(name)
        numbers = [int(text.partition(":")[2]) for text in some]
        assert numbers == sorted(numbers)
    assert sum(map(len, found.values())) == 1000
    assert len(places) == 10
    assert all(len(names) == 1 for names in places.values())


def test_lag_and_pending_are_right_after_commit(uri: str, client: Any) -> None:
    name = uri.partition("=")[2]
    for i in range(100):
        client.xadd(name, {"data": str(i)})
    with RedisStream(f"{uri}&group=g") as stream:
        assert stream.lag({name: None}) == 100
        found = stream.fetch(name, None, 60)
        assert found is not None
        ids = found.positions.to_pylist()
        stream.commit({name: ids[39]})
        assert client.xinfo_groups(name)[0]["lag"] == 60
        assert stream.lag({name: ids[39]}) == 60
        assert stream.lag({name: ids[59]}) == 40
        stream.fetch(name, ids[59])
        stream.commit({name: ids[59]})
        assert client.xinfo_groups(name)[0]["lag"] == 40
    # Another process goes on behind what was committed last.
    with RedisStream(f"{uri}&group=g") as stream:
        found = stream.fetch(name, ids[49], 5)
        assert found is not None
        stream.commit({name: found.last})
        assert client.xinfo_groups(name)[0]["lag"] == 45
        stream.fetch(name, found.last)
        newest = stream.newest(name)
        assert newest is not None
        stream.commit({name: newest})
        assert client.xinfo_groups(name)[0]["lag"] == 0
        assert client.xpending(name, "g")["pending"] == 0


def test_what_a_dead_consumer_left_is_taken_over(uri: str, client: Any) -> None:
    name = uri.partition("=")[2]
    client.xgroup_create(name, "g", "0", mkstream=True)
    for i in range(3000):
        client.xadd(name, {"data": str(i)})
    client.xreadgroup("g", "dead", {name: ">"}, 2500)
    with RedisStream(f"{uri}&group=g", idle=0.0) as stream:
        found = stream.fetch(name, None, 2000)
        assert found is not None
        stream.commit({name: found.last})
        assert client.xpending(name, "g")["pending"] == 500
        rest = stream.fetch(name, found.last)
        assert rest is not None
        assert rest.payloads.to_pylist() == [b"%d" % i for i in range(2000, 3000)]
        stream.commit({name: rest.last})
        assert client.xpending(name, "g")["pending"] == 0
        assert client.xinfo_groups(name)[0]["lag"] == 0


def test_a_consumer_that_lives_keeps_what_it_has(uri: str, client: Any) -> None:
    name = uri.partition("=")[2]
    client.xgroup_create(name, "g", "0", mkstream=True)
    client.xadd(name, {"data": "a"})
    client.xreadgroup("g", "alive", {name: ">"})
    with RedisStream(f"{uri}&group=g") as stream:
        found = stream.fetch(name, None)
        assert found is not None
        stream.commit({name: found.last})
    assert client.xpending(name, "g")["pending"] == 1


def test_trimmed_entries_are_missed(uri: str, client: Any) -> None:
    name = uri.partition("=")[2]
    for i in range(100):
        client.xadd(name, {"data": str(i)})
    with RedisStream(uri) as stream:
        found = stream.fetch(name, None, 50)
        assert found is not None
        stream.commit({name: found.last})
        client.xtrim(name, maxlen=50, approximate=False)
        assert len(texts(stream, name, found.last)) == 50  # What was read may go.
        client.xtrim(name, maxlen=30, approximate=False)
        with pytest.raises(LostRecordsError, match="20 entries"):
            stream.fetch(name, found.last)
        assert len(texts(stream, name)) == 30
    with RedisStream(uri) as other, pytest.raises(LostRecordsError, match="20 entries"):
        other.fetch(name, found.last)


def test_an_entry_deleted_by_hand_is_passed_over(uri: str, client: Any) -> None:
    name = uri.partition("=")[2]
    ids = [client.xadd(name, {"data": str(i)}).decode() for i in range(10)]
    with RedisStream(uri) as stream:
        stream.fetch(name, None, 5)
        client.xdel(name, ids[4], ids[6])
        assert texts(stream, name, ids[4]) == ["5", "7", "8", "9"]


def test_a_second_writer_fences_the_first(uri: str) -> None:
    first, second = (RedisPublisher(uri, Writer("p", uri)) for _ in range(2))
    assert first.resume(1) == 0
    first.send(1, payloads("a"))
    first.flush({})
    first.send(2, payloads("zombie"))
    assert second.resume(2) == 1
    with pytest.raises(FencedError):
        first.flush({})
    second.send(2, payloads("b"))
    second.flush({})
    with pytest.raises(FencedError):
        first.resume(1)
    with RedisStream(uri) as stream:
        assert texts(stream, stream.partitions()[0]) == ["a", "b"]


def test_waiting_ends_with_an_entry(uri: str, client: Any) -> None:
    name = uri.partition("=")[2]
    with RedisStream(uri) as stream:
        assert stream.fetch(name, None) is None
        begun = time.monotonic()
        stream.wait({name: None}, 0.2)
        assert 0.15 < time.monotonic() - begun < 2
        timer = threading.Timer(0.1, client.xadd, (name, {"data": "a"}))
        timer.start()
        begun = time.monotonic()
        stream.wait({name: None}, 20)
        assert time.monotonic() - begun < 5
        assert texts(stream, name) == ["a"]
        timer.join()


def test_a_killed_server_loses_and_doubles_nothing(own: servers.Broker) -> None:
    uri = f"{own.uri}/0?stream=s&partitions=2"
    killer = threading.Thread(target=killed, args=(own, 3))
    stream, writer = RedisStream(uri), RedisPublisher(uri, Writer("p", "0"))
    killer.start()
    found: dict[str, list[str]] = {name: [] for name in stream.partitions()}
    after: dict[str, Any] = dict.fromkeys(stream.partitions())
    fence, batch, lost, ready = 1, 0, 0, False
    while batch < 400 or sum(map(len, found.values())) < 8000:
        try:
            if not ready:
                batch, ready = writer.resume(fence), True
            if batch < 400 or killer.is_alive():
                batch += 1
                writer.send(batch, payloads(*(f"{batch}/{i}" for i in range(20))))
                writer.flush({})
            for name, position in after.items():
                if records := stream.fetch(name, position, 1000):
                    after[name] = records.last
                    found[name] += [one.decode() for one in records.payloads.to_pylist()]
            stream.commit({name: one for name, one in after.items() if one})
        except LostConnectionError:
            lost, ready = lost + 1, False
            time.sleep(0.02)
    killer.join()
    assert lost
    for name, some in found.items():
        turn = int(name[-1])
        sent = [f"{b}/{i}" for b in range(1, batch + 1) if b % 2 == turn for i in range(20)]
        assert some + texts(stream, name, after[name]) == sent


def killed(broker: servers.Broker, times: int) -> None:
    for _ in range(times):
        time.sleep(0.25)
        broker.kill()
        time.sleep(0.1)
        broker.start()


def test_a_cut_network_is_waited_for(redis: servers.Broker) -> None:
    with servers.Cable(redis.port) as cable:
        uri = f"redis://:x@127.0.0.1:{cable.port}/0?stream={redis.fresh()}".replace(":x@", "")
        stream, writer = RedisStream(uri), RedisPublisher(uri, Writer("p", uri))
        name = stream.partitions()[0]
        writer.resume(1)
        writer.send(1, payloads("a"))
        writer.flush({})
        assert texts(stream, name) == ["a"]
        cable.cut()
        writer.send(2, payloads("b"))
        for _ in range(2):
            with pytest.raises(LostConnectionError, match=str(cable.port)):
                writer.flush({})
            with pytest.raises(LostConnectionError, match=str(cable.port)):
                stream.fetch(name, None)
            with pytest.raises(LostConnectionError, match=str(cable.port)):
                stream.wait({name: None}, 5)
        cable.mend()
        assert writer.resume(1) == 1
        writer.send(2, payloads("b"))
        writer.flush({})
        assert texts(stream, name) == ["a", "b"]


def test_what_redis_refuses_is_said_without_secrets(redis: servers.Broker, client: Any) -> None:
    wrong = f"redis://ann:sesame/x@127.0.0.1:{redis.port}/0?stream=s"
    stream = RedisStream(wrong)
    assert stream.uri == f"redis://ann@127.0.0.1:{redis.port}/0?stream=s"
    with pytest.raises(SourceError, match="refuses") as told:
        stream.fetch("s", None)
    assert "sesame" not in str(told.value)
    assert not isinstance(told.value, LostConnectionError)
    with pytest.raises(SourceError, match="names no stream"):
        RedisStream(f"{redis.uri}/0")
    with pytest.raises(SourceError, match="Did you mean 'group'"):
        RedisStream(f"{redis.uri}/0?stream=s&grupp=x")
    client.set("atext", "x")
    text = f"{redis.uri}/0?stream=atext"
    with pytest.raises(SourceError, match="refuses"):
        RedisStream(text).fetch("atext", None)
    writer = RedisPublisher(text, Writer("p", "atext"))
    writer.resume(1)
    writer.send(1, payloads("a"))
    with pytest.raises(SourceError, match="holds a string"):
        writer.flush({})


def test_a_redis_that_is_full_is_waited_for(own: servers.Broker) -> None:
    import redis as package

    uri = f"{own.uri}/0?stream=s"
    writer = RedisPublisher(uri, Writer("p", "0"))
    writer.resume(1)
    with package.Redis(port=own.port) as client:
        client.config_set("maxmemory", "1")
        writer.send(1, payloads("a", "b"))
        with pytest.raises(LostConnectionError, match="takes nothing more"):
            writer.flush({})
        with pytest.raises(LostConnectionError, match="Resume"):
            writer.flush({})
        client.config_set("maxmemory", "0")
    assert writer.resume(1) == 0
    writer.send(1, payloads("a", "b"))
    writer.flush({})
    assert texts(RedisStream(uri), "s") == ["a", "b"]


def test_without_the_package_it_says_what_to_run() -> None:
    code = """
import sys
sys.modules["redis"] = None
from thalweg.sources.streams.redis import RedisStream
RedisStream("redis://localhost/0?stream=s").newest("s")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Run: pip install 'thalweg[stream]'" in done.stderr
