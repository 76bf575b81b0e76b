from __future__ import annotations

import builtins
import importlib.util
import io
import json
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from thalweg.core.errors import OptionError
from thalweg.serving.http.log import Log
from thalweg.serving.http.tracing import Tracer, open_tracer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PLACE = "OTEL_EXPORTER_OTLP_ENDPOINT"

installed = pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry") is None, reason="opentelemetry is not installed"
)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_TRACES_EXPORTER": "none", PLACE: "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "True", PLACE: "http://127.0.0.1:1"},
        {PLACE: " "},
    ],
)
def test_nothing_is_traced_unless_it_is_wanted(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def watched(name: str, *more: Any, **named: Any) -> ModuleType:
        assert not name.startswith("opentelemetry")
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", watched)
    assert open_tracer(environment) is None


def test_an_exporter_that_is_not_known() -> None:
    with pytest.raises(OptionError, match="otlp, console or none"):
        open_tracer({"OTEL_TRACES_EXPORTER": "jaeger"})


def test_what_is_wanted_and_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    stream = io.StringIO()
    assert open_tracer({PLACE: "http://127.0.0.1:1"}, Log(stream)) is None
    told = json.loads(stream.getvalue())
    assert (told["level"], told["event"]) == ("warning", "no tracing")
    assert "thalweg[tracing]" in told["reason"]


class Fake:
    """As much of OpenTelemetry as is called, writing down what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[str, Any]] = []
        modules: dict[str, dict[str, Any]] = {
            "opentelemetry.trace": {
                "SpanKind": SimpleNamespace(SERVER="server"),
                "StatusCode": SimpleNamespace(ERROR="error"),
            },
            "opentelemetry.trace.propagation.tracecontext": {
                "TraceContextTextMapPropagator": lambda: SimpleNamespace(extract=self.extract)
            },
            "opentelemetry.context": {"Context": lambda: "empty"},
            "opentelemetry.sdk.resources": {"Resource": SimpleNamespace(create=self.note("names"))},
            "opentelemetry.sdk.trace": {"TracerProvider": lambda resource: self},
            "opentelemetry.sdk.trace.export": {
                "BatchSpanProcessor": lambda sink: ("batch", sink),
                "ConsoleSpanExporter": lambda: "console",
            },
            "opentelemetry.exporter.otlp.proto.http.trace_exporter": {
                "OTLPSpanExporter": lambda: "otlp"
            },
        }
        for name, inside in modules.items():
            parts = name.split(".")
            for length in range(1, len(parts)):
                parent = ".".join(parts[:length])
                if parent not in modules:
                    monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
            module = ModuleType(name)
            module.__dict__.update(inside)
            monkeypatch.setitem(sys.modules, name, module)
        self.add_span_processor = self.note("processor")
        self.set_attribute = self.note("attribute")
        self.set_status = self.note("status")
        self.end = self.note("end")
        self.shutdown = self.note("shutdown")

    def note(self, name: str) -> Callable[..., None]:
        return lambda *words: self.told.append((name, words))

    def get_tracer(self, *words: str) -> Fake:
        return self

    def extract(self, carrier: dict[str, str], context: str) -> tuple[str, dict[str, str]]:
        return context, carrier

    def start_span(self, name: str, **named: Any) -> Fake:
        self.told.append((name, named))
        return self

    def get_span_context(self) -> SimpleNamespace:
        return SimpleNamespace(trace_id=255)


@pytest.mark.parametrize("exporter", ["otlp", "console"])
def test_a_span_for_each_request(exporter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch)
    tracer = open_tracer({"OTEL_TRACES_EXPORTER": exporter, "OTEL_SERVICE_NAME": "prices"})
    assert tracer is not None
    assert fake.told == [
        ("names", ({"service.name": "prices"},)),
        ("processor", (("batch", exporter),)),
    ]
    fake.told.clear()
    span = tracer.begin("POST", "/v1/predict", PARENT)
    assert span.trace == "0" * 30 + "ff"
    name, named = fake.told.pop()
    assert name == "POST /v1/predict"
    assert named["context"] == ("empty", {"traceparent": PARENT})
    assert named["attributes"] == {"http.request.method": "POST", "http.route": "/v1/predict"}
    span.end(500, "adult", "v1", 3)
    span.end(200)
    assert fake.told == [
        ("attribute", ("http.response.status_code", 500)),
        ("attribute", ("thalweg.model", "adult")),
        ("attribute", ("thalweg.version", "v1")),
        ("attribute", ("thalweg.rows", 3)),
        ("status", ("error",)),
        ("end", ()),
    ]
    tracer.close()
    assert fake.told[-1] == ("shutdown", ())


@installed
def test_spans_of_the_real_one() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    sink = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(sink))
    tracer = Tracer(provider)
    ours = tracer.begin("POST", "/v1/predict", PARENT)
    assert ours.trace == PARENT[3:35]
    ours.end(200, "adult", "v1", 2)
    for header in ("", "junk", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
        other = tracer.begin("GET", "/v1/models", header)
        assert other.trace not in {"", "0" * 32, ours.trace}
        other.end(503)
    first, *others = sink.get_finished_spans()
    assert f"{first.parent.span_id:016x}" == PARENT[36:52]
    assert first.attributes["thalweg.rows"] == 2
    assert first.kind.name == "SERVER"
    assert [one.parent for one in others] == [None] * 3
    assert others[0].status.status_code.name == "ERROR"
    tracer.close()


@installed
def test_the_real_one_opens() -> None:
    tracer = open_tracer({PLACE: "http://127.0.0.1:1"})
    assert tracer is not None
    tracer.close()
