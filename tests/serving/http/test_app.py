from __future__ import annotations

import gzip
import json
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from standing import ROW, Client, Site
from thalweg.serving.http.limits import Limits, Rate, RateLimit
from thalweg.serving.http.request import RefusedError, unpacked

BODY = json.dumps(ROW).encode()
JSON = {"content_type": "application/json"}


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/models/homes/predict"])
def test_a_row_is_answered_by_the_model_and_its_version(site: Site, path: str) -> None:
    status, headers, body = site.ask("POST", path, BODY, **JSON)
    assert status == 200
    assert headers["x-thalweg-model"] == "homes"
    assert headers["x-thalweg-version"] == "000000000000"
    told = json.loads(body)
    assert (told["model"], told["version"]) == ("homes", "000000000000")
    assert set(told["predictions"][0]) == {
        "prediction", "probability_quickly", "probability_slowly",
    }  # fmt: skip


def test_formats_are_chosen_by_the_headers(site: Site) -> None:
    lines = BODY + b"\n" + BODY
    status, headers, body = site.ask("POST", "/v1/predict", lines, content_type="application/jsonl")
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    assert body.count(b"\n") == 2
    status, headers, body = site.ask(
        "POST", "/v1/predict", BODY, accept="application/vnd.apache.arrow.stream"
    )
    assert status == 200
    assert pa.ipc.open_stream(body).read_all().num_rows == 1
    assert site.told("POST", "/v1/predict", BODY, content_type="text/csv")[0] == 415
    assert site.told("POST", "/v1/predict", BODY, accept="image/png")[0] == 415


def test_many_rows_go_through_threads_and_keep_their_order(site: Site) -> None:
    rows = [ROW | {"size": float(n)} for n in range(900)]
    status, told = site.told("POST", "/v1/predict", json.dumps(rows).encode())
    assert status == 200
    shares = [one["probability_slowly"] for one in told["predictions"]]
    assert len(shares) == 900
    assert shares == sorted(shares)


@pytest.mark.parametrize(
    ("status", "asked", "headers"),
    [
        (404, ("GET", "/nothing"), {}),
        (404, ("GET", "/v1/models/hames"), {}),
        (404, ("POST", "/v1/predict?version=abc", BODY), {}),
        (405, ("GET", "/v1/predict"), {}),
        (405, ("PATCH", "/v1/predict"), {}),
        (400, ("POST", "/v1/predict", b"{"), {}),
        (400, ("POST", "/v1/predict?explian=true", BODY), {}),
        (400, ("POST", "/v1/predict?explain=perhaps", BODY), {}),
        (400, ("POST", "/v1/predict?explain=true&explain=true", BODY), {}),
        (400, ("POST", "/v1/predict?%ff=1", BODY), {}),
        (411, ("POST", "/v1/predict"), {}),
        (413, ("POST", "/v1/predict", b"x" * 200_001), {}),
        (413, ("POST", "/v1/predict", b"[" + b"{}," * 1000 + b"{}]"), {}),
        (415, ("POST", "/v1/predict", BODY), {"content_encoding": "br"}),
        (400, ("POST", "/v1/predict", BODY), {"content_encoding": "gzip"}),
        (422, ("POST", "/v1/predict", b"[]"), {}),
        (422, ("POST", "/v1/predict", b"[1, null]"), {}),
        (400, ("POST", "/v2/models/homes/infer", BODY), {}),
        (400, ("POST", "/v2/models/homes/infer", b"{}"), {"inference_header_content_length": "x"}),
        (409, ("POST", "/v1/models/homes/rollback", b""), {}),
        (409, ("POST", "/v1/models/homes/traffic", b'{"percent": 5}'), {}),
        (400, ("POST", "/v1/models/homes/traffic", b'{"percent": "5"}'), {}),
        (400, ("POST", "/v1/models/homes/traffic", b"[]"), {}),
        (403, ("POST", "/v1/models/homes/rollback", b""), {"origin": "http://evil.example"}),
    ],
)
def test_errors_say_what_is_wrong(
    site: Site, status: int, asked: tuple[Any, ...], headers: dict[str, str]
) -> None:
    found, told = site.told(*asked, **headers)
    assert found == status
    assert "; expected " in told["error"]
    assert "\n" not in told["error"]
    assert "Traceback" not in told["error"]
    assert site.told("POST", "/v1/predict", BODY)[0] == 200


def test_packed_bodies_are_unpacked_but_no_bombs(site: Site) -> None:
    packed = gzip.compress(BODY)
    assert site.told("POST", "/v1/predict", packed, content_encoding="gzip")[0] == 200
    bomb = gzip.compress(b" " * 10_000_000)
    assert len(bomb) < 200_000
    assert site.told("POST", "/v1/predict", bomb, content_encoding="gzip")[0] == 413
    tracemalloc.start()
    with pytest.raises(RefusedError, match="a body of 10,001 bytes or more"):
        unpacked(bomb, b"gzip", 10_000)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    with pytest.raises(RefusedError, match="damaged"):
        unpacked(packed[:-1], b"gzip", 10_000)
    with pytest.raises(RefusedError, match="damaged"):
        unpacked(packed + b"x", b"gzip", 10_000)


def test_chunked_bodies_have_the_same_limit(site: Site) -> None:
    client = Client(site.server.port)
    client.send(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(3):
        client.send(b"%x\r\n%b\r\n" % (100_000, b" " * 100_000))
    assert client.answer()[0] == 413


def test_a_failing_model_is_told_by_a_number_and_only_to_whom_it_concerns(own: Any) -> None:
    site = own()

    def broken(inputs: Any) -> None:
        if (inputs["number"] == 666.0).any():
            raise RuntimeError("the cell 'Ulm' is secret")

    site.model.before = broken
    status, told = site.told("POST", "/v1/predict", json.dumps(ROW | {"size": 666.0}).encode())
    assert status == 500
    assert "Ulm" not in told["error"]
    fault = next(one for one in site.standing.events() if one["event"] == "fault")
    assert fault["id"] == told["id"]
    assert told["id"] in told["error"]
    assert site.told("POST", "/v1/predict", BODY)[0] == 200
    assert "Ulm" not in site.standing.lines.getvalue()


def test_without_the_right_key_nothing_is_learned(guarded: tuple[Site, str, str]) -> None:
    site, user, _ = guarded
    answers = set()
    for method, path in (
        ("POST", "/v1/predict"),
        ("POST", "/v1/models/nobody/predict"),
        ("GET", "/nothing"),
        ("PATCH", "/v1/predict"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("POST", "/v1/models/homes/rollback"),
    ):
        for headers in ({}, {"authorization": "Bearer tw_wrong"}, {"authorization": user[:-1]}):
            status, found, body = site.ask(method, path, b"{", **headers)
            found.pop("connection", None)
            answers.add((status, str(found), body))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 401
    assert site.told("GET", "/healthz")[0] == 200
    assert site.told("POST", "/v1/predict", BODY, authorization=user)[0] == 200


def test_no_other_site_leads_its_name_here(own: Any) -> None:
    def ask(site: Site, head: bytes) -> int:
        client = Client(site.server.port)
        client.send(b"GET " + head + b"\r\nconnection: close\r\n\r\n")
        status: int = client.answer()[0]
        return status

    site, path = own(local=True), b"/v1/models HTTP/1.1\r\nhost: "
    for host in (b"localhost:8080", b"127.0.0.1", b"[::1]:1"):
        assert ask(site, path + host) == 200
    for host in (b"evil.example", b"", b"[", b":80"):
        assert ask(site, path + host) == 403
    assert ask(site, b"http://evil.example" + path + b"localhost") == 403
    assert ask(site, b"http://localhost:1" + path + b"evil.example") == 200
    assert ask(site, b"/v1/models HTTP/1.0") == 200
    assert ask(own(), path + b"evil.example") == 200


def test_no_body_is_read_before_the_key_is_right(guarded: tuple[Site, str, str]) -> None:
    site, _, _ = guarded
    client = Client(site.server.port)
    client.send(
        b"POST /v1/predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n"
    )
    status, headers, _ = client.answer()
    assert (status, headers["connection"]) == (401, "close")


def test_who_asks_too_often_is_told_when_to_come_back(own: Any) -> None:
    site = own(rate=RateLimit(Rate(0.1, 2)))
    assert [site.told("POST", "/v1/predict", BODY)[0] for _ in range(2)] == [200, 200]
    status, headers, _ = site.ask("POST", "/v1/predict", BODY)
    assert status == 429
    assert 1 <= int(headers["retry-after"]) <= 10
    assert site.told("GET", "/readyz")[0] == 200


def test_what_cannot_make_its_latency_is_refused(own: Any) -> None:
    site = own(latency=0.05)
    site.model.before = lambda inputs: time.sleep(0.1)
    site.told("POST", "/v1/predict", BODY)
    clients = [Client(site.server.port) for _ in range(6)]
    for client in clients:
        client.ask("POST", "/v1/predict", BODY)
    found = [client.answer() for client in clients]
    assert {one[0] for one in found} == {200, 429}
    assert all(int(one[1]["retry-after"]) >= 1 for one in found if one[0] == 429)
    assert b'thalweg_busy_total{model="homes"} ' in site.ask("GET", "/metrics")[2]


def test_requests_gather_while_the_model_runs(own: Any) -> None:
    site = own()
    gate, sizes = threading.Event(), []

    def wait(inputs: Any) -> None:
        sizes.append(len(inputs["number"]))
        assert gate.wait(10)

    site.model.before = wait
    clients = [Client(site.server.port) for _ in range(8)]
    clients[0].ask("POST", "/v1/predict", BODY)
    while not sizes:
        time.sleep(0.01)
    for client in clients[1:]:
        client.ask("POST", "/v1/predict", BODY)
    time.sleep(0.2)
    gate.set()
    assert [client.answer()[0] for client in clients] == [200] * 8
    assert sizes == [1, 7]


def test_explained_rows_add_up(site: Site) -> None:
    status, told = site.told("POST", "/v1/predict?explain=true", BODY)
    assert status == 200
    row = told["predictions"][0]
    assert set(row["contributions"]) == {"size", "rooms", "town", "zone", "garden", "day", "price"}
    status, _ = site.told("POST", "/v1/predict?explain=true", json.dumps([ROW] * 1000).encode())
    assert status == 413


def test_the_shadow_is_asked_after_the_answer(own: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "seal").write_text("x")
    site = own(deployments={"candidates": [f"homes={other}"], "shadow": True})
    assert site.told("POST", "/v1/predict", BODY)[1]["version"] == "000000000000"
    for _ in range(100):
        if b"thalweg_shadow_rows_total{" in (figures := site.ask("GET", "/metrics")[2]):
            break
        time.sleep(0.02)
    assert b'thalweg_shadow_rows_total{model="homes",version="000000000001"} 1.0' in figures


def test_requests_under_way_are_finished_at_the_end(own: Any) -> None:
    site = own()
    started, gate = threading.Event(), threading.Event()

    def wait(inputs: Any) -> None:
        started.set()
        assert gate.wait(10)

    site.model.before = wait
    site.client.ask("POST", "/v1/predict", BODY)
    assert started.wait(10)
    stopping = threading.Thread(target=site.server.stop)
    stopping.start()
    time.sleep(0.3)
    gate.set()
    assert site.client.answer()[0] == 200
    stopping.join(10)
    assert not stopping.is_alive()
    with pytest.raises(ConnectionError):
        Client(site.server.port)


def test_large_bodies_share_what_memory_there_is(own: Any) -> None:
    site = own(limits=Limits(body=100_000))
    body = json.dumps([ROW] * 700).encode()
    clients = [Client(site.server.port) for _ in range(14)]
    for client in clients:
        client.send(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\n")
    # What is only announced takes nothing from others.
    assert site.told("POST", "/v1/predict", body)[0] == 200
    for client in clients:
        client.send(b" " * 99_998)
        time.sleep(0.05)
    refused = [client.answer()[0] for client in clients[12:]]
    for client in clients:
        client.close()
    assert refused == [429, 429]
    for _ in range(50):
        status = site.told("POST", "/v1/predict", body)[0]
        if status == 200:
            break
        time.sleep(0.02)
    assert status == 200


def test_who_reads_no_answers_gets_no_further_ones(own: Any) -> None:
    site = own()
    client = Client(site.server.port)
    body = json.dumps([ROW] * 250).encode()
    head = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    request = head + b"content-length: %d\r\n\r\n" % len(body) + body
    client.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):  # the server reads no more of them
        client.send(request * 2000)
    assert site.told("POST", "/v1/predict", BODY)[0] == 200
    client.close()
