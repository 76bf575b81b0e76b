"""Kafka: a real cluster where KAFKA_BOOTSTRAP_SERVERS names one, else librdkafka's mock of one."""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from thalweg.core.errors import LostConnectionError, SourceError
from thalweg.sources.streams import kafka_line
from thalweg.sources.streams.base import FencedError, LostRecordsError, Writer
from thalweg.sources.streams.check import (
    PublisherTrial,
    StreamTrial,
    check_publisher,
    check_stream,
)
from thalweg.sources.streams.kafka import KafkaPublisher, KafkaStream
from thalweg.sources.streams.kafka_publisher import PROGRESS

REAL = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
PARTS = 4  # As many as the mock makes.
MOCK = """
import sys
from confluent_kafka import Producer
one = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 0})
found = one.list_topics(timeout=20).brokers.values()
print(",".join(f"{at.host}:{at.port}" for at in found), flush=True)
sys.stdin.read()
"""
on_a_real_cluster = pytest.mark.skipif(not REAL, reason="KAFKA_BOOTSTRAP_SERVERS is not set")
on_the_mock = pytest.mark.skipif(bool(REAL), reason="a real cluster is not ours to stop")


@dataclass
class Kafka:
    servers: str
    process: subprocess.Popen[str] | None

    def topic(self) -> str:
        """Make a topic, and give its URI."""
        from confluent_kafka import Producer
        from confluent_kafka.admin import AdminClient, NewTopic

        name = f"t{secrets.token_hex(4)}"
        settings = {"bootstrap.servers": self.servers, "log_level": 0}
        if self.process:  # A mock makes whatever is asked for.
            Producer(settings).list_topics(name, timeout=20)
        else:
            AdminClient(settings).create_topics([NewTopic(name, PARTS)])[name].result(20)
        return f"kafka://{self.servers}/{name}"


def mock() -> Iterator[Kafka]:
    words = [sys.executable, "-c", MOCK]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        one = Kafka(process.stdout.readline().strip(), process)
        try:
            from confluent_kafka import Producer

            settings = {"bootstrap.servers": one.servers, "log_level": 0}
            Producer(settings).list_topics(PROGRESS, timeout=20)
            yield one
        finally:
            process.kill()


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    if REAL:
        yield Kafka(REAL, None)
    else:
        yield from mock()


@pytest.fixture
def own() -> Iterator[Kafka]:
    yield from mock()


def payloads(*texts: str) -> pa.LargeBinaryArray:
    return pa.array([text.encode() for text in texts], pa.large_binary())


def contents(stream: KafkaStream) -> list[list[str]]:
    found = []
    for name in stream.partitions():
        some, after = [], None
        while records := stream.fetch(name, after):
            some += [one.decode() for one in records.payloads.to_pylist()]
            after = records.last
        found.append(some)
    return found


def together(stream: KafkaStream) -> list[str]:
    return [one for some in contents(stream) for one in some]


def fill(uri: str, *some: str, key: str = "one") -> None:
    writer = KafkaPublisher(uri, Writer(f"fill {secrets.token_hex(4)}", "0"))
    writer.resume(1)
    writer.send(1, payloads(*some), pa.array([key] * len(some), pa.large_string()))
    writer.flush({})
    writer.close()


def test_it_is_a_stream(kafka: Kafka) -> None:
    writers = []

    def make() -> StreamTrial:
        uri = kafka.topic()
        batches = itertools.count(1)
        writer = KafkaPublisher(uri, Writer("trial", "0"))
        writer.resume(1)
        writers.append(writer)

        def append(given: Sequence[bytes]) -> None:
            keys = pa.array(["one"] * len(given), pa.large_string())
            writer.send(next(batches), pa.array(given, pa.large_binary()), keys)
            writer.flush({})

        return StreamTrial(lambda: KafkaStream(uri), append, large=500_000)

    check_stream(make)
    for writer in writers:
        writer.close()


def test_it_takes_each_batch_once(kafka: Kafka) -> None:
    def make() -> PublisherTrial:
        uri = kafka.topic()

        def read() -> list[list[bytes]]:
            with KafkaStream(uri) as stream:
                return [[one.encode() for one in some] for some in contents(stream)]

        return PublisherTrial(
            lambda writer: KafkaPublisher(uri, writer), read, fences=bool(REAL), large=500_000
        )

    check_publisher(make)


def test_offsets_are_committed_to_the_group(kafka: Kafka) -> None:
    from confluent_kafka import Consumer, TopicPartition

    uri = kafka.topic()
    fill(uri, *(str(i) for i in range(50)))
    group = f"g{secrets.token_hex(4)}"
    with KafkaStream(f"{uri}?group={group}") as stream:
        name = next(one for one in stream.partitions() if stream.newest(one) is not None)
        records = stream.fetch(name, None, 20)
        assert records is not None
        assert stream.lag({name: records.last}) in (30, 31)  # The end of the transaction counts.
        stream.commit({name: records.last})
        assert abs(records.times[-1] / 1e6 - time.time()) < 600
    settings = {"bootstrap.servers": kafka.servers, "group.id": group, "log_level": 0}
    consumer = Consumer(settings)
    place = TopicPartition(uri.rpartition("/")[2], int(name))
    assert consumer.committed([place], timeout=20)[0].offset == records.last + 1
    consumer.close()


def test_a_topic_read_and_a_topic_written_are_one_transaction(kafka: Kafka) -> None:
    from confluent_kafka import Consumer, TopicPartition

    source, target = kafka.topic(), kafka.topic()
    group = f"g{secrets.token_hex(4)}"
    fill(source, *(str(i) for i in range(10)))
    writer = KafkaPublisher(target, Writer("p", "0", f"{source}?group={group}"))
    assert writer.resume(1) == 0
    writer.send(1, payloads("a"))
    writer.flush({"0": 4})
    writer.close()
    with KafkaStream(target) as stream:
        assert together(stream) == ["a"]
    if REAL:  # The mock forgets them.
        settings = {"bootstrap.servers": kafka.servers, "group.id": group}
        consumer = Consumer(settings)
        place = TopicPartition(source.rpartition("/")[2], 0)
        assert consumer.committed([place], timeout=20)[0].offset == 5
        consumer.close()


@on_a_real_cluster
def test_what_was_aborted_is_not_read(kafka: Kafka) -> None:
    from confluent_kafka import Producer

    uri = kafka.topic()
    fill(uri, "a")
    settings = {"bootstrap.servers": kafka.servers, "transactional.id": secrets.token_hex(4)}
    producer = Producer(settings)
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(uri.rpartition("/")[2], b"aborted")
    producer.flush(20)
    producer.abort_transaction(20)
    fill(uri, "b")
    with KafkaStream(uri) as stream:
        assert sorted(together(stream)) == ["a", "b"]


@on_a_real_cluster
def test_a_takeover_finishes_or_undoes_what_was_begun(kafka: Kafka) -> None:
    uri = kafka.topic()
    first, second = (KafkaPublisher(uri, Writer(uri, "0")) for _ in range(2))
    first.resume(1)
    first.send(1, payloads("a"))
    first.flush({})
    producer: Any = first._producer
    producer.begin_transaction()
    producer.produce(uri.rpartition("/")[2], b"half")
    producer.flush(20)
    assert second.resume(2) == 1
    second.send(2, payloads("b"))
    second.flush({})
    first.send(2, payloads("zombie"))
    with pytest.raises((FencedError, LostConnectionError)):
        first.flush({})
    with KafkaStream(uri) as stream:
        assert sorted(together(stream)) == ["a", "b"]
    first.close()
    second.close()


def test_a_smaller_fence_is_refused(kafka: Kafka) -> None:
    uri = kafka.topic()
    one = KafkaPublisher(uri, Writer("p", "0"))
    one.resume(5)
    other = KafkaPublisher(uri, Writer("p", "0"))
    with pytest.raises(FencedError):
        other.resume(4)
    one.close()
    other.close()


@on_the_mock
def test_messages_that_are_gone_are_missed(kafka: Kafka) -> None:
    uri = kafka.topic()
    for _ in range(8):  # The mock keeps the last few megabytes.
        fill(uri, *(os.urandom(10_000).hex() for _ in range(60)))
    with KafkaStream(uri) as stream:
        name = next(one for one in stream.partitions() if stream.newest(one) is not None)
        low, _ = stream._cluster.ends(stream._opened(), stream._cluster.topic, int(name))
        assert low > 1
        with pytest.raises(LostRecordsError, match="retention"):
            stream.fetch(name, 0)
        assert stream.fetch(name, None) is not None
        assert stream.fetch(name, low - 1) is not None


def test_waiting_ends_with_a_message(kafka: Kafka) -> None:
    uri = kafka.topic()
    with KafkaStream(uri) as stream:
        after = dict.fromkeys(stream.partitions())
        begun = time.monotonic()
        stream.wait(after, 0.2)
        assert 0.15 < time.monotonic() - begun < 2
        timer = threading.Timer(0.1, fill, (uri, "a"))
        timer.start()
        begun = time.monotonic()
        stream.wait(after, 20)
        assert time.monotonic() - begun < 5
        assert together(stream) == ["a"]
        timer.join()


@on_the_mock
def test_a_frozen_cluster_is_waited_for(own: Kafka) -> None:
    assert own.process
    uri = own.topic()
    stream, writer = KafkaStream(uri), KafkaPublisher(uri, Writer("p", "0"))
    names = stream.partitions()
    writer.resume(1)
    writer.send(1, payloads("a"))
    writer.flush({})
    assert together(stream) == ["a"]
    stream._cluster.patience = writer._cluster.patience = 0.5
    own.process.send_signal(signal.SIGSTOP)
    with pytest.raises(LostConnectionError, match=own.servers):
        stream.fetch(names[0], 7)
    writer.send(2, payloads("b"))
    with pytest.raises(LostConnectionError, match=own.servers):
        writer.flush({})
    own.process.send_signal(signal.SIGCONT)
    stream._cluster.patience = writer._cluster.patience = 5.0
    if writer.resume(1) == 1:
        writer.send(2, payloads("b"))
        writer.flush({})
    assert sorted(together(stream))[:2] == ["a", "b"]
    writer.close()
    stream.close()


def test_nobody_there_is_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_line, "SECONDS", 0.3)
    uri = "kafka://ann:sesame@127.0.0.1:1/t?security.protocol=PLAINTEXT"
    with KafkaStream(uri) as stream:
        for _ in range(2):
            with pytest.raises(LostConnectionError, match=r"127\.0\.0\.1:1") as told:
                stream.partitions()
            assert "sesame" not in str(told.value)
    writer = KafkaPublisher(uri, Writer("p", "0"))
    with pytest.raises(LostConnectionError, match=r"127\.0\.0\.1:1"):
        writer.resume(1)
    writer.close()


def test_what_cannot_be_is_said(kafka: Kafka) -> None:
    uri = kafka.topic()
    with KafkaStream(f"{uri}x") as stream, pytest.raises(SourceError, match="Did you mean"):
        stream.partitions()
    with KafkaStream(uri) as stream, pytest.raises(SourceError, match="no partition '99'"):
        stream.fetch("99", None)
    with pytest.raises(SourceError, match="names no topic"):
        KafkaStream("kafka://localhost")
    writer = KafkaPublisher(uri, Writer("p", "0"))
    writer.resume(1)
    writer.send(1, payloads("x" * (2 << 20)))
    with pytest.raises(SourceError, match="larger than"):
        writer.flush({})
    with pytest.raises(LostConnectionError, match="Resume"):
        writer.flush({})
    writer.close()


def test_without_the_package_it_says_what_to_run() -> None:
    code = """
import sys
sys.modules["confluent_kafka"] = None
from thalweg.sources.streams.kafka import KafkaStream
KafkaStream("kafka://localhost/t").partitions()
"""
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Run: pip install 'thalweg[stream]'" in done.stderr
