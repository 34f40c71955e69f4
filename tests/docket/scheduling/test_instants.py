"""The instants of a task, to the microsecond, by whatever way it was scheduled and is looked at."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from docket import (
    Agenda,
    CurrentExecution,
    Disposition,
    Docket,
    Execution,
    ExecutionState,
    Perpetual,
    Worker,
)
from docket.execution import StateEvent
from tests.support.dockets import at_work, finish, found, soon
from tests.support.store import until

pytestmark = [pytest.mark.anyio, pytest.mark.statement(22)]

VIENNA = ZoneInfo("Europe/Vienna")
LATER = timedelta(hours=1)


async def task() -> None: ...


async def scheduled_by_hand(docket: Docket, when: datetime) -> Execution:
    execution = Execution(docket, task, (), {}, "k", when, 1)
    await docket.schedule(execution)
    return execution


async def scheduled_by_itself(docket: Docket, when: datetime) -> Execution:
    execution = Execution(docket, task, (), {}, "k", when, 1)
    await execution.schedule()
    return execution


async def claimed_by_hand(docket: Docket, when: datetime) -> Execution:
    execution = Execution(docket, task, (), {}, "k", when, 1)
    assert await execution.claim("me")
    return execution


async def rescheduled(docket: Docket, when: datetime) -> Execution:
    execution = Execution(docket, task, (), {}, "k", datetime.now(UTC), 1)
    assert await execution.claim("me")
    execution.when = when
    await execution.schedule(reschedule_message=execution.message_id)
    return execution


async def one_of_many(docket: Docket, when: datetime) -> Execution:
    calls = [docket.call(task, when + timedelta(microseconds=n))() for n in range(1, 4)]
    executions = await docket.add_many([docket.call(task, when, "k")(), *calls])
    assert [e.when for e in executions[1:]] == [call.when for call in calls]
    return executions[0]


async def one_of_many_replacements(docket: Docket, when: datetime) -> Execution:
    await docket.add(task, when + LATER, "k")()
    return (await docket.replace_many([docket.call("task", when, "k")()]))[0]


async def scattered(docket: Docket, when: datetime) -> Execution:
    agenda = Agenda()
    agenda.add(task, key="k")()
    agenda.add(task)()
    return (await agenda.scatter(docket, over=LATER, start=when))[0]


WAYS: dict[str, Callable[[Docket, datetime], Awaitable[Execution]]] = {
    "add": lambda docket, when: docket.add(task, when, "k")(),
    "add by name": lambda docket, when: docket.add("task", when, "k")(),
    "replace": lambda docket, when: docket.replace(task, when, "k")(),
    "schedule": scheduled_by_hand,
    "Execution.schedule": scheduled_by_itself,
    "claim": claimed_by_hand,
    "reschedule": rescheduled,
    "add_many": one_of_many,
    "replace_many": one_of_many_replacements,
    "scatter": scattered,
}


@pytest.mark.parametrize("zone", [UTC, VIENNA], ids=str)
@pytest.mark.parametrize("delay", [LATER, -LATER], ids=["to come", "past"])
@pytest.mark.parametrize("way", WAYS)
async def test_an_instant_is_seen_by_everybody_as_it_was_given(
    docket: Docket, way: str, delay: timedelta, zone: ZoneInfo
) -> None:
    docket.register(task)
    when = (datetime.now(UTC) + delay).replace(microsecond=123_457).astimezone(zone)

    execution = await WAYS[way](docket, when)

    # The agenda adds to what it is given.
    assert execution.when is when or way == "scatter"
    assert execution.when == when
    assert execution.when.tzinfo is zone
    await execution.sync()
    assert execution.when == when
    assert execution.when.tzinfo is zone
    assert (await found(docket, "k")).when == when
    snapshot = await docket.snapshot()
    shown = [e.when for e in snapshot.future if e.key == "k"]
    # What was claimed by hand is in none of the places that a snapshot looks at.
    assert shown == ([] if way == "claim" else [when])


@pytest.mark.parametrize(
    "way", ["add", "add by name", "schedule", "Execution.schedule", "add_many", "scatter"]
)
async def test_what_finds_its_key_taken_keeps_the_instant_that_it_was_given(
    docket: Docket, way: str
) -> None:
    docket.register(task)
    first = await docket.add(task, datetime.now(UTC) + 2 * LATER, "k")()
    when = (datetime.now(VIENNA) + LATER).replace(microsecond=123_457)

    execution = await WAYS[way](docket, when)

    assert execution.disposition is Disposition.ALREADY_SCHEDULED
    assert (execution.when, execution.when.tzinfo) == (when, VIENNA)
    assert (await found(docket, "k")).when == first.when


async def test_what_found_its_key_taken_replaces_it_at_its_own_time(docket: Docket) -> None:
    docket.register(task)
    await docket.add(task, key="k")()
    execution = Execution(docket, task, (), {}, "k", datetime.now(UTC) + LATER, 1)
    when = execution.when

    await execution.schedule()
    await execution.schedule(replace=True)

    assert execution.state is ExecutionState.SCHEDULED
    assert (await found(docket, "k")).when == execution.when == when


@pytest.mark.parametrize("zone", [UTC, VIENNA], ids=str)
async def test_a_task_and_its_events_see_the_instant_that_was_given(
    docket: Docket, zone: ZoneInfo
) -> None:
    seen: list[Execution] = []

    async def look(execution: Execution = CurrentExecution()) -> None:
        seen.append(execution)

    when = datetime.now(zone) + timedelta(milliseconds=30)
    execution = await docket.add(look, when, "k")()
    ready = asyncio.Event()
    following = asyncio.create_task(states_of(execution, ready))
    await ready.wait()
    await finish(docket)

    events = await soon(following)
    assert [each.when for each in seen] == [when]
    # The record of an ended execution is read too.
    events += await soon(states_of(execution, asyncio.Event()))
    assert {event["when"] for event in events if event.get("when")} == {when.isoformat()}
    assert {event["state"].value for event in events} > {"queued", "running", "completed"}


async def states_of(execution: Execution, ready: asyncio.Event) -> list[StateEvent]:
    """The state events up to its end."""
    events: list[StateEvent] = []
    async with aclosing(execution.subscribe(ready=ready)) as stream:
        async for event in stream:
            if event["type"] == "state":
                events.append(event)
                if event["state"] is ExecutionState.COMPLETED:
                    break
    return events


@pytest.mark.parametrize("delay", [LATER, -LATER], ids=["to come", "past"])
async def test_the_successor_of_a_perpetual_task_has_the_instant_that_the_task_named(
    docket: Docket, delay: timedelta
) -> None:
    when = (datetime.now(VIENNA) + delay).replace(microsecond=654_321)
    seen: list[datetime] = []

    async def again(
        perpetual: Perpetual = Perpetual(), execution: Execution = CurrentExecution()
    ) -> None:
        seen.append(execution.when)
        perpetual.at(when)

    await docket.add(again, key="k")()
    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.perpetuated >= 1)
        await until(lambda: delay > timedelta(0) or len(seen) > 1)

    assert (await found(docket, "k")).when == when
    assert set(seen[1:]) <= {when}


async def test_without_a_time_it_is_the_callers_clock_at_the_call(docket: Docket) -> None:
    before = datetime.now(UTC)
    call = docket.call(task)()
    after = datetime.now(UTC)
    (of_many,) = await docket.add_many([call])
    between = datetime.now(UTC)
    one = await docket.add(task)()

    assert before <= call.when <= after
    assert of_many.when == call.when
    assert between <= one.when <= datetime.now(UTC)
    for execution in (of_many, one):
        assert execution.state is ExecutionState.QUEUED
        assert (await found(docket, execution.key)).when == execution.when


async def test_no_task_runs_before_its_time_and_each_knows_when_it_ran(docket: Docket) -> None:
    begin = datetime.now(UTC) + timedelta(milliseconds=20)
    whens = [begin + timedelta(microseconds=n * 97) for n in range(100)]
    executions = await docket.add_many([docket.call(task, when)() for when in whens])

    await finish(docket)

    fractions: set[int] = set()
    for execution in executions:
        await execution.sync()
        started, completed = execution.started_at, execution.completed_at
        assert started is not None
        assert completed is not None
        assert execution.when <= started <= completed
        fractions |= {started.microsecond % 1000, completed.microsecond % 1000}
    assert len(fractions) > 1


async def test_a_snapshot_says_to_the_microsecond_when_it_was_taken(docket: Docket) -> None:
    before = datetime.now(UTC)
    taken = [(await docket.snapshot()).taken for _ in range(20)]

    # One machine, one clock.
    assert before <= min(taken)
    assert max(taken) <= datetime.now(UTC)
    assert len({instant.microsecond % 1000 for instant in taken}) > 1
