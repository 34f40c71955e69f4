"""Spans of tasks, as a real exporter gets them."""

from datetime import timedelta

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from docket import CurrentExecution, Docket, Execution, Perpetual, Retry, Worker
from docket.clock import now
from tests.support.dockets import failure_of, finish, found, result_of

pytestmark = pytest.mark.anyio


async def greet(name: str) -> str:
    return f"Hello, {name}!"


async def break_down() -> None:
    raise ValueError("the reason")


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def the_one(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = named(spans, name)
    return span


def linked(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def id_of(span: ReadableSpan) -> int:
    return span.get_span_context().span_id


async def test_a_run_is_a_span_linked_to_the_one_that_scheduled_it(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    execution = await docket.add(greet, key="greeting")("Ann")
    await finish(docket, name="w")

    scheduled, run = the_one(spans, "docket.add"), the_one(spans, "docket.task.greet")
    assert linked(run) == [id_of(scheduled)]
    assert run.parent is None
    assert run.kind is SpanKind.CONSUMER
    assert run.status.status_code is StatusCode.OK
    assert run.attributes == {
        "docket.name": docket.name,
        "docket.worker": "w",
        "docket.task": "greet",
        "docket.key": "greeting",
        "docket.when": execution.when.isoformat(),
        "docket.attempt": 1,
        "code.function.name": "greet",
    }
    assert scheduled.attributes is not None
    assert scheduled.attributes["docket.disposition"] == "scheduled"
    assert scheduled.attributes["docket.key"] == "greeting"


async def test_scheduling_belongs_to_the_trace_of_its_caller_and_the_run_does_not(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    with trace.get_tracer("test").start_as_current_span("request") as request:
        await docket.add(greet)("Ann")
        # The worker is started inside a span as well, which is no parent of what it runs.
        await finish(docket)

    scheduled, run = the_one(spans, "docket.add"), the_one(spans, "docket.task.greet")
    assert scheduled.parent is not None
    assert scheduled.parent.span_id == request.get_span_context().span_id
    assert run.parent is None
    assert run.get_span_context().trace_id != scheduled.get_span_context().trace_id


async def test_a_replaced_task_is_linked_to_who_replaced_it(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    await docket.add(greet, now() + timedelta(hours=1), key="greeting")("Ann")
    await docket.replace(greet, now(), "greeting")("Bob")
    await finish(docket)

    replaced = the_one(spans, "docket.replace")
    assert linked(the_one(spans, "docket.task.greet")) == [id_of(replaced)]


async def test_many_tasks_are_linked_to_the_span_they_were_scheduled_in(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    with trace.get_tracer("test").start_as_current_span("import") as importing:
        await docket.add_many([docket.call(greet)("Ann"), docket.call(greet)("Bob")])
    await finish(docket)

    scheduled, runs = the_one(spans, "docket.add_many"), named(spans, "docket.task.greet")
    assert scheduled.parent is not None
    assert scheduled.parent.span_id == importing.get_span_context().span_id
    assert [linked(run) for run in runs] == [[id_of(scheduled)]] * 2


@pytest.mark.statement(55)
@pytest.mark.parametrize("name", ["add_many", "replace_many"])
async def test_many_tasks_have_one_span_that_says_how_many(
    docket: Docket, spans: InMemorySpanExporter, name: str
) -> None:
    await docket.strike(greet, "name", "==", "Zoe")
    calls = [docket.call(greet)(who) for who in ("Ann", "Zoe", "Bob")]
    await getattr(docket, name)(calls, chunk_size=2)

    assert the_one(spans, f"docket.{name}").attributes == {
        "docket.name": docket.name,
        "docket.batch.count": 3,
        "docket.batch.stricken": 1,
    }


@pytest.mark.statement(55)
async def test_what_a_caller_does_to_a_docket_is_a_span(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    execution = Execution(docket, greet, ("Ann",), {}, "by-hand", now(), 1)
    docket.register(greet)
    await docket.schedule(execution)
    await docket.cancel("by-hand")
    await docket.clear()
    await docket.strike(greet)
    await docket.strike(None, "name", ">", "Z")
    await docket.restore("greet", "name", "==", 7)

    scheduled = the_one(spans, "docket.schedule").attributes
    assert scheduled is not None
    assert (scheduled["docket.key"], scheduled["docket.disposition"]) == ("by-hand", "scheduled")
    of_docket = {"docket.name": docket.name}
    assert the_one(spans, "docket.cancel").attributes == {**of_docket, "docket.key": "by-hand"}
    assert the_one(spans, "docket.clear").attributes == of_docket
    whole, some = named(spans, "docket.strike")
    assert whole.attributes == {**of_docket, "docket.task": "greet"}
    assert some.attributes == {
        **of_docket,
        "docket.parameter": "name",
        "docket.operator": ">",
        "docket.value": "'Z'",
    }
    assert the_one(spans, "docket.restore").attributes == {
        **of_docket,
        "docket.task": "greet",
        "docket.parameter": "name",
        "docket.operator": "==",
        "docket.value": "7",
    }
    assert not named(spans, "docket.add")


async def test_a_failed_run_has_an_error_status_and_its_exception(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    execution = await docket.add(break_down)()
    await finish(docket)
    await failure_of(execution)

    run = the_one(spans, "docket.task.break_down")
    assert (run.status.status_code, run.status.description) == (StatusCode.ERROR, "the reason")
    (event,) = run.events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "ValueError"


async def test_each_attempt_is_a_span_and_the_failed_ones_are_errors(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    async def falter(
        retry: Retry = Retry(attempts=2), execution: Execution = CurrentExecution()
    ) -> None:
        if execution.attempt == 1:
            raise ValueError("not yet")

    await docket.add(falter)()
    await finish(docket)

    first, second = named(spans, "docket.task.falter")
    assert first.status.status_code is StatusCode.ERROR
    assert second.status.status_code is StatusCode.OK
    assert linked(first) == linked(second) == [id_of(the_one(spans, "docket.add"))]


async def test_a_perpetuated_run_ended_as_its_task_did(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    async def tick(perpetual: Perpetual = Perpetual()) -> None:
        if len(named(spans, "docket.task.tick")) == 1:
            perpetual.cancel()

    await docket.add(tick, key="tick")()
    await finish(docket)

    assert [s.status.status_code for s in named(spans, "docket.task.tick")] == [StatusCode.OK] * 2


async def test_a_cancelled_run_is_neither_well_nor_an_error(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    async def cancel_itself(execution: Execution = CurrentExecution()) -> None:
        await docket.strike(cancel_itself)

    docket.register(cancel_itself)
    await docket.add(cancel_itself, key="first")()
    await docket.add(cancel_itself, key="second")()
    await finish(docket, concurrency=1)

    codes = {
        span.attributes and span.attributes["docket.key"]: span.status.status_code
        for span in named(spans, "docket.task.cancel_itself")
    }
    assert codes == {"first": StatusCode.OK, "second": StatusCode.UNSET}


async def test_spans_made_in_a_task_are_children_of_its_run(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    async def fetch() -> None:
        with trace.get_tracer("test").start_as_current_span("request"):
            pass

    await docket.add(fetch)()
    await finish(docket)

    child = the_one(spans, "request")
    assert child.parent is not None
    assert child.parent.span_id == id_of(the_one(spans, "docket.task.fetch"))


async def test_baggage_comes_with_the_task(docket: Docket, spans: InMemorySpanExporter) -> None:
    async def who() -> object:
        return baggage.get_baggage("customer")

    token = context.attach(baggage.set_baggage("customer", "ann"))
    try:
        execution = await docket.add(who)()
    finally:
        context.detach(token)
    await finish(docket)

    assert await result_of(execution) == "ann"


async def test_the_trace_context_of_an_execution_is_that_of_who_scheduled_it(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    seen: list[int] = []

    async def look(execution: Execution = CurrentExecution()) -> None:
        scheduled_by = trace.get_current_span(execution.trace_context)  # type: ignore[arg-type]
        seen.append(scheduled_by.get_span_context().span_id)

    await docket.add(look, key="looks")()
    stored = await found(docket, "looks")
    await finish(docket)

    expected = id_of(the_one(spans, "docket.add"))
    assert seen == [expected]
    stored_span = trace.get_current_span(stored.trace_context)  # type: ignore[arg-type]
    assert stored_span.get_span_context().span_id == expected


async def test_an_execution_made_by_hand_carries_the_context_it_was_given(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    docket.register(greet)
    with trace.get_tracer("test").start_as_current_span("elsewhere") as elsewhere:
        given = context.get_current()
    execution = Execution(docket, greet, ("Ann",), {}, "by hand", now(), 1, trace_context=given)
    await execution.schedule()
    await finish(docket)

    run = the_one(spans, "docket.task.greet")
    assert linked(run) == [elsewhere.get_span_context().span_id]


async def test_what_is_no_context_is_not_carried(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    docket.register(greet)
    execution = Execution(docket, greet, ("Ann",), {}, "odd", now(), 1, trace_context="nonsense")
    await execution.schedule()
    await finish(docket)

    assert linked(the_one(spans, "docket.task.greet")) == []


async def test_a_trace_that_cannot_be_read_costs_the_task_nothing(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    execution = await docket.add(greet, key="odd")("Ann")
    async with docket.redis() as redis:
        await redis.hset(docket.runs_key("odd"), "trace", b"\xff not json")
    await finish(docket)

    assert await result_of(execution) == "Hello, Ann!"
    assert linked(the_one(spans, "docket.task.greet")) == []


@pytest.mark.parametrize("on", ["docket", "worker"])
async def test_internal_calls_are_spans_only_where_that_is_asked_for(
    server: str, docket_name: str, spans: InMemorySpanExporter, on: str
) -> None:
    async with Docket(
        docket_name, server, enable_internal_instrumentation=on == "docket"
    ) as docket:
        await docket.add(greet)("Ann")
        await finish(docket, enable_internal_instrumentation=on == "worker")

    exchanges = named(spans, "docket.exchange")
    assert sum((s.attributes or {})["docket.claims"] for s in exchanges) == 1  # type: ignore[misc]
    if on == "docket":
        assert {"docket.promote", "docket.beats"} <= {s.name for s in spans.get_finished_spans()}


async def test_without_asking_there_is_nothing_but_scheduling_and_runs(
    docket: Docket, spans: InMemorySpanExporter
) -> None:
    await docket.add(greet)("Ann")
    await finish(docket)

    assert {s.name for s in spans.get_finished_spans()} == {"docket.add", "docket.task.greet"}


async def test_without_a_provider_nothing_is_carried(docket: Docket) -> None:
    with trace.get_tracer("test").start_as_current_span("nobody looks"):
        await docket.add(greet, key="greeting")("Ann")
    async with docket.redis() as redis:
        assert not await redis.hexists(docket.runs_key("greeting"), "trace")

    worker = await finish(docket)

    assert isinstance(worker, Worker)
    assert worker.counters.succeeded == 1
