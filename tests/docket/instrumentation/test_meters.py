"""OpenTelemetry's metrics, as a reader of the SDK collects them."""

import asyncio
import subprocess
import sys
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    get_current_span,
    set_span_in_context,
)

from docket import Docket, Retry, Worker, instrumentation
from docket.clock import now
from docket.instrumentation import TASK_DURATION, message_getter, message_setter
from tests.support.dockets import Gate, at_work, finish, soon

pytestmark = pytest.mark.anyio

INSTRUMENTS = (
    "TASKS_ADDED TASKS_REPLACED TASKS_SCHEDULED TASKS_CANCELLED TASKS_STARTED TASKS_REDELIVERED "
    "TASKS_STRICKEN TASKS_SUPERSEDED TASKS_COMPLETED TASKS_FAILED TASKS_SUCCEEDED TASKS_RETRIED "
    "TASKS_PERPETUATED TASKS_RUNNING TASK_DURATION TASK_PUNCTUALITY REDIS_DISRUPTIONS "
    "STRIKES_IN_EFFECT QUEUE_DEPTH SCHEDULE_DEPTH"
)


@pytest.fixture(scope="module")
def reader() -> Generator[InMemoryMetricReader]:
    """What an application sets once in its process."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    metrics.set_meter_provider(provider)
    yield reader
    provider.shutdown()


Points = dict[str, dict[tuple[tuple[str, str], ...], Any]]


def collected(reader: InMemoryMetricReader, docket: Docket) -> Points:
    """The points of a docket: name -> attributes -> point."""
    data = reader.get_metrics_data()
    assert data is not None
    found: Points = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            assert scope.scope.name == "docket"
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    attributes = dict(point.attributes or {})
                    if attributes.pop("docket.name") == docket.name:
                        points = found.setdefault(metric.name, {})
                        points[tuple(sorted(map(tuple, attributes.items())))] = point  # type: ignore[arg-type]
    return found


async def greet(name: str) -> str:
    return f"Hello, {name}!"


async def fails(retry: Retry = Retry(attempts=2)) -> None:
    raise ValueError


@pytest.mark.statement(54)
async def test_what_happens_to_tasks_is_counted_by_docket_worker_and_task(
    docket: Docket, reader: InMemoryMetricReader
) -> None:
    later = now() + timedelta(hours=1)
    await docket.add(greet)("Ann")
    await docket.add(greet, later, key="k")("Bob")
    await docket.replace(greet, later, "k")("Bob")
    await docket.cancel("k")
    await docket.add(fails)()
    await docket.strike(greet, "name", "==", "Zoe")
    await docket.add(greet)("Zoe")
    await finish(docket, name="w")

    points = collected(reader, docket)
    task, other = ("docket.task", "greet"), ("docket.task", "fails")
    worker = ("docket.worker", "w")

    def value(name: str, *attributes: tuple[str, str]) -> object:
        return points[f"docket_{name}"][attributes].value

    assert value("tasks_added", task) == 2
    assert value("tasks_replaced", task) == 1
    assert value("tasks_scheduled", task) == 3
    assert value("tasks_stricken", task, ("docket.where", "docket")) == 1
    assert value("tasks_cancelled") == 1
    assert [value(f"tasks_{name}", task, worker) for name in ("started", "succeeded")] == [1, 1]
    assert [value(f"tasks_{name}", task, worker) for name in ("completed", "failed")] == [1, 0]
    ends = ("started", "completed", "failed", "retried", "succeeded", "perpetuated")
    assert [value(f"tasks_{name}", other, worker) for name in ends] == [2, 2, 2, 1, 0, 0]
    assert value("tasks_running", task, worker) == 0
    assert value("redis_disruptions", worker) == 0
    for name in ("task_duration", "task_punctuality"):
        assert points[f"docket_{name}"][task, worker].count == 1
        assert points[f"docket_{name}"][other, worker].count == 2
        assert 0 <= points[f"docket_{name}"][task, worker].sum < 60


@pytest.mark.statement(54)
async def test_levels_are_what_is_there_when_they_are_read(
    docket: Docket, reader: InMemoryMetricReader
) -> None:
    gate = Gate()

    async def hold() -> None:
        await gate.pass_through()

    await docket.add(hold)()
    async with at_work(Worker(docket, name="w", concurrency=1)):
        await soon(gate.reached.wait())
        await docket.add(hold)()
        await docket.add(hold, now() + timedelta(hours=1), key="later")()
        await docket.strike(hold, "x", "==", 1)
        # As a reader of the SDK does: not on the loop.
        points = await asyncio.to_thread(collected, reader, docket)
        gate.opened.set()

    running = (("docket.task", "hold"), ("docket.worker", "w"))
    assert points["docket_tasks_running"][running].value == 1
    assert points["docket_queue_depth"][()].value == 1
    assert points["docket_schedule_depth"][()].value == 1
    assert points["docket_strikes_in_effect"][()].value == 1
    assert points["docket_backlog_tasks"][(("docket.state", "queued"),)].value == 1
    assert points["docket_backlog_workers"][()].value == 1
    assert points["docket_places"][()].value == 1


@pytest.mark.statement(52)
def test_the_instruments_have_names() -> None:
    for name in INSTRUMENTS.split():
        assert getattr(instrumentation, name) is not None
    assert isinstance(TASK_DURATION, metrics.Histogram)
    assert isinstance(instrumentation.TASKS_ADDED, metrics.ObservableCounter)


@pytest.mark.statement(52)
def test_a_trace_context_travels_in_the_fields_of_a_message() -> None:
    context = set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=True)))
    message: dict[bytes, bytes] = {}

    inject(message, context, setter=message_setter)
    extracted = get_current_span(extract(message, getter=message_getter)).get_span_context()

    assert (extracted.trace_id, extracted.span_id) == (1, 2)
    assert message_getter.keys(message) == ["traceparent"]
    assert message_getter.get(message, "absent") is None


@pytest.mark.statement(54)
def test_without_a_provider_a_task_pays_for_no_instrument() -> None:
    code = (
        "from docket.instrumentation.counters import Counters, Histogram\n"
        "from docket.instrumentation.meters import counters_of\n"
        "made = counters_of({'docket.name': 'd'})('task')\n"
        "assert type(made.duration) is type(made.punctuality) is Histogram\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
