"""The real SDK of OpenTelemetry, with exporters in memory, and stores that are told of there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from saver.backends import place
from wren_sessions import Telemetry, open_store
from wren_sessions.protocols import SessionStore


class Seen:
    """What was told.

    Attributes:
        tracer: a tracer of the application, whose spans are exported as well.
    """

    def __init__(self) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self._spans, self._meters = TracerProvider(), MeterProvider([self._reader])
        self._spans.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self._spans.get_tracer("app")

    def telemetry(self, *, session_ids: bool = False) -> Telemetry:
        """What tells it here."""
        return Telemetry(session_ids, self._spans, self._meters)

    def forget(self) -> None:
        """Forget the spans so far."""
        self._exporter.clear()

    def everything(self) -> list[ReadableSpan]:
        """All spans that have ended, in that order."""
        return list(self._exporter.get_finished_spans())

    def spans(self) -> list[ReadableSpan]:
        """Those that are ours."""
        scopes = [(span, span.instrumentation_scope) for span in self.everything()]
        return [span for span, scope in scopes if scope and scope.name == "wren_sessions"]

    def operations(self) -> list[object]:
        """Of which operations they are."""
        return [(span.attributes or {})["db.operation.name"] for span in self.spans()]

    def measured(self) -> list[tuple[Mapping[str, Any], Any]]:
        """The points of the histogram: attributes, and what was measured."""
        data = self._reader.get_metrics_data()
        found: list[tuple[Mapping[str, Any], Any]] = []
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    assert (metric.name, metric.unit) == ("db.client.operation.duration", "s")
                    found += [(dict(p.attributes or {}), p) for p in metric.data.data_points]
        return found

    def text(self) -> str:
        """All that was told, as text."""
        spans = [json.loads(span.to_json() or "{}") for span in self.spans()]
        return json.dumps([spans, [repr(point) for _, point in self.measured()]])

    def close(self) -> None:
        """End it."""
        self._spans.shutdown()
        self._meters.shutdown()


@pytest.fixture
def seen() -> Iterator[Seen]:
    """Where it is told."""
    found = Seen()
    yield found
    found.close()


@pytest.fixture(params=["memory", "file", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty place for sessions."""
    return place(request.param, request)


@pytest_asyncio.fixture
async def store(url: str, seen: Seen) -> AsyncIterator[SessionStore]:
    """A store that is told of, at a place of each kind."""
    found = open_store(url, ttl="1h", telemetry=seen.telemetry())
    yield found
    await found.aio.close()
    found.close()
