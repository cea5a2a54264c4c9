"""Traces by OpenTelemetry, sent by OTLP over HTTP. Nothing is imported, and nothing costs time, where no endpoint is set."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_QUIET: Final = "healthz,readyz,metrics,v2/health/.*"
_NS: Final = 1_000_000_000


class Tracing:
    """The spans of one service."""

    def __init__(self, provider: "TracerProvider", service: str) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(service)

    def stages(self, seconds: Mapping[str, float]) -> None:
        """Stages of the current request that followed each other and have just ended, as spans below its own."""
        from opentelemetry.trace import get_current_span

        if not get_current_span().is_recording():
            return
        start = time.time_ns() - int(sum(seconds.values()) * _NS)
        for name, taken in seconds.items():
            end = start + int(taken * _NS)
            self._tracer.start_span(name, start_time=start).end(end_time=end)
            start = end

    def close(self) -> None:
        """Send what is waiting; at most for a few seconds."""
        self._provider.shutdown()


def install_tracing(app: FastAPI, *, service: str, endpoint: str | None) -> Tracing | None:
    """A span for every request to ``app``, below the caller's where it sends ``traceparent``; None without an ``endpoint``."""
    if endpoint is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    # One span per chunk of a body would say nothing.
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, excluded_urls=_QUIET, exclude_spans=["receive", "send"])
    return Tracing(provider, service)
