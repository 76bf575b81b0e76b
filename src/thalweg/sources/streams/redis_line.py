"""A connection to Redis that is spoken to word for word, and the errors that it tells."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final, final

from thalweg.core.errors import LostConnectionError, SourceError
from thalweg.sources.streams.brokers import SECONDS, Broker, driver

OPTIONS: Final = ("stream", "partitions", "group", "field", "key", "format")
"""What may stand behind the question mark of a URI."""

_LATER: Final = ("LOADING", "BUSY ")
_FULL: Final = ("MISCONF", "NOREPLICAS")


class GroupThereError(Exception):
    """A group is there already."""


class NoGroupError(Exception):
    """A group, or its stream, is not there."""


@final
class Server:
    """A Redis server; connected when first spoken to.

    Parameters
    ----------
    broker
        Where it is.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._client: Any = None

    def say(self, *words: object) -> Any:
        """Say a command and give the answer.

        Raises
        ------
        LostConnectionError
            Where the server cannot be reached, or takes nothing for now.
        SourceError
            Where it says no.
        """
        errors = driver("redis.exceptions")
        try:
            if self._client is None:
                self._client = self._opened()
            return self._client.execute_command(*words)
        except errors.AuthenticationError as error:
            raise self._broker.refused(error) from None
        except (errors.ConnectionError, errors.TimeoutError, OSError) as error:
            raise self._broker.lost(error) from None
        except errors.RedisError as error:
            raise self._told(error, errors) from None

    def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _told(self, error: Exception, errors: ModuleType) -> Exception:
        """Turn what Redis says into an error."""
        said = str(error)
        if said.startswith("BUSYGROUP"):
            return GroupThereError()
        if said.startswith("NOGROUP") or "XGROUP subcommand requires the key" in said:
            return NoGroupError()
        later = (errors.ReadOnlyError, errors.ClusterDownError, errors.TryAgainError)
        if isinstance(error, later) or said.startswith(_LATER):
            return self._broker.lost(said)
        if isinstance(error, errors.OutOfMemoryError) or said.startswith(_FULL):
            return LostConnectionError(
                f"{self._broker.server} takes nothing more ({self._broker.clean(said)})",
                "a Redis with memory and disk to spare",
                "Make room; what was not written is written then.",
            )
        return self._broker.refused(said)

    def _opened(self) -> Any:
        redis = driver("redis")
        retry = driver("redis.retry").Retry(driver("redis.backoff").NoBackoff(), 0)
        at, database = self._broker, self._broker.path or "0"
        if not database.isdigit():
            raise SourceError(
                f"{at.shown} names the database {database!r}", "a number", "Correct the URI."
            )
        host, port = at.hosts[0]
        client = redis.Redis(
            host=host,
            port=port,
            db=int(database),
            username=at.user or None,
            password=at.password or None,
            ssl=at.secure,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            # A command said twice would be done twice; the writer knows better what to say again.
            retry=retry,
            protocol=2,
        )
        client.response_callbacks.clear()  # Answers as they come: many are columns already.
        return client


def keys_of(broker: Broker) -> tuple[str, ...]:
    """Name the keys of a stream's partitions.

    Raises
    ------
    SourceError
        Where the URI names no stream.
    """
    stream = broker.options.get("stream", "")
    if not stream:
        raise SourceError(
            f"{broker.shown} names no stream", "the key of a stream", "Add ?stream=NAME to the URI."
        )
    return broker.names(f"{stream}:")
