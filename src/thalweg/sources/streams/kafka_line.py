"""What readers and writers of Kafka share: settings, errors and the topics that are there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, final

from thalweg.core.errors import LostConnectionError, SourceError, near
from thalweg.sources.streams.base import FencedError
from thalweg.sources.streams.brokers import SECONDS, Broker, driver, parse

OPTIONS: Final = ("group", "partitions", "key", "format")
"""What may stand behind the question mark of a URI, besides librdkafka's own with a dot in it."""

READING: Final[Mapping[str, object]] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 20,  # After so long Kafka says that there is nothing more.
    "fetch.error.backoff.ms": 50,
    "queued.max.messages.kbytes": 32_768,
}

_LOST: Final = frozenset(
    {
        *("_TRANSPORT", "_TIMED_OUT", "_ALL_BROKERS_DOWN", "_RESOLVE", "_WAIT_COORD"),
        *(
            "_MSG_TIMED_OUT",
            "_STATE",
            "_TIMED_OUT_QUEUE",
            "_RETRY",
            "REQUEST_TIMED_OUT",
            "NOT_COORDINATOR",
        ),
        *("COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS", "NETWORK_EXCEPTION"),
        *("LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION", "BROKER_NOT_AVAILABLE"),
        *("NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "CONCURRENT_TRANSACTIONS"),
    }
)
_FENCED: Final = frozenset({"_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"})


@final
class Cluster:
    """A Kafka cluster and one of its topics.

    Parameters
    ----------
    uri
        ``kafka://[user:password@]host[:port][,host...]/topic``.
    """

    def __init__(self, uri: str) -> None:
        self.broker: Broker = parse(uri, 9092, OPTIONS)
        self.topic = self.broker.path
        self.group = self.broker.options.get("group", "thalweg")
        self.patience = SECONDS
        self._trouble = ""
        if not self.topic or "/" in self.topic:
            raise SourceError(
                f"{self.broker.shown} names no topic",
                "kafka://host:port/TOPIC",
                "Add the topic behind the slash.",
            )

    def settings(self, more: Mapping[str, object]) -> dict[str, object]:
        """Give librdkafka's settings: what the URI says stands above ours."""
        at = self.broker
        given: dict[str, object] = {
            "bootstrap.servers": ",".join(f"{host}:{port}" for host, port in at.hosts),
            "client.id": "thalweg",
            "log_level": 0,
            "error_cb": self._heard,
            "reconnect.backoff.max.ms": 1000,
            "retry.backoff.ms": 50,
            "topic.metadata.refresh.fast.interval.ms": 50,
        }
        if at.user:
            given |= {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
            given |= {"sasl.username": at.user, "sasl.password": at.password}
        own = {name: value for name, value in at.options.items() if "." in name}
        return {**given, **more, **own}

    def consumer(self) -> Any:
        """Make a consumer that is assigned nothing yet."""
        package = driver("confluent_kafka")
        try:
            return package.Consumer(self.settings({**READING, "group.id": self.group}))
        except package.KafkaException as error:
            raise self.error(error) from None

    def partitions(self, client: Any, topic: str) -> int:
        """Count the partitions of a topic; 0 where there is none."""
        code = driver("confluent_kafka").KafkaError.UNKNOWN_TOPIC_OR_PART
        try:
            found = client.list_topics(topic, timeout=self.patience).topics[topic]
        except driver("confluent_kafka").KafkaException as error:
            raise self.error(error) from None
        if found.error is not None and found.error.code() != code:
            raise self.error(found.error)
        return len(found.partitions)

    def missing(self, client: Any) -> SourceError:
        """Say that the topic is not there, with near names."""
        try:
            names = list(client.list_topics(timeout=self.patience).topics)
        except driver("confluent_kafka").KafkaException as error:
            return self.error(error)
        names = [name for name in names if not name.startswith("_")]
        return SourceError(
            f"{self.broker.server} has no topic {self.topic!r}", "a topic", near(self.topic, names)
        )

    def ends(self, client: Any, topic: str, partition: int) -> tuple[int, int]:
        """Give the first offset there is, and the one behind the last that can be read."""
        package = driver("confluent_kafka")
        place = package.TopicPartition(topic, partition)
        try:
            found = client.get_watermark_offsets(place, timeout=self.patience)
        except package.KafkaException as error:
            raise self.error(error) from None
        if found is None:
            raise self.broker.lost("no answer")
        low, high = found
        return low, high

    def read(self, consumer: Any, topic: str, partition: int, start: int, end: int) -> list[Any]:
        """Read a partition from one offset to another, by a consumer that is assigned nothing."""
        package = driver("confluent_kafka")
        found: list[Any] = []
        reached, ends = start, time.monotonic() + 3 * self.patience
        try:
            consumer.assign([package.TopicPartition(topic, partition, start)])
            while reached < end:
                if time.monotonic() > ends:
                    raise self.broker.lost("no message comes")
                for one in consumer.consume(1, 0.2) + consumer.consume(10_000, 0):
                    reached = max(reached, one.offset() + (one.error() is None))
                    if one.error() is None:
                        found.append(one)
                    elif one.error().name() != "_PARTITION_EOF":
                        raise self.error(one.error())
        finally:
            consumer.unassign()
        return found

    def error(self, error: Any) -> SourceError:
        """Turn what librdkafka says into an error."""
        error = error.args[0] if isinstance(error, Exception) else error
        name, said = error.name(), error.str()
        trouble, self._trouble = self._trouble, ""
        if trouble:
            return self.broker.refused(trouble)
        if name in _FENCED:
            return FencedError(
                f"another process writes to {self.broker.shown} in this one's place",
                "one process at a time",
                "Nothing was written; end one of them.",
            )
        if name in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"):
            return SourceError(
                f"{self.broker.server} has no topic {self.topic!r} with this partition",
                "a topic that is there",
                "Check the name.",
            )
        if name == "MSG_SIZE_TOO_LARGE":
            return SourceError(
                f"a payload is larger than {self.broker.server} takes",
                "at most its message.max.bytes, 1 MB where nothing else is set",
                "Raise it, and add message.max.bytes=N to the URI; or send smaller rows.",
            )
        if name in ("POLICY_VIOLATION", "KAFKA_STORAGE_ERROR", "_QUEUE_FULL"):
            return LostConnectionError(
                f"{self.broker.server} takes nothing more ({self.broker.clean(said)})",
                "a Kafka with disk to spare",
                "Make room; what was not written is written then.",
            )
        if name in _LOST or error.retriable() or error.fatal():
            return self.broker.lost(said)
        return self.broker.refused(said)

    def _heard(self, error: Any) -> None:
        """Remember why a connection fails that will never be made."""
        if error.name() in ("_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED"):
            self._trouble = error.str()
