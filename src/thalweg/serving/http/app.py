"""The application: what is at which path, who may ask it, and what an error looks like."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from typing import Any, Final, final

import orjson

from thalweg.core.errors import OptionError, ThalwegError, near
from thalweg.models.compiled import CompiledModel
from thalweg.serving.http.asking import Asking
from thalweg.serving.http.batcher import Batcher, Busy, ClosingError
from thalweg.serving.http.deployment import Deployment
from thalweg.serving.http.deployments import Deployments
from thalweg.serving.http.document import document
from thalweg.serving.http.exchange import Receive, Scope, Send
from thalweg.serving.http.formats import inference
from thalweg.serving.http.keys import Keys
from thalweg.serving.http.limits import Limits, RateLimit, client, retry_after
from thalweg.serving.http.log import Log
from thalweg.serving.http.metrics import Metrics
from thalweg.serving.http.page import Page, locked, page
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
from thalweg.serving.http.routes import TEMPLATES, Route, only, wish
from thalweg.serving.http.runs import Runs
from thalweg.serving.http.tracing import Span, Tracer

_ORDER: Final = 65_536  # bytes of an order's body


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
        self._pages: dict[str, tuple[tuple[str, ...], Reply]] = {}
        self._draining = False
        self._watching: asyncio.Task[None] | None = None
        self._routes = self._all()
        metrics.waiting(lambda: self._batcher.waiting)

    @staticmethod
    def paths() -> list[str]:
        """Name the routes, for `Metrics`."""
        return list(TEMPLATES)

    def _all(self) -> dict[str, Route]:
        """Lay out all paths. Names are few and fixed: finding one is one look into a table."""
        get, post = partial(only, "GET"), partial(only, "POST")
        routes = {
            "/healthz": Route("/healthz", get(self._alive), free=True),
            "/readyz": Route("/readyz", get(self._is_ready), free=True),
            "/v2/health/live": Route("/v2/health/live", get(self._alive), free=True),
            "/v2/health/ready": Route("/v2/health/ready", get(self._is_ready), free=True),
            "/metrics": Route("/metrics", get(self._figures)),
            "/openapi.json": Route("/openapi.json", get(partial(self._kept, _openapi))),
            "/docs": Route("/docs", get(self._shown), free=True),
            "/": Route("/", get(self._shown), free=True),
            "/v1/models": Route("/v1/models", get(self._listed)),
            "/v2": Route("/v2", get(self._server)),
        }
        routes["/v2/"] = routes["/v2"]
        asking = self._asking
        for one in self._deployments:
            first = "/v1/models/{name}"
            mine = {
                first: get(partial(self._told_of, one)),
                f"{first}/predict": post(partial(asking.predict, one)),
                f"{first}/promote": post(partial(self._ordered, one, "promote")),
                f"{first}/rollback": post(partial(self._ordered, one, "rollback")),
                f"{first}/traffic": post(partial(self._ordered, one, "traffic")),
                "/v2/models/{name}": get(partial(self._described, one)),
                "/v2/models/{name}/ready": get(partial(self._model_ready, one)),
                "/v2/models/{name}/infer": post(partial(asking.infer, one)),
            }
            for template, methods in mine.items():
                routes[template.replace("{name}", one.name)] = Route(template, methods)
        methods = post(partial(asking.predict, self._deployments.first))
        routes["/v1/predict"] = Route("/v1/predict", methods)
        return routes

    def _find(self, path: str) -> Route | None:
        """Find what no table holds: versions, which come and go."""
        parts = path.split("/")
        if len(parts) < 6 or parts[:3] != ["", "v2", "models"] or parts[4] != "versions":
            return None
        name, version, rest = parts[3], parts[5], parts[6:]
        if name not in self._deployments.names or len(rest) > 1:
            return None
        one = self._deployments[name]
        template = "/".join(["/v2/models/{name}/versions/{version}", *rest])
        if not rest:
            return Route(template, only("GET", partial(self._described, one, version=version)))
        if rest == ["ready"]:
            return Route(template, only("GET", partial(self._model_ready, one, version=version)))
        if rest == ["infer"]:
            return Route(template, only("POST", partial(self._asking.infer, one, version=version)))
        return None

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
        self._draining = True

    async def close(self) -> None:
        """Answer what waits, then let go of everything."""
        self._draining = True
        if self._watching is not None:
            self._watching.cancel()
        await self._batcher.close()
        self._asking.close()
        self._deployments.close()
        if self._tracer is not None:
            self._tracer.close()

    def told(self) -> Mapping[str, object]:
        """Give what the line that says "ready" tells."""
        return {"models": [f"{one.name}={_version(one)}" for one in self._deployments]}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        start = time.perf_counter()
        path = scope["path"]
        route = self._routes.get(path) or self._find(path)
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
        if self._local and not is_own(request.headers.get(b"host", b"")):
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

    @property
    def _ready(self) -> bool:
        return self._deployments.ready and not self._draining

    async def _alive(self, request: Request) -> Reply:
        return _json({"live": True})

    async def _is_ready(self, request: Request) -> Reply:
        return _json({"ready": self._ready}, 200 if self._ready else 503)

    async def _model_ready(
        self, one: Deployment, request: Request, version: str | None = None
    ) -> Reply:
        self._require(one, version)
        return _json({"name": one.name, "ready": self._ready}, 200 if self._ready else 503)

    async def _figures(self, request: Request) -> Reply:
        accept = request.headers.get(b"accept", b"").decode("latin-1")
        body, kind = self._metrics.expose(accept)
        return Reply(200, ((b"content-type", kind.encode()),), body)

    async def _kept(self, write: _Write, request: Request) -> Reply:
        """Give what is written once for each change of what is served."""
        versions = tuple(_version(one) for one in self._deployments)
        kept = self._pages.get(write.__name__)
        if kept is None or kept[0] != versions:
            models = {one.name: one.versions()[0].model for one in self._deployments}
            kept = versions, write(models, self._keys, self._limits)
            self._pages[write.__name__] = kept
        return kept[1]

    async def _shown(self, request: Request) -> Reply:
        """Show the page; without a key that is needed, one that asks for it."""
        keys = self._keys
        if keys is None or keys.check(request.headers.get(b"authorization")) is not None:
            return await self._kept(_docs, request)
        return _paged(locked(metadata.version("thalweg")))

    async def _listed(self, request: Request) -> Reply:
        return _json(self._deployments.state())

    async def _told_of(self, one: Deployment, request: Request) -> Reply:
        return _json(one.state() | {"columns": list(one.versions()[0].model.columns)})

    async def _server(self, request: Request) -> Reply:
        return _json(inference.server(metadata.version("thalweg")))

    async def _described(
        self, one: Deployment, request: Request, version: str | None = None
    ) -> Reply:
        self._require(one, version)
        served = next(s for s in one.versions() if version is None or s.version == version)
        versions = [some.version for some in one.versions()]
        return _json(inference.described(one.name, versions, served.model))

    def _require(self, one: Deployment, version: str | None) -> None:
        there = [some.version for some in one.versions()]
        if version is not None and version not in there:
            sentence = f"{one.name} has no version {version[:40]!r} loaded", "one that is"
            raise RefusedError(404, "version", (*sentence, near("", there)))

    async def _ordered(self, one: Deployment, order: str, request: Request) -> Reply:
        """Carry out an order of an administrator's."""
        if request.who is not None and not request.who.admin:
            raise RefusedError(403, "key", ("a key that may only ask", "an admin's key"))
        if self._keys is None and b"origin" in request.headers:
            # Any page that a browser shows could send it to a server on the same machine.
            raise RefusedError(403, "origin", ("an order of a web page", "one of a program"))
        wanted: dict[str, Any] = {}
        if b"content-length" in request.headers or b"transfer-encoding" in request.headers:
            body = await request.body(_ORDER, _hold_nothing)
            wanted = wish(body, order)
        try:
            if order == "traffic":
                one.traffic(**wanted)
            elif order == "rollback":
                one.rollback(**wanted)
            else:
                one.promote(**wanted)
        except OptionError as error:
            raise RefusedError(409, "order", (error.given, error.expected, error.mend)) from None
        return _json(one.state())


_Write = Callable[[Mapping[str, CompiledModel], Keys | None, Limits], Reply]


def _openapi(models: Mapping[str, CompiledModel], keys: Keys | None, limits: Limits) -> Reply:
    secured = keys is not None
    return _json(document(models, metadata.version("thalweg"), secured=secured, limits=limits))


def _docs(models: Mapping[str, CompiledModel], keys: Keys | None, _: Limits) -> Reply:
    return _paged(page(models, metadata.version("thalweg"), secured=keys is not None))


def _paged(found: Page) -> Reply:
    headers = [(name.lower().encode(), text.encode()) for name, text in found.headers.items()]
    return Reply(200, headers, found.body)


def _json(found: object, status: int = 200) -> Reply:
    return Reply(status, (JSON,), orjson.dumps(found))


def _version(one: Deployment) -> str:
    there = one.versions()
    return there[0].version if there else ""


def _hold_nothing(request: Request, size: int) -> None:
    """Count nothing: orders are short."""


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
