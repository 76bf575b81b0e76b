from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from standing import ROW, Site, Standing
from thalweg.serving.http.app import App

BODY = json.dumps(ROW).encode()
JSON = {"content_type": "application/json"}


def test_the_open_inference_protocol_is_spoken(site: Site) -> None:
    assert site.told("GET", "/v2")[1]["name"] == "thalweg"
    for path in ("/v2/models/homes", "/v2/models/homes/versions/000000000000"):
        assert site.told("GET", path)[1]["name"] == "homes"
        assert site.told("GET", f"{path}/ready")[1]["ready"] is True
        inputs = [
            {"name": "size", "shape": [1], "datatype": "FP64", "data": [80.0]},
        ]
        status, told = site.told("POST", f"{path}/infer", json.dumps({"inputs": inputs}).encode())
        assert status == 200
        assert told["model_version"] == "000000000000"
    assert site.told("GET", "/v2/models/homes/versions/1")[0] == 404
    assert site.told("GET", "/v2/models/nobody")[0] == 404
    assert site.told("POST", "/v2/models/homes/versions/1/infer", b"{}")[0] == 404


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
        ("/v2/health/live", "application/json"),
        ("/v2/health/ready", "application/json"),
        ("/v1/models", "application/json"),
        ("/v1/models/homes", "application/json"),
        ("/openapi.json", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/", "text/html; charset=utf-8"),
    ],
)
def test_what_can_be_looked_at(site: Site, path: str, kind: str) -> None:
    status, headers, body = site.ask("GET", path)
    assert (status, headers["content-type"].partition(";")[0]) == (200, kind.partition(";")[0])
    assert body
    assert site.ask("HEAD", path)[::2] == (200, b"")
    status, headers, body = site.ask("OPTIONS", path)
    assert (status, headers["allow"], body) == (204, "GET, HEAD, OPTIONS", b"")
    status, headers, _ = site.ask("DELETE", path)
    assert (status, headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_every_path_of_the_document_is_there(site: Site) -> None:
    for path, methods in site.told("GET", "/openapi.json")[1]["paths"].items():
        allowed = site.ask("OPTIONS", path.replace("{name}", "homes"))
        assert allowed[0] == 204, path
        assert {one.upper() for one in methods} <= {*allowed[1]["allow"].split(", ")}


def test_the_page_shows_the_model_to_who_has_a_key(guarded: tuple[Site, str, str]) -> None:
    site, user, _ = guarded
    without = site.ask("GET", "/")
    assert without == site.ask("GET", "/docs", authorization="Bearer tw_wrong")
    assert without[0] == 200
    assert b"homes" not in without[2]
    assert b"homes" in site.ask("GET", "/", authorization=user)[2]


def test_orders_are_for_administrators(guarded: tuple[Site, str, str]) -> None:
    site, user, admin = guarded
    for order in ("rollback", "promote", "traffic"):
        path = f"/v1/models/homes/{order}"
        assert site.told("POST", path, b"", authorization=user)[0] == 403
        assert site.told("POST", path, b"", authorization=admin)[0] == 409


def test_a_share_of_the_traffic_and_orders(own: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    site = own(deployments={"candidates": [f"homes={other}"], "percent": 50.0})

    def versions() -> set[str]:
        return {site.told("POST", "/v1/predict", BODY)[1]["version"] for _ in range(4)}

    assert versions() == {"000000000000", "000000000001"}
    assert site.told("POST", "/v1/models/homes/traffic", b'{"percent": 0}')[0] == 200
    assert versions() == {"000000000000"}
    path = "/v1/predict?version=000000000001"
    assert site.told("POST", path, BODY)[1]["version"] == "000000000001"
    assert site.told("POST", "/v1/models/homes/promote")[1]["version"] == "000000000001"
    assert versions() == {"000000000001"}
    assert site.told("POST", "/v1/models/homes/rollback")[1]["version"] == "000000000000"
    assert versions() == {"000000000000"}


def test_a_server_that_drains_is_not_ready_but_answers(own: Any) -> None:
    site = own()
    site.standing.app.drain()
    assert site.told("GET", "/readyz")[0] == 503
    assert site.told("GET", "/v2/health/ready")[0] == 503
    assert site.told("GET", "/healthz")[0] == 200
    assert site.told("POST", "/v1/predict", BODY)[0] == 200


def test_every_template_counts_as_itself(tmp_path: Path) -> None:
    async def work() -> None:
        app = Standing(tmp_path).app
        assert {route.template for route in app._endpoints._routes.values()} <= {*App.paths()}
        await app.close()

    asyncio.run(work())
