"""The paths of the server, and what an order to one of them may say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

import orjson

from thalweg.serving.http.request import Handler, RefusedError


@final
class Route:
    """What is at a path.

    Parameters
    ----------
    template
        The path, with ``{name}`` for a model's: what metrics and logs call it.
    methods
        Who answers which.
    free
        Whether it needs no key.
    """

    __slots__ = ("allow", "free", "methods", "template")

    def __init__(
        self, template: str, methods: Mapping[str, Handler], *, free: bool = False
    ) -> None:
        self.template = template
        self.methods = dict(methods)
        self.free = free
        if "GET" in methods:
            self.methods["HEAD"] = methods["GET"]
        self.allow = ", ".join(sorted([*self.methods, "OPTIONS"])).encode()


def only(method: str, handler: Handler) -> dict[str, Handler]:
    """Give the methods of a path that has one."""
    return {method: handler}


WISHES: Final[Mapping[str, Mapping[str, tuple[type, ...]]]] = {
    "traffic": {"percent": (int, float), "shadow": (bool,), "version": (str,)},
    "rollback": {"version": (str,)},
    "promote": {"version": (str,)},
}


def wish(body: bytes, order: str) -> dict[str, Any]:
    """Read what an order says."""
    known = WISHES[order]
    wanted = "an object with " + ", ".join(known) + ", or nothing"
    try:
        found = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError:
        raise RefusedError(400, "order", ("a body that is no JSON", wanted)) from None
    if not isinstance(found, dict) or not all(
        name in known and type(value) in known[name] for name, value in found.items()
    ):
        names = [name for name in found if name not in known] if isinstance(found, dict) else []
        given = f"an order with {names[0][:40]!r}" if names else "a body of another form"
        raise RefusedError(400, "order", (given, wanted))
    percent = found.get("percent", 0)
    if not 0 <= percent <= 100:
        raise RefusedError(400, "order", (f"a share of {percent:g} percent", "0 to 100"))
    return found


TEMPLATES: Final = (
    *("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics"),
    *("/v1/predict", "/v1/models", "/v1/models/{name}", "/v1/models/{name}/predict"),
    *(f"/v1/models/{{name}}/{order}" for order in WISHES),
    *("/v2", "/v2/health/live", "/v2/health/ready"),
    *(
        f"/v2/models/{{name}}{version}{end}"
        for version in ("", "/versions/{version}")
        for end in ("", "/ready", "/infer")
    ),
)
