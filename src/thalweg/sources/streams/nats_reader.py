"""One subject of a JetStream stream, read in order from wherever it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from typing import Any, Final, final

from thalweg.sources.streams.brokers import BYTES, SECONDS, driver
from thalweg.sources.streams.nats_line import Line, stream_of

IDLE: Final = 300.0
"""After how many seconds the server forgets a reader that asks for nothing."""


@final
class Reader:
    """Reads one subject by a consumer of its own, without acknowledgements. Runs on the loop.

    The server's consumer lives in memory and begins behind a position; asked for another one it is
    made anew. Messages carry how many come after them, so that no more is asked for than there is.

    Parameters
    ----------
    line
        The connection.
    subject
        Which subject.
    name
        What the consumer's name begins with, for whoever looks.
    headers
        Whether the headers alone are wanted.
    """

    def __init__(self, line: Line, subject: str, name: str, *, headers: bool = False) -> None:
        self.messages: list[Any] = []
        self.arrived = asyncio.Event()
        self.at: int | None = None
        self.pending = 0
        self._line = line
        self._subject = subject
        self._stem = name
        self._headers = headers
        self._generation = -1
        self._consumer = ""
        self._inbox = ""
        self._subscription: Any = None
        self._asked = 0
        self._ended: set[int] = set()
        self._waits: tuple[int, float] = (0, 0.0)  # The request that waits, and until when.
        self._sequence = 0
        self._size = 1000.0

    async def seek(self, after: int | None) -> None:
        """Go on behind a position; nothing is done where that is so already."""
        if not self.lost and self.at == after:
            return
        await self.leave()
        self._generation = self._line.generation
        self.messages, self._ended, self._waits, self._sequence = [], set(), (0, 0.0), 0
        api, client = driver("nats.js.api"), self._line.client
        self._inbox = client.new_inbox()
        self._subscription = await client.subscribe(f"{self._inbox}.*", cb=self._take)
        name = f"{self._stem}-{secrets.token_hex(4)}"
        start = api.DeliverPolicy.ALL if after is None else api.DeliverPolicy.BY_START_SEQUENCE
        made = await self._line.streams.add_consumer(
            stream_of(self._line.broker),
            api.ConsumerConfig(
                name=name,
                deliver_policy=start,
                opt_start_seq=None if after is None else after + 1,
                ack_policy=api.AckPolicy.NONE,
                filter_subject=self._subject,
                inactive_threshold=IDLE,
                num_replicas=1,
                mem_storage=True,
                headers_only=self._headers or None,
            ),
        )
        self._consumer, self.at, self.pending = name, after, made.num_pending

    @property
    def lost(self) -> bool:
        """Whether it has to seek again."""
        return not self._consumer or self._generation != self._line.generation

    async def leave(self) -> None:
        """Let the server forget the consumer."""
        api = driver("nats.errors")
        consumer, self._consumer = self._consumer, ""
        if not consumer or self._generation != self._line.generation:
            return
        with contextlib.suppress(api.Error):
            await self._subscription.unsubscribe()
            await self._line.streams.delete_consumer(stream_of(self._line.broker), consumer)

    async def fill(self, most: int) -> None:
        """Fetch what is there, up to about some megabytes."""
        for again in (True, False):
            if not self.messages and not self.pending and not await self._first(again=again):
                return
            room = max(1, int(BYTES / self._size))
            wanted = min(most, room) - len(self.messages)
            if wanted <= 0 or not self.pending:
                return
            asked = min(wanted, self.pending)
            before = len(self.messages)
            await self._ask({"batch": asked, "expires": int(1e9)}, before + asked)
            if len(self.messages) > before:
                got = self.messages[before:]
                self._size = max(1.0, sum(len(one.data) for one in got) / len(got))
            if self.messages:
                return
            self.pending = 0  # What was there is no longer there.

    async def wait(self, seconds: float) -> None:
        """Ask once for a message that is still to come."""
        if not self.messages and not self.pending and self._waits[1] <= time.monotonic():
            seconds = max(seconds, 1.0)
            request = await self._send({"batch": 1, "expires": int(seconds * 1e9)})
            self._waits = (request, time.monotonic() + seconds)

    def give(self, most: int, until: int | None) -> list[tuple[str, Any]]:
        """Give messages that were fetched, each as where it lies and what it is."""
        taken, size = 0, 0
        for message in self.messages[:most]:
            size += len(message.data)
            if (taken and size > BYTES) or (until is not None and place_of(message) > until):
                break
            taken += 1
        given, self.messages = self.messages[:taken], self.messages[taken:]
        if given:
            self.at = place_of(given[-1])
        return [(one.reply, one) for one in given]

    async def behind(self) -> int:
        """Count the messages still to be given."""
        name = stream_of(self._line.broker)
        told = await self._line.streams.consumer_info(name, self._consumer)
        return int(told.num_pending) + len(self.messages)

    async def _first(self, *, again: bool) -> bool:
        """Fetch one message, if there is one."""
        request = await self._ask({"batch": 1, "no_wait": True}, 1)
        if self.messages:
            return True
        # A consumer may learn of a message a moment after whoever wrote it.
        errors, start = driver("nats.js.errors"), (self.at or 0) + 1
        try:
            name = stream_of(self._line.broker)
            await self._line.streams.get_msg(name, seq=start, subject=self._subject, next=True)
        except errors.NotFoundError:
            return bool(self.messages)
        if request in self._ended and again:
            await self._ask({"batch": 1, "expires": int(1e9)}, 1)
        return bool(self.messages)

    async def _ask(self, wanted: dict[str, object], count: int) -> int:
        """Ask for messages, and wait until so many are here or no more come."""
        request = await self._send(wanted)
        until = time.monotonic() + SECONDS
        while len(self.messages) < count and request not in self._ended:
            self.arrived.clear()
            await asyncio.wait_for(self.arrived.wait(), until - time.monotonic())
        return request

    async def _send(self, wanted: dict[str, object]) -> int:
        self._asked += 1
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream_of(self._line.broker)}.{self._consumer}"
        reply = f"{self._inbox}.{self._asked}"
        await self._line.client.publish(subject, json.dumps(wanted).encode(), reply=reply)
        return self._asked

    async def _take(self, message: Any) -> None:
        """Keep a message that came, or note that a request is at its end."""
        if not message.reply:
            request = message.subject.rpartition(".")[2]
            self._ended.add(int(request))
            if int(request) == self._waits[0]:
                self._waits = (0, 0.0)
            if (message.headers or {}).get("Status") == "503":
                self._consumer = ""  # The server has forgotten it.
            self.arrived.set()
            return
        numbers = message.reply.split(".")
        shift = 5 if len(numbers) < 12 else 7
        sequence, pending = int(numbers[shift + 1]), int(numbers[shift + 3])
        if sequence != self._sequence + 1:
            self._consumer = ""  # Messages were dropped on the way: begin anew.
            self._ended.add(self._asked)
            self.arrived.set()
            return
        self._sequence, self.pending = sequence, pending
        if len(self.messages) == 0:
            self._waits = (0, 0.0)
        self.messages.append(message)
        self.arrived.set()


def place_of(message: Any) -> int:
    """Say where a message lies in its stream."""
    numbers = message.reply.split(".")
    return int(numbers[5 if len(numbers) < 12 else 7])
