"""Traces for OpenTelemetry: what the spans are, what they leave out, and that they arrive."""

import gzip
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app.main import build_room, build_tracing
from app.settings import Settings
from app.tracing import Tracing
from tests.api.test_metrics import PICTURE, REGISTRY
from tests.conftest import served
from tests.site import site
from tests.toys import ToyStore

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@contextmanager
def traced(tracing: Tracing | None) -> Iterator[str]:
    room = build_room(Settings(lanes=2, allow_private_urls=True), REGISTRY, ToyStore("absent"), tracing)
    with served(room) as url:
        yield url
    room.pool.close()


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def url(spans) -> Iterator[str]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    with traced(Tracing(provider)) as url:
        yield url


def upload(url: str, *types: str, headers: dict[str, str] | None = None) -> httpx.Response:
    tasks = [{"operation_id": str(number), "type": each} for number, each in enumerate(types)]
    return httpx.post(
        f"{url}/analyze_image_upload/?secret=1",
        files={"image_file": ("a.png", PICTURE)},
        data={"tasks_json": orjson.dumps(tasks).decode()},
        headers=headers,
    )


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def test_a_request_is_a_span_that_continues_the_trace_of_its_client(url, spans):
    answer = upload(url, "measure", headers=TRACEPARENT)
    span = by_name(spans)["POST /analyze_image_upload"]
    assert span.kind is SpanKind.SERVER
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["sightgraph.request_id"] == answer.headers["x-request-id"]
    assert {each.context.trace_id for each in spans.get_finished_spans()} == {span.context.trace_id}


def test_nodes_and_decoding_are_spans_within(url, spans):
    upload(url, "measure", "dream")
    found = by_name(spans)
    request, measured = found["POST /analyze_image_upload"], found["node measure"]
    assert measured.parent.span_id == request.context.span_id
    assert dict(measured.attributes) == {
        "sightgraph.operation": "measure",
        "sightgraph.engine": "toy",
        "sightgraph.items": 1,
        "sightgraph.cached": 0,
        "sightgraph.batch": 1,
    }
    assert found["decode"].context.trace_id == request.context.trace_id
    failed = found["node dream"]
    assert failed.attributes["error.type"] == "model_unavailable"
    assert failed.status.status_code is StatusCode.ERROR
    assert measured.status.status_code is not StatusCode.ERROR


def test_what_the_cache_answers_is_said_to_be_cached(url, spans):
    upload(url, "measure")
    spans.clear()
    upload(url, "measure")
    found = by_name(spans)
    assert found["node measure"].attributes["sightgraph.cached"] == 1
    assert "sightgraph.batch" not in found["node measure"].attributes
    assert "decode" not in found


def test_a_download_is_a_span_without_its_address(url, spans):
    there, missing = "a.png?signature=of-the-address", "b.png?signature=of-the-address"
    with site({there: PICTURE}) as files:
        tasks = [{"operation_id": "a", "type": "measure"}]
        for name in (there, missing):
            httpx.post(f"{url}/analyze_image/", json={"image_url": f"{files}/{name}", "tasks": tasks})
    done, failed = [span for span in spans.get_finished_spans() if span.name == "fetch"]
    assert done.status.status_code is StatusCode.UNSET
    assert failed.attributes["error.type"] == "ImageUnavailable"
    refused = [span for span in spans.get_finished_spans() if span.kind is SpanKind.SERVER][1]
    assert refused.attributes["error.type"] == "image_unavailable"
    text = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "of-the-address" not in text
    assert "secret" not in text
    assert files not in text


def test_probes_are_no_spans_and_paths_no_names(url, spans):
    for path in ("/health/live", "/health/ready", "/metrics", "/nowhere/1"):
        httpx.get(url + path)
    assert [span.name for span in spans.get_finished_spans()] == ["GET"]


@pytest.mark.parametrize("sent", ["", "x", "00-0-0-01", "a" * 5000, f"00-{TRACE}-{PARENT}"])
def test_a_parent_that_is_none_begins_a_new_trace(url, spans, sent):
    assert httpx.get(f"{url}/available_operations/", headers={"traceparent": sent}).status_code == 200
    (span,) = spans.get_finished_spans()
    assert span.parent is None


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Takes what an OTLP exporter sends over HTTP; gives its URL."""
    received = []

    class Collecting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collecting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


def test_spans_arrive_at_a_collector(monkeypatch):
    with collector() as (address, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        tracing = build_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": address})
        assert tracing is not None
        with traced(tracing) as url:
            upload(url, "measure")
        tracing.close()
        resources = [each for request in received for each in request.resource_spans]
    (resource,) = resources
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert named["service.name"] == "sightgraph"
    found = {span.name: span for scope in resource.scope_spans for span in scope.spans}
    assert {"POST /analyze_image_upload", "decode", "node measure"} <= found.keys()
    assert found["node measure"].parent_span_id == found["POST /analyze_image_upload"].span_id


def test_a_collector_that_is_not_there_holds_up_nothing(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    tracing = build_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert tracing is not None
    with traced(tracing) as url:
        assert upload(url, "measure").status_code == 200
    tracing.close()
    for thread in threading.enumerate():
        if thread.name == "traces":
            thread.join(30)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
def test_nothing_is_traced_unasked(environ):
    assert build_tracing(environ) is None


def test_an_extra_that_is_not_installed_is_told(monkeypatch, caplog):
    monkeypatch.delitem(sys.modules, "app.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with caplog.at_level(logging.WARNING):
        assert build_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) is None
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in caplog.text
    assert "pip install 'sightgraph[tracing]'" in caplog.text


def test_an_exporter_that_is_not_installed_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        assert build_tracing({"OTEL_TRACES_EXPORTER": "zipkin"}) is None
    assert "OTEL_TRACES_EXPORTER" in caplog.text
    assert "'zipkin'" in caplog.text
    assert "otlp_proto_http" in caplog.text
