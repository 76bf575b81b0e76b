"""Payloads written to Kafka in transactions, each exactly once."""

from __future__ import annotations

import contextlib
import json
import time
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, final

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources.streams.base import FencedError, Format, Position, Publisher, Writer
from thalweg.sources.streams.brokers import driver
from thalweg.sources.streams.kafka_line import Cluster

PROGRESS: Final = "thalweg-progress"
"""The compacted topic in which the writers' progress is."""

AT_ONCE: Final = 10_000
UNDER_WAY: Final = 200_000
"""How many messages librdkafka holds, at most, that are not yet with the cluster."""


@final
class KafkaPublisher(Publisher):
    """Writes payloads to a Kafka topic in transactions.

    A flush is one transaction of the producer whose ``transactional.id`` is the writer's name and
    the topic's: the messages, the progress (a record of the compacted topic ``thalweg-progress``)
    and, where the stream that is read is of the same cluster, the offsets of its group.

    Parameters
    ----------
    uri
        As for `KafkaStream`; ``&key=column`` chooses the partition as Kafka's own clients do.
    writer
        Who writes.
    """

    def __init__(self, uri: str, writer: Writer) -> None:
        self._cluster = Cluster(uri)
        self._format = self._cluster.broker.format
        self._name = f"{writer.name}/{self._cluster.topic}"
        self._producer: Any = None
        self._done = 0
        self._last = 0
        self._fence = 0
        self._held: list[tuple[pa.LargeBinaryArray, pa.LargeStringArray | None]] = []
        self._source = self._read_from(writer.source)
        self._group: Any = None
        self._consumer: Any = None
        self._part: int | None = None

    @property
    def uri(self) -> str:
        """What it was opened with, free of secrets."""
        return self._cluster.broker.shown

    @property
    def format(self) -> Format:
        """How rows are to be written as payloads."""
        return self._format

    @property
    def key(self) -> str:
        """The column whose values choose the partition."""
        return self._cluster.broker.options.get("key", "")

    @property
    def guarantee(self) -> str:
        """How often a record arrives."""
        return (
            "exactly once for whoever reads what is committed (isolation.level=read_committed): "
            "messages and progress are one transaction of Kafka, which also refuses a process that "
            "was taken over from"
        )

    @property
    def interval(self) -> float:
        """A transaction costs some milliseconds and leaves marks in every partition."""
        return 0.1

    def resume(self, fence: int) -> int:
        """Read the progress, and have Kafka refuse who wrote before."""
        self._drop()
        held = self._progress(fence)
        package = driver("confluent_kafka")
        more = {
            "transactional.id": self._name,
            "transaction.timeout.ms": 60_000,
            "partitioner": "murmur2_random",
            "linger.ms": 1,
            "queue.buffering.max.messages": 2 * UNDER_WAY,
            "compression.type": "lz4",
        }
        try:
            self._producer = package.Producer(self._cluster.settings(more))
            self._producer.init_transactions(3 * self._cluster.patience)
            # Whoever wrote until now may have finished something meanwhile.
            held = self._progress(fence)
            if held["fence"] < fence:
                self._producer.begin_transaction()
                self._note(fence, held["batch"])
                self._producer.commit_transaction(3 * self._cluster.patience)
        except package.KafkaException as error:
            self._drop()
            raise self._cluster.error(error) from None
        self._fence, self._done, self._last = fence, held["batch"], held["batch"]
        return self._done

    def send(
        self, batch: int, payloads: pa.LargeBinaryArray, keys: pa.LargeStringArray | None = None
    ) -> None:
        """Keep the payloads until they are flushed."""
        self._last = batch
        if len(payloads):
            self._held.append((payloads, keys))

    def flush(self, positions: Mapping[str, Position]) -> None:
        """Write all of it in one transaction."""
        if self._last == self._done:
            return
        if self._producer is None:
            raise self._cluster.broker.begun_anew()
        package, wait = driver("confluent_kafka"), 3 * self._cluster.patience
        try:
            self._producer.begin_transaction()
            for payloads, keys in self._held:
                self._produce(payloads, keys)
            self._note(self._fence, self._last)
            if self._source and positions:
                self._send_offsets(positions)
            self._producer.commit_transaction(wait)
        except (SourceError, BufferError) as error:
            self._drop()
            if isinstance(error, SourceError):
                raise
            raise self._cluster.broker.lost(error) from None
        except package.KafkaException as error:
            if error.args[0].txn_requires_abort():
                with contextlib.suppress(package.KafkaException):
                    self._producer.abort_transaction(self._cluster.patience)
            self._drop()
            raise self._cluster.error(error) from None
        self._held = []
        self._done = self._last

    def close(self) -> None:
        """Let go of the connections; what was not flushed is thrown away."""
        self._drop()
        for one in (self._group, self._consumer):
            if one is not None:
                one.close()
        self._group = self._consumer = None

    def _drop(self) -> None:
        self._held = []
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            with warnings.catch_warnings():  # That something was under way is known.
                warnings.simplefilter("ignore", RuntimeWarning)
                producer.close(0)

    def _produce(self, payloads: pa.LargeBinaryArray, keys: pa.LargeStringArray | None) -> None:
        """Hand payloads to librdkafka, as fast as it can send them."""
        for start in range(0, len(payloads), AT_ONCE):
            values = payloads[start : start + AT_ONCE].to_pylist()
            some = [{"value": value} for value in values]
            if keys is not None:
                names = keys[start : start + AT_ONCE].to_pylist()
                some = [{"value": v, "key": k} for v, k in zip(values, names, strict=True)]
            ends = time.monotonic() + 3 * self._cluster.patience
            while len(self._producer) > UNDER_WAY:
                self._producer.poll(0.01)
                if time.monotonic() > ends:
                    raise self._cluster.broker.lost("it takes no messages")
            sent = self._producer.produce_batch(self._cluster.topic, some)
            if sent < len(some):
                raise self._cluster.error(next(one["_error"] for one in some if "_error" in one))

    def _note(self, fence: int, batch: int) -> None:
        """Produce the progress."""
        value = json.dumps({"fence": fence, "batch": batch})
        self._producer.produce(PROGRESS, value, self._name, partition=self._part)

    def _progress(self, fence: int) -> dict[str, int]:
        """Read the progress, and see that nobody with a larger fence wrote it."""
        found, name = {"fence": 0, "batch": 0}, self._name.encode()
        if self._part is None:
            client = driver("confluent_kafka").Producer(self._cluster.settings({}))
            try:
                self._part = zlib.crc32(name) % self._made(client)
            finally:
                client.close(0)
        low, high = self._cluster.ends(self._asking(), PROGRESS, self._part)
        for message in self._cluster.read(self._asking(), PROGRESS, self._part, low, high):
            if message.key() == name:
                found = json.loads(message.value())
        if found["fence"] > fence:
            raise FencedError(
                f"another process writes as {self._name}",
                "one process at a time",
                "End one of them.",
            )
        return found

    def _made(self, client: Any) -> int:
        """Count the partitions of the topic of progress, made where it is not there."""
        if not self._cluster.partitions(client, self._cluster.topic):
            time.sleep(0.5)  # The cluster may be making it.
            if not self._cluster.partitions(client, self._cluster.topic):
                raise self._cluster.missing(client)
        if count := self._cluster.partitions(self._asking(), PROGRESS):
            return count
        admin = driver("confluent_kafka.admin")
        wanted = admin.NewTopic(PROGRESS, 8, config={"cleanup.policy": "compact"})
        made = admin.AdminClient(self._cluster.settings({})).create_topics([wanted])
        try:
            made[PROGRESS].result(self._cluster.patience)
        except driver("confluent_kafka").KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise self._cluster.error(error) from None
        ends = time.monotonic() + self._cluster.patience
        while not (count := self._cluster.partitions(self._asking(), PROGRESS)):
            if time.monotonic() > ends:
                raise self._cluster.broker.lost(f"it does not make the topic {PROGRESS}")
            time.sleep(0.05)
        return count

    def _send_offsets(self, positions: Mapping[str, Position]) -> None:
        """Commit the offsets of the stream that is read, in the same transaction."""
        package, source = driver("confluent_kafka"), self._source
        assert source is not None  # noqa: S101 - it is asked for first
        if self._group is None:
            self._group = source.consumer()
        places = [
            package.TopicPartition(source.topic, int(name), int(position) + 1)
            for name, position in positions.items()
        ]
        of = self._group.consumer_group_metadata()
        self._producer.send_offsets_to_transaction(places, of, 3 * self._cluster.patience)

    def _asking(self) -> Any:
        """Give a consumer to ask by, which makes no topics."""
        if self._consumer is None:
            self._consumer = self._cluster.consumer()
        return self._consumer

    def _read_from(self, uri: str) -> Cluster | None:
        """Give the stream that is read, where it is a topic of the same cluster."""
        if not uri.startswith("kafka://"):
            return None
        source = Cluster(uri)
        # Its URI came without secrets: it is spoken to as this one is.
        source.broker = replace(
            self._cluster.broker, shown=source.broker.shown, hosts=source.broker.hosts
        )
        return source if set(source.broker.hosts) & set(self._cluster.broker.hosts) else None
