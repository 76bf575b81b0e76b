"""Kafka, read by offset and written in transactions.

Partitions are assigned with explicit offsets: who reads which is the runner's to say, and there is
no group rebalancing. The offsets are committed to the group for whoever watches. Only what was
committed is read (``isolation.level=read_committed``); offsets may have gaps where transactions
ended. Tried with librdkafka's own mock cluster over real sockets, which keeps little data, does
not honour aborts, fences nobody and forgets the offsets of transactions; the tests run against a
real cluster where ``KAFKA_BOOTSTRAP_SERVERS`` names one. Needs Kafka 2.5.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources.streams.base import (
    Format,
    LostRecordsError,
    Position,
    Records,
    Stream,
)
from thalweg.sources.streams.brokers import BYTES, driver
from thalweg.sources.streams.kafka_line import Cluster
from thalweg.sources.streams.kafka_publisher import KafkaPublisher

__all__ = ["KafkaPublisher", "KafkaStream"]

AT_ONCE: Final = 10_000
"""How many messages are taken from librdkafka at a time."""

AHEAD: Final = 100_000
"""How many messages of a partition wait here before it is paused."""


@final
class KafkaStream(Stream):
    """A Kafka topic.

    Parameters
    ----------
    uri
        ``kafka://[user:password@]host[:port][,host...]/topic``, and what may follow:
        ``?group=name`` for the group to which offsets are committed; ``&format=json``, csv or
        arrow; any setting of librdkafka with a dot in its name, such as ``&security.protocol=SSL``.
        With a user, ``SASL_SSL`` and ``PLAIN`` are meant where nothing else is said.

    Examples
    --------
    >>> KafkaStream("kafka://ann:sesame@localhost:9092/events?group=shop").uri
    'kafka://ann@localhost:9092/events?group=shop'
    """

    def __init__(self, uri: str) -> None:
        self._cluster = Cluster(uri)
        self._format = self._cluster.broker.format
        self._consumer: Any = None
        self._asker: Any = None
        self._names: tuple[str, ...] = ()
        self._places: dict[int, _Place] = {}

    @property
    def uri(self) -> str:
        """What it was opened with, free of secrets."""
        return self._cluster.broker.shown

    @property
    def format(self) -> Format:
        """How its payloads are written."""
        return self._format

    def partitions(self) -> Sequence[str]:
        """Give the partitions' numbers."""
        if not self._names:
            count = self._cluster.partitions(self._asking(), self._cluster.topic)
            if not count:
                raise self._cluster.missing(self._asking())
            self._names = tuple(str(i) for i in range(count))
        return self._names

    def fetch(
        self,
        partition: str,
        after: Position | None,
        most: int = 65_536,
        until: Position | None = None,
    ) -> Records | None:
        """Give the next messages that are there."""
        place = self._ready(partition, after)
        if place.lost:  # Perhaps what was asked before was answered only now.
            place = self._ready(partition, after)
        while place.queue and len(place.queue) < most and self._pump(AT_ONCE, 0):
            if sum(map(len, place.queue)) > BYTES:
                break
        if place.lost:
            raise self._lost(partition, after)
        found = place.give(most, None if until is None else int(until))
        if place.paused and len(place.queue) < AHEAD:
            self._opened().resume([self._at(place)])
            place.paused = False
        if not found:
            return None
        offsets = np.array([one.offset() for one in found], dtype=np.int64)
        times = np.array([one.timestamp()[1] for one in found], dtype=np.int64) * 1000
        payloads = pa.array([one.value() or b"" for one in found], pa.large_binary())
        return Records(partition, payloads, pa.array(offsets), times)

    def newest(self, partition: str) -> Position | None:
        """Give the last message's offset: what lies behind it may be the ends of transactions."""
        self.partitions()
        cluster, back = self._cluster, 16
        low, high = cluster.ends(self._asking(), cluster.topic, int(partition))
        while low < high:
            start = max(low, high - back)
            found = cluster.read(self._asking(), cluster.topic, int(partition), start, high)
            if found or start == low:
                return int(found[-1].offset()) if found else None
            back *= 16
        return None

    def wait(self, after: Mapping[str, Position | None], seconds: float) -> None:
        """Let librdkafka wait for messages."""
        ends = time.monotonic() + seconds
        places = [self._place(name, position) for name, position in after.items()]
        heard = time.monotonic()
        while not any(place.queue or place.lost for place in places):
            left = ends - time.monotonic()
            if left <= 0:
                return
            if self._pump(1, min(left, 1.0)):
                heard = time.monotonic()
                self._pump(AT_ONCE, 0)
            elif places and time.monotonic() - heard > 5:  # Is anybody there?
                self._cluster.ends(self._asking(), self._cluster.topic, places[0].number)
                heard = time.monotonic()

    def lag(self, after: Mapping[str, Position | None]) -> int | None:
        """Count the offsets after these; those that end transactions are among them."""
        self.partitions()
        total = 0
        for name, position in after.items():
            low, high = self._cluster.ends(self._asking(), self._cluster.topic, int(name))
            place = self._places.get(int(name))
            if place and place.after == position and place.end >= high and not place.queue:
                continue
            total += max(0, high - (low if position is None else int(position) + 1))
        return total

    def commit(self, positions: Mapping[str, Position]) -> None:
        """Commit the offsets to the group."""
        package, topic = driver("confluent_kafka"), self._cluster.topic
        places = [
            package.TopicPartition(topic, int(name), int(position) + 1)
            for name, position in positions.items()
        ]
        try:
            if places:
                self._opened().commit(offsets=places, asynchronous=False)
        except package.KafkaException as error:
            raise self._cluster.error(error) from None

    def close(self) -> None:
        """Let go of the connections."""
        for one in (self._consumer, self._asker):
            if one is not None:
                one.close()
        self._consumer = self._asker = None
        self._places = {}

    def _opened(self) -> Any:
        if self._consumer is None:
            self._consumer = self._cluster.consumer()
        return self._consumer

    def _asking(self) -> Any:
        """Give a consumer for questions: a connection answers none while it waits for messages."""
        if self._asker is None:
            self._asker = self._cluster.consumer()
        return self._asker

    def _ready(self, partition: str, after: Position | None) -> _Place:
        """Go on behind a position, with a message where there is one."""
        place = self._place(partition, after)
        self._pump(AT_ONCE, 0)
        if not place.queue and not place.lost:
            self._first(place)
        return place

    def _place(self, partition: str, after: Position | None) -> _Place:
        """Go on behind a position; nothing is done where that is so already."""
        if partition not in self.partitions():
            raise SourceError(
                f"{self.uri} has no partition {partition!r}", "one of its numbers", "Check it."
            )
        place = self._places.get(int(partition))
        if place and place.after == after and not place.lost:
            return place
        beginning = driver("confluent_kafka").OFFSET_BEGINNING
        place = self._assigned(int(partition), beginning if after is None else int(after) + 1)
        place.after = None if after is None else int(after)
        return place

    def _assigned(self, number: int, offset: int) -> _Place:
        """Begin to read a partition at an offset."""
        package, consumer = driver("confluent_kafka"), self._opened()
        old, place = self._places.get(number), _Place(number)
        try:
            if old:
                consumer.incremental_unassign([self._at(old)])
            at = package.TopicPartition(self._cluster.topic, number, offset)
            consumer.incremental_assign([at])
        except package.KafkaException as error:
            raise self._cluster.error(error) from None
        self._places[number] = place
        return place

    def _first(self, place: _Place) -> None:
        """Wait for a message, if there is one; Kafka says where it ends."""
        _, high = self._cluster.ends(self._asking(), self._cluster.topic, place.number)
        if high == 0 or place.end >= high or (place.after is not None and place.after + 1 >= high):
            return
        ends = time.monotonic() + self._cluster.patience
        while not place.queue and not place.lost and place.end < high:
            if time.monotonic() > ends:
                raise self._cluster.broker.lost("no message comes")
            self._pump(1, 0.1)
        self._pump(AT_ONCE, 0)

    def _pump(self, most: int, seconds: float) -> int:
        """Take messages from librdkafka, each to its partition's."""
        found = self._opened().consume(most, seconds)
        for message in found:
            place = self._places.get(message.partition())
            error = message.error()
            if error is None:
                if place:
                    place.queue.append(message)
                continue
            name = error.name()
            if name not in ("_PARTITION_EOF", "_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
                raise self._cluster.error(error)
            if place and name == "_PARTITION_EOF":
                place.end = message.offset()
            elif place:
                place.lost = True
        for place in self._places.values():
            if len(place.queue) > AHEAD and not place.paused:
                self._opened().pause([self._at(place)])
                place.paused = True
        return len(found)

    def _at(self, place: _Place) -> Any:
        return driver("confluent_kafka").TopicPartition(self._cluster.topic, place.number)

    def _lost(self, partition: str, after: Position | None) -> SourceError:
        low, high = self._cluster.ends(self._asking(), self._cluster.topic, int(partition))
        if after is None or low <= int(after) + 1 <= high:  # Where to begin was not answered.
            return self._cluster.broker.lost("it does not say where its messages begin")
        return LostRecordsError(
            f"messages of {self._cluster.topic}/{partition} after {after} are not on "
            f"{self._cluster.broker.server}: it has {low} to {high - 1}",
            "messages that stay until they are read",
            "Raise the topic's retention, or begin anew where it begins now.",
        )


@final
class _Place:
    """Where a partition is read.

    Parameters
    ----------
    number
        The partition's.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.after: int | None = None
        self.queue: list[Any] = []
        self.end = -1
        self.lost = False
        self.paused = False

    def give(self, most: int, until: int | None) -> list[Any]:
        """Give messages, up to about some megabytes."""
        some = self.queue[:most]
        sizes = np.cumsum([len(one) for one in some])
        count = max(1, int(np.searchsorted(sizes, BYTES, "right")))
        if until is not None:
            offsets = np.array([one.offset() for one in some], dtype=np.int64)
            count = min(count, int(np.searchsorted(offsets, until, "right")))
        given, self.queue = some[:count], self.queue[min(count, len(some)) :]
        if given:
            self.after = given[-1].offset()
        return given
