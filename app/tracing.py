"""Traces for OpenTelemetry: a span for every request, and in it one for each download, decoding and node.

Spans tell how long what took. They hold no image, no address of one, no query and no message of an error.
Importing this needs the extra `tracing`; `app.main.build_tracing` does so where the environment asks for it.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points

from opentelemetry import propagate
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from app.api.exchange import UNMATCHED, Exchange
from app.api.request_id import request_id
from app.runtime.observation import Observer, Work

# What is not sent until then is lost: a collector that does not answer must not hold up the stop.
FLUSH_SECONDS = 0.5

_EXPORTERS = "opentelemetry_traces_exporter"
_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


class TracingUnavailable(Exception):
    """The environment asks for an exporter that is not installed."""


class Tracing(Observer):
    """Spans of one provider. The libraries' global one is not touched."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("sightgraph")

    @contextmanager
    def request(self, exchange: Exchange) -> Iterator[None]:
        if exchange.is_probe:
            yield
            return
        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.scope["headers"]}
        with self._entered(exchange.method, SpanKind.SERVER, sent) as span:
            span.set_attribute("http.request.method", exchange.method)
            span.set_attribute("sightgraph.request_id", request_id())
            try:
                yield
            finally:
                if exchange.route != UNMATCHED:
                    span.update_name(f"{exchange.method} {exchange.route}")
                    span.set_attribute("http.route", exchange.route)
                if exchange.status is not None:
                    span.set_attribute("http.response.status_code", exchange.status)
                if exchange.refusal is not None:
                    span.set_attribute("error.type", exchange.refusal)
                if exchange.status is None or exchange.status >= 500:
                    span.set_status(Status(StatusCode.ERROR))

    @contextmanager
    def span(self, work: Work) -> Iterator[None]:
        name = work.kind if work.operation is None else f"{work.kind} {work.operation}"
        with self._entered(name, SpanKind.INTERNAL) as span:
            yield
            if work.operation is not None:
                span.set_attribute("sightgraph.operation", work.operation)
                span.set_attribute("sightgraph.items", work.items)
                span.set_attribute("sightgraph.cached", work.cached)
            if work.engine is not None:
                span.set_attribute("sightgraph.engine", work.engine)
            if work.batch:
                span.set_attribute("sightgraph.batch", work.batch)
            if work.fault is not None:
                span.set_attribute("error.type", work.fault.code)
                if work.fault.status == "error":
                    span.set_status(Status(StatusCode.ERROR))

    def close(self) -> None:
        """Send what is not sent yet, as far as that goes fast."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(FLUSH_SECONDS)

    @contextmanager
    def _entered(self, name: str, kind: SpanKind, sent: Mapping[str, str] | None = None) -> Iterator[Span]:
        context = None if sent is None else propagate.extract(sent)
        with self._tracer.start_as_current_span(
            name,
            context,
            kind,
            # The message of an exception may hold what a client sent.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise


def tracing_to(environ: Mapping[str, str], version: str) -> Tracing:
    """Spans go where the variables of OpenTelemetry say.

    Raises:
        TracingUnavailable: they name an exporter that is not installed.
    """
    # What the environment says goes before; the SDK would let what is given here go before.
    own = {SERVICE_VERSION: version}
    named = "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not named and "OTEL_SERVICE_NAME" not in environ:
        own[SERVICE_NAME] = "sightgraph"
    provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
    for name in environ.get("OTEL_TRACES_EXPORTER", "otlp").split(","):
        provider.add_span_processor(BatchSpanProcessor(_exporter(name.strip(), environ)))
    return Tracing(provider)


def _exporter(name: str, environ: Mapping[str, str]) -> SpanExporter:
    general = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", general)
    wanted = _OTLP.get(protocol, protocol) if name == "otlp" else name
    for found in entry_points(group=_EXPORTERS, name=wanted):
        exporter: SpanExporter = found.load()()
        return exporter
    installed = ", ".join(sorted(found.name for found in entry_points(group=_EXPORTERS)))
    raise TracingUnavailable(f"there is no exporter '{wanted}', but {installed}")
