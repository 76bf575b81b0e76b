"""What is at each path: predictions, models and their versions, health, figures, pages, orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from typing import Any, Final, final

import orjson

from thalweg.core.errors import OptionError
from thalweg.models.compiled import CompiledModel
from thalweg.serving.http.asking import Asking
from thalweg.serving.http.deployment import Deployment, Served
from thalweg.serving.http.deployments import Deployments
from thalweg.serving.http.document import document
from thalweg.serving.http.formats import inference
from thalweg.serving.http.keys import Keys
from thalweg.serving.http.limits import Limits
from thalweg.serving.http.metrics import Metrics
from thalweg.serving.http.page import Page, locked, page
from thalweg.serving.http.request import JSON, RefusedError, Reply, Request
from thalweg.serving.http.routes import Route, only, wish

_ORDER: Final = 65_536  # bytes of an order's body


@final
class Endpoints:
    """Knows who answers at a path.

    Parameters
    ----------
    deployments
        What is served.
    asking
        Answers rows.
    metrics
        What there is to tell of the server.
    keys
        Who may ask; None for everybody.
    limits
        Those of a request.

    Attributes
    ----------
    draining
        Whether the server is going down, and so no longer ready.
    """

    def __init__(
        self,
        deployments: Deployments,
        asking: Asking,
        metrics: Metrics,
        keys: Keys | None,
        limits: Limits,
    ) -> None:
        self._deployments = deployments
        self._asking = asking
        self._metrics = metrics
        self._keys = keys
        self._limits = limits
        self._pages: dict[str, tuple[tuple[str, ...], Reply]] = {}
        self._routes = self._all()
        self.draining = False

    def find(self, path: str) -> Route | None:
        """Find what is at a path; None where nothing is."""
        return self._routes.get(path) or self._version_at(path)

    def _version_at(self, path: str) -> Route | None:
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

    @property
    def _ready(self) -> bool:
        return self._deployments.ready and not self.draining

    async def _alive(self, request: Request) -> Reply:
        return _json({"live": True})

    async def _is_ready(self, request: Request) -> Reply:
        return _json({"ready": self._ready}, 200 if self._ready else 503)

    async def _model_ready(
        self, one: Deployment, request: Request, version: str | None = None
    ) -> Reply:
        _loaded(one, version)
        return _json({"name": one.name, "ready": self._ready}, 200 if self._ready else 503)

    async def _figures(self, request: Request) -> Reply:
        accept = request.headers.get(b"accept", b"").decode("latin-1")
        body, kind = self._metrics.expose(accept)
        return Reply(200, ((b"content-type", kind.encode()),), body)

    async def _kept(self, write: _Write, request: Request) -> Reply:
        """Give what is written once for each change of what is served."""
        versions = tuple(one.version for one in self._deployments)
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
        served = _loaded(one, version)
        versions = [some.version for some in one.versions()]
        return _json(inference.described(one.name, versions, served.model))

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


def _loaded(one: Deployment, version: str | None) -> Served:
    """Give a version, or the one that answers."""
    if version is None:
        return one.versions()[0]
    try:
        return one.find(version)
    except OptionError as error:
        raise RefusedError(404, "version", (error.given, error.expected, error.mend)) from None


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


def _hold_nothing(request: Request, size: int) -> None:
    """Count nothing: orders are short."""
