"""Execution.subscribe: what is told of an execution, in which order, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import pytest

from docket import Docket, Execution, ExecutionState, Perpetual, Progress, Retry, Worker
from docket.execution import ProgressEvent, StateEvent
from tests.support.dockets import at_work, finish, result_of, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio


async def steps(progress: Progress = Progress()) -> None:
    await progress.set_total(3)
    await progress.increment()
    await progress.set_message("one\x1fof three")


async def cancels() -> None:
    raise asyncio.CancelledError


async def fails() -> None:
    raise ValueError("sold out")


class Listener:
    """Takes everything that a subscription tells."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.ready = asyncio.Event()

    async def listen(self, execution: Execution) -> None:
        async for event in execution.subscribe(ready=self.ready):
            self.events.append(event)

    def states(self) -> list[ExecutionState]:
        return [event["state"] for event in self.events if event["type"] == "state"]

    async def hears(self, state: ExecutionState) -> None:
        await until(lambda: state in self.states(), f"{state} in {self.states()}")


@asynccontextmanager
async def listening(execution: Execution) -> AsyncGenerator[Listener]:
    listener = Listener()
    task = asyncio.create_task(listener.listen(execution))
    try:
        await soon(listener.ready.wait())
        yield listener
    finally:
        task.cancel()
        await asyncio.wait([task])


async def channels(docket: Docket) -> int:
    async with docket.redis() as redis:
        return len(await redis.pubsub_channels(f"{docket.prefix}:*:the-key"))


async def test_the_current_state_comes_first_and_then_every_change(docket: Docket) -> None:
    execution = await docket.add(steps, key="the-key")()

    async with listening(execution) as listener:
        await finish(docket, name="host.example#1")
        await listener.hears(ExecutionState.COMPLETED)

    assert listener.states() == [
        ExecutionState.QUEUED,
        ExecutionState.RUNNING,
        ExecutionState.COMPLETED,
    ]
    last = listener.events[-1]
    assert "error" not in last
    await execution.sync()
    assert execution.started_at is not None
    assert execution.completed_at is not None
    assert last == {
        "type": "state",
        "key": "the-key",
        "state": ExecutionState.COMPLETED,
        "when": execution.when.isoformat(),
        "worker": "host.example#1",
        "started_at": execution.started_at.isoformat(),
        "completed_at": execution.completed_at.isoformat(),
    }


async def test_what_a_run_reports_is_told_in_order(docket: Docket) -> None:
    execution = await docket.add(steps, key="the-key")()

    async with listening(execution) as listener:
        await finish(docket)
        await listener.hears(ExecutionState.COMPLETED)

    told = [event for event in listener.events if event["type"] == "progress"]
    assert [(e["current"], e["total"], e["message"]) for e in told] == [
        (None, 100, None),
        (0, 3, None),
        (1, 3, None),
        (1, 3, "one\x1fof three"),
    ]
    assert told[0]["updated_at"] is None
    assert datetime.fromisoformat(told[-1]["updated_at"]).tzinfo is not None


async def test_a_failure_is_told_with_its_text(docket: Docket) -> None:
    execution = await docket.add(fails)()

    async with listening(execution) as listener:
        await finish(docket)
        await listener.hears(ExecutionState.FAILED)

    assert listener.events[-1]["error"] == "ValueError: sold out"


@pytest.mark.statement(29)
async def test_after_the_first_state_event_a_key_is_there_only_if_it_has_a_value(
    docket: Docket,
) -> None:
    async def retried(retry: Retry = Retry(attempts=2)) -> None:
        raise ValueError("sold out")

    executions = {
        ExecutionState.COMPLETED: await docket.add(steps)(),
        ExecutionState.FAILED: await docket.add(retried)(),
        ExecutionState.CANCELLED: await docket.add(cancels)(),
    }
    hour = timedelta(hours=1)
    executions[ExecutionState.SCHEDULED] = await docket.add(steps, when=datetime.now(UTC) + hour)()
    async with AsyncExitStack() as stack:
        listeners = {
            end: await stack.enter_async_context(listening(execution))
            for end, execution in executions.items()
        }
        later = executions.pop(ExecutionState.SCHEDULED)
        again = await docket.replace(steps, datetime.now(UTC) + 2 * hour, later.key)()
        await until(lambda: len(listeners[ExecutionState.SCHEDULED].states()) == 2)
        await docket.cancel(again.key)
        await listeners[ExecutionState.SCHEDULED].hears(ExecutionState.CANCELLED)
        await finish(docket)
        for end in executions:
            await listeners[end].hears(end)

    for listener in listeners.values():
        first, *others = [event for event in listener.events if event["type"] == "state"]
        assert set(first) == {
            *("type", "key", "state", "when"),
            *("worker", "started_at", "completed_at", "error"),
        }
        for event in others:
            assert None not in event.values()
            assert {"type", "key", "state"} <= set(event)
            assert ("error" in event) is (event["state"] is ExecutionState.FAILED)
            if event["state"] in {ExecutionState.SCHEDULED, ExecutionState.QUEUED}:
                assert "when" in event
                assert not {"worker", "started_at", "completed_at"} & set(event)
            elif event["state"] is ExecutionState.RUNNING:
                assert {"worker", "started_at"} <= set(event)
                assert "completed_at" not in event
            else:
                assert "completed_at" in event


async def test_events_have_the_fields_of_their_types(docket: Docket) -> None:
    execution = await docket.add(steps)()

    async with listening(execution) as listener:
        await finish(docket)
        await listener.hears(ExecutionState.COMPLETED)

    for event in listener.events:
        kind = StateEvent if event["type"] == "state" else ProgressEvent
        assert set(event) <= set(get_type_hints(kind))
    for event in listener.events[:2]:
        kind = StateEvent if event["type"] == "state" else ProgressEvent
        assert set(event) == set(get_type_hints(kind))
    assert {event["type"] for event in listener.events[:2]} == {"state", "progress"}


async def test_who_comes_after_the_end_is_told_of_it(docket: Docket) -> None:
    execution = await docket.add(steps)()
    await finish(docket)

    async with aclosing(execution.subscribe()) as events:
        state, progress = await soon(anext(events)), await soon(anext(events))

    assert state["type"] == "state"
    assert state["state"] is ExecutionState.COMPLETED
    assert progress["type"] == "progress"
    assert (progress["current"], progress["message"]) == (None, None)


async def test_what_is_not_scheduled_yet_is_told_as_scheduled_and_followed(
    docket: Docket,
) -> None:
    when = datetime.now(UTC)
    execution = Execution(docket, steps, (), {}, "the-key", when, 1)

    async with listening(execution) as listener:
        await listener.hears(ExecutionState.SCHEDULED)
        await execution.schedule()
        await listener.hears(ExecutionState.QUEUED)

    assert listener.events[0]["when"] == when.isoformat()


async def test_it_goes_on_after_the_end_with_the_next_execution_of_the_key(
    docket: Docket,
) -> None:
    execution = await docket.add(fails, key="the-key")()

    async with listening(execution) as listener:
        await finish(docket)
        await listener.hears(ExecutionState.FAILED)
        await docket.add(steps, key="the-key")()
        await finish(docket)
        await listener.hears(ExecutionState.COMPLETED)


async def test_a_successor_that_is_due_in_thousands_of_years_is_told(docket: Docket) -> None:
    async def hardly_ever(
        perpetual: Perpetual = Perpetual(every=timedelta(days=365 * 4000)),
    ) -> None: ...

    execution = await docket.add(hardly_ever, key="the-key")()
    async with listening(execution) as listener, at_work(Worker(docket)):
        await listener.hears(ExecutionState.SCHEDULED)
        # Who waits for a result hears of it by the same subscriber.
        assert await result_of(await docket.add(steps)()) is None

    due = next(e for e in listener.events if e.get("state") is ExecutionState.SCHEDULED)
    assert datetime.fromisoformat(due["when"]).year > 6000


async def test_a_run_by_hand_is_told_under_the_name_it_was_given(docket: Docket) -> None:
    execution = Execution(docket, steps, (), {}, "the-key", datetime.now(UTC), 1)
    await execution.schedule()

    async with listening(execution) as listener:
        await execution.claim("host.example")
        await execution.mark_as_cancelled()
        await listener.hears(ExecutionState.CANCELLED)

    running = next(e for e in listener.events if e.get("state") is ExecutionState.RUNNING)
    assert running["worker"] == "host.example"


async def test_who_stops_listening_leaves_no_subscription_behind(docket: Docket) -> None:
    execution = await docket.add(steps, key="the-key")()

    async for _ in execution.subscribe():
        assert await channels(docket) == 2
        break
    async with aclosing(execution.subscribe()) as events:
        await soon(anext(events))
    async with listening(execution):
        pass

    async def nobody_listens() -> bool:
        return await channels(docket) == 0

    await until(nobody_listens, "the end of the subscriptions")


async def test_what_nobody_asks_for_takes_no_more_than_a_backlog(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.execution.events.BACKLOG", 5)
    execution = Execution(docket, steps, (), {}, "the-key", datetime.now(UTC), 1)
    await execution.schedule()
    await execution.claim("me")

    async with aclosing(execution.subscribe()) as events:
        await soon(anext(events))
        await soon(anext(events))
        for _ in range(20):
            await execution.progress.increment()
        await execution.mark_as_completed()
        told: list[Any] = []
        while not {(ExecutionState.COMPLETED, None), (None, 20)} <= {
            (e.get("state"), e.get("current")) for e in told
        }:
            told.append(await soon(anext(events)))

    assert len(told) <= 7


async def test_after_a_lost_connection_the_record_is_read_again(docket: Docket) -> None:
    execution = Execution(docket, steps, (), {}, "the-key", datetime.now(UTC), 1)
    await execution.schedule()

    async with listening(execution) as listener:
        await listener.hears(ExecutionState.QUEUED)
        async with docket.redis() as redis:
            await redis.client_kill_filter(_type="pubsub")
        await execution.claim("me")
        await execution.mark_as_completed()
        await listener.hears(ExecutionState.COMPLETED)


async def test_a_message_that_was_lost_is_made_up_for_by_looking_again(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.execution.events.RECHECK_SECONDS", 0.01)
    execution = await docket.add(steps, key="the-key")()

    async with listening(execution) as listener:
        await listener.hears(ExecutionState.QUEUED)
        async with docket.redis() as redis:
            await redis.hset(docket.runs_key("the-key"), "state", "cancelled")
        await listener.hears(ExecutionState.CANCELLED)
        async with docket.redis() as redis:
            await redis.delete(docket.runs_key("the-key"))
        assert listener.states()[-1] is ExecutionState.CANCELLED


async def test_what_happens_while_the_record_is_read_is_told_once(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = Execution(docket, steps, (), {}, "the-key", datetime.now(UTC), 1)
    await execution.schedule()
    fetch, heard = docket.transitions.fetch, asyncio.Event()

    async def fetch_late(key: str) -> dict[bytes, bytes]:
        if not heard.is_set():
            await execution.claim("me")
            await execution.mark_as_completed()
            async with docket.connections.subscriber.listening("marker", lambda _: heard.set()):
                async with docket.redis() as redis:
                    await redis.publish("marker", "all before it was heard")
                await soon(heard.wait())
        return await fetch(key)

    monkeypatch.setattr(docket.transitions, "fetch", fetch_late)
    async with listening(execution) as listener:
        await listener.hears(ExecutionState.COMPLETED)

    assert listener.states() == [ExecutionState.COMPLETED]
