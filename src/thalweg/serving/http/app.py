"""The application: who may ask, what an error looks like, and who is told of a request."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Final, final

import orjson

from thalweg.core.errors import ThalwegError, near
from thalweg.serving.http.asking import Asking
from thalweg.serving.http.batcher import Batcher, Busy, ClosingError
from thalweg.serving.http.deployments import Deployments
from thalweg.serving.http.endpoints import Endpoints
from thalweg.serving.http.exchange import Receive, Scope, Send
from thalweg.serving.http.keys import Keys
from thalweg.serving.http.limits import Limits, RateLimit, client, retry_after
from thalweg.serving.http.log import Log
from thalweg.serving.http.metrics import Metrics
from thalweg.serving.http.place import is_own
from thalweg.serving.http.refusal import BodyError
from thalweg.serving.http.request import (
    JSON,
    GoneError,
    Header,
    RefusedError,
    Reply,
    Request,
)
from thalweg.serving.http.routes import TEMPLATES, Route
from thalweg.serving.http.runs import Runs
from thalweg.serving.http.tracing import Span, Tracer


@final
class App:
    """Answers HTTP requests, as an ASGI 3 application.

    Parameters
    ----------
    deployments
        What is served.
    log, metrics, tracer
        Told of everything.
    keys
        Who may ask; None for everybody.
    rate
        How often each may.
    limits
        Those of a request.
    latency
        See `Batcher`.
    local
        Whether only this machine may ask: then no other site's page may, under whatever name.
    """

    def __init__(
        self,
        deployments: Deployments,
        *,
        log: Log,
        metrics: Metrics,
        tracer: Tracer | None = None,
        keys: Keys | None = None,
        rate: RateLimit | None = None,
        limits: Limits | None = None,
        latency: float | None = None,
        local: bool = False,
    ) -> None:
        self._deployments = deployments
        self._log = log
        self._metrics = metrics
        self._tracer = tracer
        self._keys = keys
        self._rate = rate
        self._local = local
        self._limits = limits or Limits()
        self._batcher = Batcher(latency, watch=self._ran)
        self._asking = Asking(self._batcher, self._limits, metrics)
        self._watching: asyncio.Task[None] | None = None
        self._endpoints = Endpoints(deployments, self._asking, metrics, keys, self._limits)
        metrics.waiting(lambda: self._batcher.waiting)

    @staticmethod
    def paths() -> list[str]:
        """Name the routes, for `Metrics`."""
        return list(TEMPLATES)

    async def start(self) -> None:
        """Load and warm up all models.

        Raises
        ------
        ThalwegError
            Where one cannot be served.
        """
        await self._deployments.open()
        self._watching = asyncio.get_running_loop().create_task(self._deployments.watch())

    def drain(self) -> None:
        """Be no longer ready for new work, but finish what is under way."""
        self._endpoints.draining = True

    async def close(self) -> None:
        """Answer what waits, then let go of everything."""
        self._endpoints.draining = True
        if self._watching is not None:
            self._watching.cancel()
        await self._batcher.close()
        self._asking.close()
        self._deployments.close()
        if self._tracer is not None:
            self._tracer.close()

    def told(self) -> Mapping[str, object]:
        """Give what the line that says "ready" tells."""
        return {"models": [f"{one.name}={one.version}" for one in self._deployments]}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        start = time.perf_counter()
        path = scope["path"]
        route = self._endpoints.find(path)
        request = Request(
            scope["method"], path, scope["query_string"], dict(scope["headers"]), receive
        )
        template = route.template if route is not None else "other"
        span: Span | None = None
        if self._tracer is not None:
            span = self._tracer.begin(
                request.method,
                template,
                request.headers.get(b"traceparent", b"").decode("latin-1"),
                request.headers.get(b"tracestate", b"").decode("latin-1"),
            )
        try:
            reply = await self._reply(route, request, scope)
        except (GoneError, asyncio.CancelledError):
            return  # whoever asked has gone, or the server has: nobody hears an answer
        except Exception as error:
            reply = self._failed(error, template)
        finally:
            self._asking.let_go(request)
        await self._asking.send(reply, send)
        seconds = time.perf_counter() - start
        told = reply.model, reply.version, reply.status, seconds, reply.rows
        self._metrics.request(template, *told)
        if seconds >= self._log.slow or self._log.requests or reply.status >= 500:
            self._log.request(
                request.method,
                template,
                reply.status,
                seconds,
                rows=reply.rows,
                model=reply.model,
                version=reply.version,
                who=request.who.name if request.who is not None else "",
                trace=span.trace if span is not None else "",
            )
        if span is not None:
            span.end(reply.status, reply.model, reply.version, reply.rows)
        if reply.after is not None:
            try:
                reply.after()
            except Exception as error:  # nobody asked for it
                self._log.fault("shadow", error, model=reply.model)

    async def _reply(self, route: Route | None, request: Request, scope: Scope) -> Reply:
        """Answer who may ask what there is."""
        if self._local:
            host = request.headers.get(b"host")
            # No browser speaks HTTP/1.0, which may go without it.
            if not (is_own(host) if host is not None else scope["http_version"] == "1.0"):
                raise _NOT_OURS
        if self._keys is not None and not (route is not None and route.free):
            # Before anything else, so that without a key nothing is to be learned.
            request.who = self._keys.check(request.headers.get(b"authorization"))
            if request.who is None:
                raise _NO_KEY
        if route is None:
            raise self._unknown(request.path)
        handler = route.methods.get(request.method)
        if handler is None:
            if request.method == "OPTIONS":
                return Reply(204, ((b"allow", route.allow),), b"")
            raise RefusedError(
                405,
                "method",
                (f"{request.method[:20]} {route.template}", route.allow.decode()),
                (b"allow", route.allow),
            )
        if self._rate is not None and not route.free:
            self._take(self._rate, request, scope)
        return await handler(request)

    def _take(self, rate: RateLimit, request: Request, scope: Scope) -> None:
        """Refuse who asks too often."""
        if request.who is not None:
            who = request.who.name
        else:
            who = client((scope.get("client") or ("",))[0])
        wait = rate.take(who)
        if wait > 0:
            after = retry_after(wait)
            raise RefusedError(
                429,
                "rate",
                (
                    f"more than {rate.rate.a_second:g} requests a second",
                    "fewer",
                    f"Ask again in {after} s.",
                ),
                (b"retry-after", after.encode()),
            )

    def _unknown(self, path: str) -> RefusedError:
        parts = path.split("/")
        names = self._deployments.names
        if (
            parts[1:3] in (["v1", "models"], ["v2", "models"])
            and len(parts) > 3
            and (parts[3] not in names)
        ):
            shown = parts[3][:80]
            sentence = (f"no model {shown!r} is served", "one that is", near(shown, names))
            return RefusedError(404, "model", sentence)
        shown = path[:80]
        return RefusedError(404, "path", (f"no path {shown!r}", "one of those in /openapi.json"))

    def _failed(self, error: Exception, template: str) -> Reply:
        """Put an error into words: without a traceback, and nothing of ours but a number."""
        headers: tuple[Header, ...] = (JSON,)
        if isinstance(error, RefusedError):
            status, reason, headers = error.status, error.reason, (JSON, *error.headers)
        elif isinstance(error, BodyError):
            status, reason = error.status, "body"
        elif isinstance(error, Busy):
            status, reason = 429, "busy"
            headers = (JSON, (b"retry-after", retry_after(error.retry_after).encode()))
        elif isinstance(error, ClosingError):
            status, reason = 503, "closing"
        elif isinstance(error, ThalwegError):
            status, reason = 400, "other"
        else:
            number = secrets.token_hex(8)
            self._log.fault("fault", error, id=number, path=template)
            self._metrics.error("fault")
            told = f"an error of the server's own; expected none. Its log says more: {number}."
            return Reply(500, headers, orjson.dumps({"error": told, "id": number}))
        self._metrics.error(reason)
        return Reply(status, headers, orjson.dumps({"error": str(error)}))

    def _ran(self, model: Runs, questions: int, rows: int) -> None:
        self._metrics.batch(self._asking.name(model), rows)


_NOT_OURS: Final = RefusedError(
    403,
    "host",
    ("a name that is not this machine's", "localhost or an address", "Say --exposed for others."),
)
_NO_KEY: Final = RefusedError(
    401,
    "key",
    ("the key is missing or wrong", "one that the server knows", "Send Authorization: Bearer KEY."),
    (b"www-authenticate", b"Bearer"),
)
