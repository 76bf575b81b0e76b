"""A span for each request, where OpenTelemetry is installed and configured; else nothing at all.

It is configured by its own environment variables (OpenTelemetry's specification, "Environment
Variable Specification"): ``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``
says where spans go, ``OTEL_TRACES_EXPORTER`` is ``otlp``, ``console`` or ``none``,
``OTEL_SERVICE_NAME`` names the server and ``OTEL_SDK_DISABLED`` turns all of it off. A caller's
trace (W3C ``traceparent``) goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any, final

from thalweg.core.errors import OptionError, not_installed
from thalweg.serving.http.log import Log

__all__ = ["Span", "Tracer", "open_tracer"]


@final
class Tracer:
    """Begins spans of OpenTelemetry's.

    Parameters
    ----------
    provider
        Its ``TracerProvider``. It is ours alone: the process's global one is left as it is.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("thalweg", metadata.version("thalweg"))
        self._kind = SpanKind.SERVER
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, method: str, path: str, traceparent: str = "", tracestate: str = "") -> Span:
        """Begin the span of a request, within the caller's trace where it has one.

        Parameters
        ----------
        path
            The route, such as ``/v1/models/{name}/predict``.
        traceparent, tracestate
            The headers of that name.
        """
        from opentelemetry.context import Context

        carrier = {"traceparent": traceparent, "tracestate": tracestate}
        # An empty context: whatever the event loop's task has is another request's.
        context = self._propagator.extract(
            {name: text for name, text in carrier.items() if text}, context=Context()
        )
        span = self._tracer.start_span(
            f"{method} {path}",
            context=context,
            kind=self._kind,
            attributes={"http.request.method": method, "http.route": path},
        )
        return Span(span)

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()


@final
class Span:
    """A request that is under way, in the words of the semantic conventions for HTTP.

    Attributes
    ----------
    trace
        The trace's number, 32 hexadecimal digits.
    """

    def __init__(self, span: Any) -> None:
        self._span = span
        self._ended = False
        self.trace = f"{span.get_span_context().trace_id:032x}"

    def end(self, status: int, model: str = "", version: str = "", rows: int = 0) -> None:
        """Say how it ended; only the first time counts."""
        if self._ended:
            return
        self._ended = True
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("http.response.status_code", status)
        if model:
            self._span.set_attribute("thalweg.model", model)
            self._span.set_attribute("thalweg.version", version)
            self._span.set_attribute("thalweg.rows", rows)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def open_tracer(environment: Mapping[str, str], log: Log | None = None) -> Tracer | None:
    """Give a tracer, if the environment wants one.

    Parameters
    ----------
    environment
        The process's variables.
    log
        Told where tracing is wanted but not installed, and where spans go.

    Raises
    ------
    OptionError
        Where ``OTEL_TRACES_EXPORTER`` names an exporter that is not known.

    Examples
    --------
    >>> open_tracer({}) is None
    True
    """
    wanted = _wanted(environment)
    if not wanted:
        return None
    try:
        provider = _provider(wanted, environment)
    except ImportError:
        if log is not None:
            missing = not_installed("tracing", "opentelemetry", "tracing")
            log.warning("no tracing", reason=str(missing))
        return None
    if log is not None:
        log.info("tracing", exporter=wanted)
    return Tracer(provider)


def _wanted(environment: Mapping[str, str]) -> str:
    """Say which exporter is wanted; empty for none."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if named == "none":
        return ""
    if named not in {"", "otlp", "console"}:
        raise OptionError(
            f"OTEL_TRACES_EXPORTER is {named!r}", "otlp, console or none", "Set one of these."
        )
    places = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return named or ("otlp" if any(environment.get(one, "").strip() for one in places) else "")


def _provider(exporter: str, environment: Mapping[str, str]) -> Any:
    """Make a provider that sends spans from a thread of its own."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if exporter == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        sink: Any = OTLPSpanExporter()
    else:
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        sink = ConsoleSpanExporter()
    name = environment.get("OTEL_SERVICE_NAME", "").strip() or "thalweg"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(sink))
    return provider
