"""A real tracer provider whose spans stay in memory.

OpenTelemetry has one provider a process, and it cannot be taken back: it is set once, and a test
that wants no provider looks away from it.
"""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture(scope="session")
def provider() -> TracerProvider:
    return TracerProvider()


@pytest.fixture(scope="session")
def exporter(provider: TracerProvider) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def spans(
    provider: TracerProvider, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> Iterator[InMemorySpanExporter]:
    """The provider is the process's while the test lasts; what it exported in that time."""
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    exporter.clear()
    yield exporter
    exporter.clear()
