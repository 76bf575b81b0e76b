"""NATS JetStream against a real server: exactly once, removed, killed, cut off."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest

import servers
from thalweg.core.errors import LostConnectionError, SourceError
from thalweg.sources.streams.base import FencedError, LostRecordsError, Writer
from thalweg.sources.streams.check import (
    PublisherTrial,
    StreamTrial,
    check_publisher,
    check_stream,
)
from thalweg.sources.streams.nats import NatsPublisher, NatsStream


def payloads(*texts: str) -> pa.LargeBinaryArray:
    return pa.array([text.encode() for text in texts], pa.large_binary())


def texts(stream: NatsStream, partition: str, after: Any = None) -> list[str]:
    found = []
    while records := stream.fetch(partition, after, 1000):
        found += [one.decode() for one in records.payloads.to_pylist()]
        after = records.last
    return found


def ask(port: int, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Do something with the server by its own client."""
    import nats as package

    async def run() -> Any:
        client = await package.connect(f"nats://127.0.0.1:{port}")
        try:
            return await work(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.fixture
def uri(nats: servers.Broker) -> str:
    name = nats.fresh()
    return f"{nats.uri}?stream={name}&subject={name}.rows"


@pytest.fixture
def own() -> Iterator[servers.Broker]:
    yield from servers.wanted(servers.nats)


def fill(uri: str, *some: str, batch: int = 1) -> str:
    """Publish texts as one batch, and name the subject."""
    writer = NatsPublisher(uri, Writer("fill", "0"))
    writer.resume(batch)
    writer.send(batch, payloads(*some))
    writer.flush({})
    writer.close()
    return uri.partition("subject=")[2].partition("&")[0]


@pytest.mark.parametrize("more", ["", "&partitions=3"])
def test_it_is_a_stream(nats: servers.Broker, more: str) -> None:
    writers = []

    def make() -> StreamTrial:
        name = nats.fresh()
        uri = f"{nats.uri}?stream={name}&subject={name}.rows{more}"
        batches = itertools.count(1)
        writer = NatsPublisher(uri, Writer("trial", "0"))
        writer.resume(1)
        writers.append(writer)

        def append(given: Sequence[bytes]) -> None:
            writer.send(next(batches), pa.array(given, pa.large_binary()))
            writer.flush({})

        return StreamTrial(lambda: NatsStream(uri), append, large=1 << 19)

    check_stream(make)
    for writer in writers:
        writer.close()


@pytest.mark.parametrize("more", ["", "&partitions=3"])
def test_it_takes_each_batch_once(nats: servers.Broker, more: str) -> None:
    def make() -> PublisherTrial:
        name = nats.fresh()
        uri = f"{nats.uri}?stream={name}&subject={name}.rows{more}"

        def read() -> list[list[bytes]]:
            with NatsStream(uri) as stream:
                found = [stream.fetch(name, None) for name in stream.partitions()]
            return [one.payloads.to_pylist() if one else [] for one in found]

        return PublisherTrial(lambda writer: NatsPublisher(uri, writer), read, large=1 << 19)

    check_publisher(make)


def test_messages_after_a_position_until_another(uri: str) -> None:
    name = fill(uri, *(str(i) for i in range(500)))
    with NatsStream(uri) as stream:
        found = stream.fetch(name, None)
        assert found is not None
        assert stream.newest(name) == found.last == 500
        assert abs(found.times[-1] / 1e6 - time.time()) < 60
        some = stream.fetch(name, 100, 1000, 300)
        assert some is not None
        assert some.positions.to_pylist() == list(range(101, 301))
        assert some.payloads.to_pylist() == [b"%d" % i for i in range(100, 300)]
        assert stream.fetch(name, 300, 10, 300) is None
        assert stream.lag({name: 300}) == 200
        stream.commit({name: 300})


def test_a_flush_that_broke_off_is_completed(nats: servers.Broker, uri: str) -> None:
    writer = NatsPublisher(f"{uri}&partitions=2", Writer("p", "a/b"))
    writer.resume(1)
    writer.send(1, payloads("a0", "a1"))
    writer.flush({})
    subject = uri.partition("subject=")[2]

    async def half(streams: Any) -> None:
        for i in (0, 2):
            headers = {"Nats-Msg-Id": f"p/a/b/{subject}/2/{i}/4"}
            await streams.publish(f"{subject}.0", b"b%d" % i, headers=headers)
        await streams.publish(
            f"{subject}.1", b"other", headers={"Nats-Msg-Id": f"p/a/{subject}/2/1/4"}
        )
        # Long after: the server knows the names no more.
        config = (await streams.stream_info(subject.partition(".")[0])).config
        await streams.update_stream(config.evolve(duplicate_window=0.1))
        await asyncio.sleep(0.3)

    ask(nats.port, half)
    other = NatsPublisher(f"{uri}&partitions=2", Writer("p", "a/b"))
    assert other.resume(2) == 1
    other.send(2, payloads("b0", "b1", "b2", "b3"))
    other.flush({})
    assert other.resume(2) == 2
    with NatsStream(f"{uri}&partitions=2") as stream:
        found = [texts(stream, name) for name in stream.partitions()]
    assert [sorted(some) for some in found] == [["b0", "b1", "b2", "b3"], ["a0", "a1", "other"]]
    with pytest.raises(FencedError):
        writer.resume(1)
    writer.close()
    other.close()


def test_removed_messages_are_missed(nats: servers.Broker, uri: str) -> None:
    name = fill(uri, *(str(i) for i in range(100)))

    async def purge(streams: Any, keep: int) -> None:
        await streams.purge_stream(name.partition(".")[0], keep=keep)

    with NatsStream(uri) as stream:
        assert stream.fetch(name, None, 50) is not None
        ask(nats.port, lambda one: purge(one, 50))
        assert len(texts(stream, name, 50)) == 50  # What was read may go.
        ask(nats.port, lambda one: purge(one, 30))
        with pytest.raises(LostRecordsError, match="20 messages"):
            stream.fetch(name, 50)
        assert len(texts(stream, name)) == 30


def test_waiting_ends_with_a_message(uri: str) -> None:
    name = fill(uri, "a")
    with NatsStream(uri) as stream:
        assert texts(stream, name) == ["a"]
        begun = time.monotonic()
        stream.wait({name: 1}, 0.2)
        assert 0.15 < time.monotonic() - begun < 2
        timer = threading.Timer(0.1, fill, (uri, "b"), {"batch": 2})
        timer.start()
        begun = time.monotonic()
        stream.wait({name: 1}, 20)
        assert time.monotonic() - begun < 5
        assert texts(stream, name, 1) == ["b"]
        timer.join()


def test_a_killed_server_loses_and_doubles_nothing(own: servers.Broker) -> None:
    uri = f"{own.uri}?stream=S&subject=s&partitions=2"
    killer = threading.Thread(target=killed, args=(own, 3))
    stream, writer = NatsStream(uri), NatsPublisher(uri, Writer("p", "0"))
    writer.resume(1)
    killer.start()
    found: dict[str, list[str]] = {name: [] for name in stream.partitions()}
    after: dict[str, Any] = dict.fromkeys(stream.partitions())
    batch, lost, ready = 0, 0, True
    while killer.is_alive() or batch < 100 or sum(map(len, found.values())) < batch * 20:
        try:
            if not ready:
                batch, ready = writer.resume(1), True
            if batch < 100 or killer.is_alive():
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
    stream.close()
    writer.close()


def killed(broker: servers.Broker, times: int) -> None:
    for _ in range(times):
        time.sleep(0.3)
        broker.kill()
        time.sleep(0.1)
        broker.start()


def test_a_cut_network_is_waited_for(nats: servers.Broker) -> None:
    with servers.Cable(nats.port) as cable:
        uri = f"nats://127.0.0.1:{cable.port}?stream={nats.fresh()}"
        stream, writer = NatsStream(uri), NatsPublisher(uri, Writer("p", "0"))
        name = stream.partitions()[0]
        writer.resume(1)
        writer.send(1, payloads("a"))
        writer.flush({})
        assert texts(stream, name) == ["a"]
        cable.cut()
        writer.send(2, payloads("b"))
        with pytest.raises(LostConnectionError, match=str(cable.port)):
            writer.flush({})
        for _ in range(2):
            with pytest.raises(LostConnectionError, match=str(cable.port)):
                stream.fetch(name, None)
            with pytest.raises(LostConnectionError, match=str(cable.port)):
                stream.wait({name: None}, 5)
        cable.mend()
        assert writer.resume(1) == 1
        writer.send(2, payloads("b"))
        writer.flush({})
        assert texts(stream, name) == ["a", "b"]
        stream.close()
        writer.close()


def test_nobody_there_is_said_at_once() -> None:
    with NatsStream("nats://127.0.0.1:1?stream=s") as stream:
        begun = time.monotonic()
        for _ in range(2):
            with pytest.raises(LostConnectionError, match=r"127\.0\.0\.1:1"):
                stream.newest("s")
        assert time.monotonic() - begun < 5


def test_a_network_cut_while_waiting_is_noticed(nats: servers.Broker) -> None:
    with servers.Cable(nats.port) as cable:
        uri = f"nats://127.0.0.1:{cable.port}?stream={nats.fresh()}"
        name = uri.rpartition("=")[2]
        fill(uri, "a")
        with NatsStream(uri) as stream:
            assert texts(stream, name) == ["a"]
            timer = threading.Timer(0.2, cable.cut)
            timer.start()
            begun = time.monotonic()
            with pytest.raises(LostConnectionError):
                stream.wait({name: 1}, 20)
            assert time.monotonic() - begun < 5
            timer.join()


def test_a_stream_that_is_full_is_waited_for(nats: servers.Broker, uri: str) -> None:
    name, subject = uri.partition("stream=")[2].split("&subject=")

    async def limit(streams: Any, most: int) -> None:
        config = (await streams.stream_info(name)).config
        await streams.update_stream(config.evolve(max_msgs=most, discard="new"))

    writer = NatsPublisher(uri, Writer("p", "0"))
    writer.resume(1)
    ask(nats.port, lambda one: limit(one, 3))
    writer.send(1, payloads("a", "b", "c", "d", "e"))
    with pytest.raises(LostConnectionError, match="takes nothing more"):
        writer.flush({})
    with pytest.raises(LostConnectionError, match="Resume"):
        writer.flush({})
    ask(nats.port, lambda one: limit(one, 100))
    assert writer.resume(1) == 0
    writer.send(1, payloads("a", "b", "c", "d", "e"))
    writer.flush({})
    with NatsStream(uri) as stream:
        assert texts(stream, subject) == ["a", "b", "c", "d", "e"]
    writer.close()


def test_what_nats_refuses_is_said_without_secrets(nats: servers.Broker, uri: str) -> None:
    with NatsStream(uri) as stream, pytest.raises(SourceError, match="has no stream"):
        stream.newest(stream.partitions()[0])
    with pytest.raises(SourceError, match="names no stream"):
        NatsStream(nats.uri)
    writer = NatsPublisher(uri, Writer("p", "0"))
    writer.resume(1)
    writer.send(1, payloads("x" * (2 << 20)))
    with pytest.raises(SourceError, match="larger than"):
        writer.flush({})
    writer.close()
    name = nats.fresh()

    async def queue(streams: Any) -> None:
        await streams.add_stream(name=name, subjects=[name], retention="workqueue")

    ask(nats.port, queue)
    refused = pytest.raises(SourceError, match="keeps messages by workqueue")
    with NatsStream(f"{nats.uri}?stream={name}") as stream, refused:
        stream.fetch(name, None)


def test_a_wrong_password_is_no_lost_connection() -> None:
    for server in servers.wanted(lambda: servers.nats(["--user", "ann", "--pass", "right"])):
        good = f"nats://ann:right@127.0.0.1:{server.port}?stream=s"
        writer = NatsPublisher(good, Writer("p", "0"))
        assert writer.resume(1) == 0
        writer.close()
        for account in ("ann:sesame", "sesame"):
            uri = f"nats://{account}@127.0.0.1:{server.port}?stream=s"
            with NatsStream(uri) as stream, pytest.raises(SourceError, match="refuses") as told:
                stream.newest("s")
            assert "sesame" not in str(told.value) + stream.uri
            assert not isinstance(told.value, LostConnectionError)


def test_without_the_package_it_says_what_to_run() -> None:
    code = """
import sys
sys.modules["nats"] = None
from thalweg.sources.streams.nats import NatsStream
NatsStream("nats://localhost?stream=s").newest("s")
"""
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Run: pip install 'thalweg[stream]'" in done.stderr
