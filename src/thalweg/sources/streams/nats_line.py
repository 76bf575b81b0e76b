"""A connection to NATS with plain blocking calls: its event loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, final

from thalweg.core.errors import LostConnectionError, SourceError, near
from thalweg.sources.streams.brokers import SECONDS, Broker, driver

T = TypeVar("T")

BUCKET: Final = "thalweg"
"""The key-value bucket in which writers' progress and readers' positions are kept."""

OPTIONS: Final = ("stream", "subject", "partitions", "group", "key", "format")
"""What may stand behind the question mark of a URI."""


@final
class Line:
    """A connection that is made when first used, and anew after it broke.

    Parameters
    ----------
    broker
        Where the server is.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.generation = 0
        """Grows with every new connection: what the last one had open is gone."""
        self.client: Any = None
        self.streams: Any = None
        self._bucket: tuple[int, Any] = (-1, None)
        self._closed: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def call(self, work: Callable[[], Awaitable[T]], seconds: float = SECONDS) -> T:
        """Do some work on the loop, with a connection.

        Parameters
        ----------
        work
            What to do.
        seconds
            How long it may take before the server counts as lost.

        Raises
        ------
        LostConnectionError
            Where the server does not answer, or the connection breaks.
        SourceError
            Where the server says no.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            run = self._loop.run_forever
            self._thread = threading.Thread(target=run, name="thalweg nats", daemon=True)
            self._thread.start()
        future = asyncio.run_coroutine_threadsafe(self._guarded(work, seconds), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Let go of the connection and the thread."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    async def facts(self) -> Any:
        """Ask for what is known of the stream that the URI names.

        Raises
        ------
        SourceError
            Where there is none, with near names.
        """
        errors, name = driver("nats.js.errors"), stream_of(self.broker)
        try:
            return await self.streams.stream_info(name)
        except errors.NotFoundError:
            known = [one.config.name for one in await self.streams.streams_info()]
            shown = [one for one in known if not one.startswith("KV_")]
            raise SourceError(
                f"{self.broker.server} has no stream {name!r}",
                "a stream that is there, or that something was published to",
                near(name, shown),
            ) from None

    async def bucket(self) -> Any:
        """Give the key-value bucket, made where it is not there."""
        errors = driver("nats.js.errors")
        if self._bucket[0] != self.generation:
            try:
                found = await self.streams.key_value(BUCKET)
            except errors.NotFoundError:
                found = await self.streams.create_key_value(bucket=BUCKET, history=1)
            self._bucket = (self.generation, found)
        return self._bucket[1]

    async def _guarded(self, work: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Do work until it is done, the time is up or the connection breaks."""
        errors, api = driver("nats.errors"), driver("nats.js.errors")
        lost = (
            errors.TimeoutError,
            errors.ConnectionClosedError,
            errors.StaleConnectionError,
            errors.NoServersError,
            errors.NoRespondersError,
            errors.OutboundBufferLimitError,
            api.ServiceUnavailableError,
            TimeoutError,
            OSError,
        )
        try:
            await asyncio.wait_for(self._connected(), seconds)
            return await self._watched(work, seconds)
        except lost as error:
            await self._hang_up()
            raise self.broker.lost(error) from None
        except errors.MaxPayloadError:
            raise SourceError(
                f"a payload is larger than {self.broker.server} takes",
                "at most its max_payload, 1 MiB where nothing else is set",
                "Raise max_payload on the server, or send smaller rows.",
            ) from None
        except api.APIError as error:
            said = error.description or error
            if error.code == 503:
                raise self.full(said) from None
            raise self.broker.refused(said) from None
        except errors.Error as error:
            await self._hang_up()
            if re.search("authori[sz]ation|authentication", str(error), re.I):
                raise self.broker.refused(error) from None
            raise self.broker.lost(error) from None

    def full(self, said: object) -> LostConnectionError:
        """Say that the server takes nothing more for now."""
        return LostConnectionError(
            f"{self.broker.server} takes nothing more ({self.broker.clean(said)})",
            "a NATS with JetStream that has memory and disk to spare",
            "Make room, or raise the stream's limits; what was not written is written then.",
        )

    async def _watched(self, work: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Do work; an answer that a broken connection owes is not waited for."""
        assert self._closed is not None  # noqa: S101 - it is connected
        task = asyncio.ensure_future(work())
        try:
            await asyncio.wait(
                (task, self._closed), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if task.done():
                return task.result()
        finally:
            task.cancel()
        if self._closed.done():
            raise ConnectionResetError("the connection broke")
        raise TimeoutError(f"no answer within {seconds:g} seconds")

    async def _connected(self) -> None:
        if self.client is not None and self.client.is_connected:
            return
        await self._hang_up()  # Also what a connection that failed left behind.
        at = self.broker
        closed = self._closed = asyncio.get_running_loop().create_future()

        async def broken() -> None:
            if not closed.done():
                closed.set_result(None)

        async def quiet(_: Exception) -> None:
            pass

        scheme = "tls" if at.secure else "nats"
        self.client = driver("nats.aio.client").Client()
        await self.client.connect(
            [f"{scheme}://{host}:{port}" for host, port in at.hosts],
            user=at.user or None,
            password=at.password if at.user else None,
            token=at.password if at.password and not at.user else None,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # Those of a first connection count as well.
            reconnect_time_wait=0.05,
            connect_timeout=SECONDS,
            ping_interval=SECONDS / 2,
            closed_cb=broken,
            error_cb=quiet,
        )
        self.streams = self.client.jetstream(timeout=SECONDS)
        self.generation += 1

    async def _hang_up(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            with contextlib.suppress(Exception):  # It is gone in any case.
                await asyncio.wait_for(client.close(), 1)


def stream_of(broker: Broker) -> str:
    """Give the name of the stream.

    Raises
    ------
    SourceError
        Where the URI names none, or one that cannot be.
    """
    name = broker.options.get("stream", "")
    if not name or re.search(r"[\s.*>/\\]", name):
        raise SourceError(
            f"{broker.shown} names {f'the stream {name!r}' if name else 'no stream'}",
            "the name of a stream, without dots and blanks",
            "Add ?stream=NAME to the URI.",
        )
    return name


def subjects_of(broker: Broker) -> tuple[str, ...]:
    """Name the subjects: the partitions."""
    return broker.names(f"{broker.options.get('subject') or stream_of(broker)}.")


def key_of(*names: str) -> str:
    """Write names as a key of a bucket, in which few signs may be.

    Examples
    --------
    >>> key_of("reader", "shop/é", "events.0")
    'reader.shop/=C3=A9.events=2E0'
    """
    return ".".join(
        "".join(
            chr(one) if re.match(r"[A-Za-z0-9/_-]", chr(one)) else f"={one:02X}"
            for one in name.encode()
        )
        for name in names
    )
