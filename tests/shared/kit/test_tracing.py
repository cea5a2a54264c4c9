"""Traces, as a collector receives them."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from fastapi import FastAPI, Request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared.kit.tracing import install_tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector():
    """A real OTLP endpoint: ``url``, and the spans that came."""
    spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.spans = spans
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def an_app(endpoint):
    app = FastAPI()
    tracing = install_tracing(app, service="picofleet-test", endpoint=endpoint)

    @app.get("/work/{number}")
    async def work(number: int, request: Request) -> int:
        if tracing is not None:
            tracing.stages({"decode": 0.002, "run": 0.004})
        return number

    @app.get("/healthz")
    def live() -> str:
        return "ok"

    return app, tracing


def test_a_request_is_a_span_below_its_caller_s_with_its_stages_in_order(collector, serve):
    app, tracing = an_app(collector.url)
    url = serve(app).url
    assert httpx.get(f"{url}/work/3", headers={"traceparent": PARENT}).json() == 3
    httpx.get(f"{url}/healthz")
    tracing.close()
    spans = {span.name: span for span in collector.spans}
    request = spans["GET /work/{number}"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == tuple(PARENT.split("-")[1:3])
    assert spans["run"].parent_span_id == spans["decode"].parent_span_id == request.span_id
    assert spans["run"].start_time_unix_nano == spans["decode"].end_time_unix_nano
    assert spans["run"].end_time_unix_nano - spans["run"].start_time_unix_nano == pytest.approx(4e6, rel=0.01)
    assert not any("healthz" in name for name in spans), "probes are no news"


def test_without_an_endpoint_there_is_nothing():
    app, tracing = an_app(None)
    assert tracing is None
    assert not getattr(app, "_is_instrumented_by_opentelemetry", False)


def test_a_collector_that_is_away_holds_nothing_up(serve):
    app, tracing = an_app("http://127.0.0.1:9")
    assert httpx.get(f"{serve(app).url}/work/1").json() == 1
    tracing.close()
