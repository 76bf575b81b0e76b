"""From a body to an answer: the rows are read, a version of the model is asked, its answer told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar, final
from weakref import WeakKeyDictionary

from thalweg.core.errors import OptionError
from thalweg.lab.contributions import Contributions, Explainer
from thalweg.models.compiled import Inputs, Run
from thalweg.serving.http.batcher import Batcher, Busy
from thalweg.serving.http.deployment import Deployment, Served
from thalweg.serving.http.exchange import Send
from thalweg.serving.http.formats import FORMATS, format_sent, format_wanted, inference
from thalweg.serving.http.formats.base import Format
from thalweg.serving.http.limits import Limits
from thalweg.serving.http.metrics import Metrics
from thalweg.serving.http.question import Answer, Question
from thalweg.serving.http.reading import Reader, answer
from thalweg.serving.http.request import JSON, LARGE, Header, RefusedError, Reply, Request
from thalweg.serving.http.runs import Runs

_T = TypeVar("_T")

_MANY: Final = 256  # rows whose answer is written in a thread
_HELD: Final = 8  # times the longest body: what all large bodies together may take of memory
_OPTIONS: Final = ("explain", "version")
_SPOKEN: Final = ", ".join(one.media_types[0] for one in FORMATS)


_Write = Callable[[Answer], tuple[Sequence[Header], bytes]]
_Read = Callable[[bytes, Reader], tuple[Question, _Write]]
"""From a body to what it asks, and to what writes the answer down."""


@final
class _Known:
    """What does not change about a version."""

    __slots__ = ("explainer", "headers", "reader")

    def __init__(self, served: Served) -> None:
        self.reader = Reader(served.model)
        self.explainer: Explainer | None = None
        self.headers: tuple[Header, Header] = (
            (b"x-thalweg-model", served.name.encode()),
            (b"x-thalweg-version", served.version.encode()),
        )


@final
class Asking:
    """Answers requests for predictions.

    Small requests are read and answered in the event loop; large ones in a thread, since others
    would wait for them.

    Parameters
    ----------
    batcher
        Asks the models.
    limits
        Those of a request.
    metrics
        Told of what was refused.
    """

    def __init__(self, batcher: Batcher, limits: Limits, metrics: Metrics) -> None:
        self._batcher = batcher
        self._metrics = metrics
        self._limits = limits
        self._known: WeakKeyDictionary[Served, _Known] = WeakKeyDictionary()
        self._names: WeakKeyDictionary[Runs, str] = WeakKeyDictionary()
        self._formats: dict[tuple[bytes | None, bytes | None], tuple[Format, Format]] = {}
        self._thread = ThreadPoolExecutor(1, "thalweg-read")
        self.held = 0

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def name(self, model: Runs) -> str:
        """Say what a model is served as."""
        return self._names.get(model, "")

    async def predict(self, deployment: Deployment, request: Request) -> Reply:
        """Answer rows in the format that they came in, or that is asked for."""
        sent, wanted = self._spoken(request)
        most = self._limits.rows
        headers = ((b"content-type", wanted.media_types[0].encode()),)

        def read(body: bytes, reader: Reader) -> tuple[Question, _Write]:
            return sent.question(body, reader, most), write

        def write(told: Answer) -> tuple[Sequence[Header], bytes]:
            return headers, wanted.answer(told)

        return await self._answer(deployment, request, read)

    async def infer(
        self, deployment: Deployment, request: Request, version: str | None = None
    ) -> Reply:
        """Answer tensors of the Open Inference Protocol."""
        length = _length(request.headers.get(inference.HEADER.encode()))
        most = self._limits.rows

        def read(body: bytes, reader: Reader) -> tuple[Question, _Write]:
            question, wish = inference.question(body, length, reader, most)
            return question, partial(_tensors, wish)

        return await self._answer(deployment, request, read, version)

    async def _answer(
        self, deployment: Deployment, request: Request, read: _Read, version: str | None = None
    ) -> Reply:
        """Read what is asked, ask a version of the model, and write down what it says."""
        options = request.options(_OPTIONS)
        body = await request.body(self._limits.body, self._hold)
        served = _chosen(deployment, version or options.get("version"))
        known = self._knows(served)
        large = len(body) > LARGE
        reading = read, body, known.reader
        question, write = await self._away(*reading) if large else read(*reading[1:])
        self._read(served, question)
        feed = question.feed
        run = await self._ask(served, feed.inputs, feed.rows)
        explained = None
        if options and request.flag("explain", options):
            explained = await self._explained(served, known, question)
        writing = _written, write, served, question, run, explained
        many = feed.rows > _MANY
        told, headers, written = await self._away(*writing) if many else _written(*writing[1:])
        self._metrics.refused(served.name, len(told.errors))
        _require_answers(told)
        reply = Reply(200, (*headers, *known.headers), written)
        reply.model, reply.version, reply.rows = served.name, served.version, question.rows
        if deployment.shadowed:
            reply.after = partial(
                deployment.shadow,
                served,
                question,
                run,
                lambda model: read(body, Reader(model))[0],
                len(body),
            )
        return reply

    def _read(self, served: Served, question: Question) -> None:
        """Refuse a question without rows, and count the cells that could not be read."""
        if not question.feed.rows:
            self._metrics.refused(served.name, question.rows)
        _require_rows(question)
        for column, cells in question.feed.unreadable.items():
            self._metrics.unreadable(served.name, column, int(cells.sum()))
        for column, count in question.unseen.items():
            self._metrics.unseen(served.name, column, count)

    def _ask(self, served: Served, inputs: Inputs, rows: int) -> asyncio.Future[Run]:
        try:
            return self._batcher.ask(served.model, inputs, rows)
        except Busy:
            self._metrics.busy(served.name)
            raise

    async def _away(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do in the thread what takes long."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, *arguments)

    def _hold(self, request: Request, size: int) -> None:
        """Count the bytes of a large body, as long as there is memory for it."""
        if self.held and self.held + size > _HELD * self._limits.body:
            raise RefusedError(
                429,
                "memory",
                (f"{self.held:,} bytes of other requests are held", "room", "Ask again in 1 s."),
                (b"retry-after", b"1"),
            )
        self.held += size
        request.held += size

    def let_go(self, request: Request) -> None:
        """Forget the bytes of a request's body."""
        self.held -= request.held

    async def send(self, reply: Reply, send: Send) -> None:
        """Send an answer; a large one counts until the client has read it."""
        body = reply.body
        size = len(body) if len(body) > LARGE else 0
        self.held += size
        try:
            headers = [*reply.headers, (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        finally:
            self.held -= size

    def _spoken(self, request: Request) -> tuple[Format, Format]:
        """Find the format of the question and that of the answer."""
        headers = request.headers
        key = headers.get(b"content-type"), headers.get(b"accept")
        found = self._formats.get(key)
        if found is None:
            sent = format_sent(None if key[0] is None else key[0].decode("latin-1"))
            wanted = sent and format_wanted(
                None if key[1] is None else key[1].decode("latin-1"), sent
            )
            if sent is None or wanted is None:
                which, given = ("Content-Type", key[0]) if sent is None else ("Accept", key[1])
                said = (given or b"").decode("latin-1")[:80]
                raise RefusedError(
                    415,
                    "format",
                    (
                        f"the {which} {said!r}",
                        f"one of {_SPOKEN}",
                        "Send that header."
                        if sent is None
                        else "Leave it out for an answer in the form of the question.",
                    ),
                )
            found = sent, wanted
            if len(self._formats) < 64:
                self._formats[key] = found
        return found

    def _knows(self, served: Served) -> _Known:
        known = self._known.get(served)
        if known is None:
            known = self._known[served] = _Known(served)
            self._names[served.model] = served.name
        return known

    async def _explained(self, served: Served, known: _Known, question: Question) -> Contributions:
        """Ask what each column adds; the model's queue takes the mixed rows as any others."""
        feed = question.feed
        explainer = known.explainer
        if explainer is None:
            explainer = known.explainer = await self._away(Explainer.of, served.model)
        try:
            blocks = explainer.blocks(feed.rows)
        except OptionError as error:
            raise RefusedError(413, "explain", (error.given, error.expected, error.mend)) from None
        runs: list[Run] = []
        for block in blocks:
            mixed = await self._away(explainer.mixed, feed.inputs, block)
            runs.append(await self._ask(served, mixed, len(block)))
        return await self._away(explainer.contributions, runs)


def _chosen(deployment: Deployment, version: str | None) -> Served:
    try:
        return deployment.choose(version)
    except OptionError as error:
        raise RefusedError(404, "version", (error.given, error.expected, error.mend)) from None


def _written(
    write: _Write, served: Served, question: Question, run: Run, explained: Contributions | None
) -> tuple[Answer, Sequence[Header], bytes]:
    told = answer(served.name, served.model, question, run, explained)
    return told, *write(told)


def _tensors(wish: inference.Wish, told: Answer) -> tuple[Sequence[Header], bytes]:
    written, head = inference.answer(told, wish)
    if head is None:
        return (JSON,), written
    return (
        (b"content-type", b"application/octet-stream"),
        (inference.HEADER.encode(), b"%d" % head),
    ), written


def _require_rows(question: Question) -> None:
    if not question.feed.rows:
        raise _all_wrong(question.rows, question.errors)


def _require_answers(told: Answer) -> None:
    if len(told.errors) >= told.question.rows:
        raise _all_wrong(told.question.rows, told.errors)


def _all_wrong(rows: int, errors: Any) -> RefusedError:
    first = min(errors)
    whose = "the row" if rows == 1 else f"none of {rows:,} rows has an answer, the first since it"
    given, _, expected = errors[first].partition("; expected ")
    expected = expected.removesuffix(".") or "a row that can be answered"
    return RefusedError(422, "row", (f"{whose}: {given}", expected))


def _length(given: bytes | None) -> int | None:
    if given is None:
        return None
    if not given.isdigit() or len(given) > 18:
        raise RefusedError(400, "length", (f"{inference.HEADER} is no number", "one"))
    return int(given)
