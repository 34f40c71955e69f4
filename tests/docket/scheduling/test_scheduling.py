"""Docket.add, replace, cancel and get_execution, and the keys they go by."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docket import CurrentDocket, Depends, Disposition, Docket, ExecutionState, TaskKey, Worker
from docket.errors import ExecutionCancelled, ResultUnavailable
from tests.support.dockets import Gate, at_work, finish, found, result_of, soon, warm_up

pytestmark = pytest.mark.anyio

LATER = timedelta(hours=1)


def in_an_hour() -> datetime:
    return datetime.now(UTC) + LATER


async def echo(value: object = None) -> object:
    return value


async def test_add_without_a_time_is_queued_now(docket: Docket) -> None:
    before = datetime.now(UTC)

    execution = await docket.add(echo)(1)

    assert execution.disposition is Disposition.SCHEDULED
    assert execution.state is ExecutionState.QUEUED
    assert (execution.args, execution.kwargs, execution.attempt) == ((1,), {}, 1)
    assert (execution.function, execution.function_name) == (echo, "echo")
    assert abs(execution.when - before) < timedelta(seconds=10)
    assert execution.docket is docket
    assert repr(execution) == f"<Execution echo key={execution.key!r} queued>"


async def test_add_with_a_time_to_come_is_scheduled_for_it(docket: Docket) -> None:
    when = in_an_hour()

    execution = await docket.add(echo, when=when)(value=1)

    assert execution.state is ExecutionState.SCHEDULED
    assert execution.when is when
    again = await found(docket, execution.key)
    assert (again.when, again.kwargs) == (execution.when, {"value": 1})


@pytest.mark.parametrize("when", [datetime(1970, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)])
async def test_a_time_in_the_past_is_now(docket: Docket, when: datetime) -> None:
    execution = await docket.add(echo, when=when)(1)

    assert execution.state is ExecutionState.QUEUED
    assert execution.when == when
    await finish(docket)
    assert await result_of(execution) == 1


async def test_never_is_a_time_too(docket: Docket) -> None:
    execution = await docket.add(echo, when=datetime.max.replace(tzinfo=UTC))()

    assert execution.state is ExecutionState.SCHEDULED
    assert (await found(docket, execution.key)).when == execution.when


async def test_generated_keys_are_uuids_of_version_seven_in_order(docket: Docket) -> None:
    keys = [(await docket.add(echo)()).key for _ in range(3)]

    assert [uuid.UUID(key).version for key in keys] == [7, 7, 7]
    assert sorted(set(keys)) == keys


async def test_a_name_schedules_the_registered_task(docket: Docket) -> None:
    docket.register(echo, names=["shout"])

    execution = await docket.add("shout")(1)

    assert (execution.function, execution.function_name) == (echo, "shout")
    await finish(docket)
    assert await result_of(execution) == 1


@pytest.mark.parametrize("when", [None, in_an_hour()])
async def test_a_key_that_waits_keeps_what_is_there(docket: Docket, when: datetime) -> None:
    first = await docket.add(echo, when=when, key="key")(1)

    second = await docket.add(echo, key="key")(2)

    assert second.disposition is Disposition.ALREADY_SCHEDULED
    assert second.state == first.state
    kept = await found(docket, "key")
    assert (kept.args, kept.when) == ((1,), first.when)


async def test_a_key_that_runs_keeps_what_is_there(docket: Docket) -> None:
    gate = Gate()

    async def waits(value: int) -> int:
        await gate.pass_through()
        return value

    async with Worker(docket) as worker, at_work(worker):
        first = await docket.add(waits, key="key")(1)
        await soon(gate.reached.wait())
        second = await docket.add(waits, key="key")(2)
        gate.opened.set()

        assert second.disposition is Disposition.ALREADY_SCHEDULED
        assert second.state is ExecutionState.RUNNING
        assert await result_of(first) == await result_of(second) == 1


async def test_a_key_whose_execution_ended_is_free_and_shows_nothing_of_it(docket: Docket) -> None:
    first = await docket.add(echo, key="key")(1)
    await finish(docket)

    second = await docket.add(echo, key="key", when=in_an_hour())(2)

    assert second.disposition is Disposition.SCHEDULED
    assert second.generation == first.generation + 1
    shown = await found(docket, "key")
    assert (shown.state, shown.worker, shown.started_at, shown.completed_at, shown.result_key) == (
        ExecutionState.SCHEDULED,
        None,
        None,
        None,
        None,
    )


async def test_a_task_that_adds_its_own_key_while_it_runs_is_told_that_it_is_taken(
    docket: Docket,
) -> None:
    async def adds_itself(key: str = TaskKey(), docket: Docket = CurrentDocket()) -> Disposition:
        return (await docket.add(adds_itself, key=key)()).disposition

    execution = await docket.add(adds_itself, key="key")()
    worker = await finish(docket)

    assert await result_of(execution) is Disposition.ALREADY_SCHEDULED
    assert worker.counters.started == 1


async def test_a_task_that_replaces_its_own_key_while_it_runs_is_followed_by_that(
    docket: Docket,
) -> None:
    async def counts_down(
        n: int, key: str = TaskKey(), docket: Docket = CurrentDocket()
    ) -> int | None:
        if n:
            await docket.replace(counts_down, datetime.now(UTC), key)(n - 1)
        return n

    await docket.add(counts_down, key="key")(3)
    worker = await finish(docket)

    assert await result_of(await found(docket, "key")) == 0
    assert (worker.counters.started, worker.counters.superseded) == (4, 3)


@pytest.mark.parametrize("before", [None, in_an_hour()])
@pytest.mark.parametrize("after", [datetime(2000, 1, 1, tzinfo=UTC), in_an_hour()])
async def test_replace_takes_the_place_of_what_waits(
    docket: Docket, before: datetime | None, after: datetime
) -> None:
    await docket.add(echo, when=before, key="key")(1)

    second = await docket.replace(echo, after, "key")(2)

    assert second.disposition is Disposition.SCHEDULED
    assert (await found(docket, "key")).args == (2,)
    if second.state is ExecutionState.QUEUED:
        worker = await finish(docket)
        assert worker.counters.started == 1
        assert await result_of(second) == 2


async def test_replace_of_a_key_that_is_free_schedules_it(docket: Docket) -> None:
    docket.register(echo)

    execution = await docket.replace("echo", in_an_hour(), "key")(1)

    assert execution.disposition is Disposition.SCHEDULED


async def test_a_run_that_was_replaced_publishes_nothing_and_its_successor_is_what_shows(
    docket: Docket,
) -> None:
    old, new = Gate(), Gate()
    gates = {"old": old, "new": new}

    async def waits(which: str) -> str:
        await gates[which].stay()
        return which

    async with Worker(docket) as worker, at_work(worker):
        first = await docket.add(waits, key="key")("old")
        await soon(old.reached.wait())
        second = await docket.replace(waits, datetime.now(UTC), "key")("new")
        await soon(new.reached.wait())
        assert len(worker.running_tasks()) == 2
        with pytest.raises(ResultUnavailable, match="The key of task 'key' was used again"):
            await result_of(first)

        old.opened.set()
        marker = await docket.add(echo)("after the old one")
        await result_of(marker)
        shown = await found(docket, "key")

        assert (shown.state, shown.args) == (ExecutionState.RUNNING, ("new",))
        new.opened.set()
        assert await result_of(second) == "new"
    assert (worker.counters.succeeded, worker.counters.superseded) == (3, 1)


@pytest.mark.parametrize("when", [None, in_an_hour()])
async def test_cancel_removes_what_waits_and_frees_its_key(
    docket: Docket, when: datetime | None
) -> None:
    cancelled = await docket.add(echo, when=when, key="key")(1)

    await docket.cancel("key")

    assert (await found(docket, "key")).state is ExecutionState.CANCELLED
    with pytest.raises(ExecutionCancelled, match="Execution key was cancelled"):
        await result_of(cancelled)
    again = await docket.add(echo, key="key")(2)
    assert again.disposition is Disposition.SCHEDULED
    assert (await finish(docket)).counters.started == 1
    assert await result_of(again) == 2


async def test_cancel_stops_the_coroutine_of_what_runs(docket: Docket) -> None:
    gate = Gate()

    async with Worker(docket) as worker, at_work(worker):
        execution = await docket.add(gate.pass_through, key="key")()
        await soon(gate.reached.wait())

        await docket.cancel("key")

        with pytest.raises(ExecutionCancelled):
            await result_of(execution)
        assert worker.counters.cancelled == 1
        assert worker.running_tasks() == []


async def test_cancel_of_what_ended_or_never_was_does_nothing(docket: Docket) -> None:
    execution = await docket.add(echo, key="key")(1)
    await finish(docket)

    await docket.cancel("key")
    await docket.cancel("another key")

    assert await result_of(execution) == 1
    assert await docket.get_execution("another key") is None


async def test_get_execution_of_a_key_without_a_record_is_none(docket: Docket) -> None:
    assert await docket.get_execution("key") is None


@pytest.mark.statement(24)
async def test_get_execution_of_a_task_that_is_not_registered_here_shows_all_but_its_function(
    docket: Docket, server: str
) -> None:
    async with Docket(docket.name, server) as elsewhere:
        await elsewhere.add(echo, key="key")(1, value=2)

    execution = await found(docket, "key")

    assert execution.function_name == "echo"
    assert (execution.args, execution.kwargs) == ((1,), {"value": 2})
    assert execution.state is ExecutionState.QUEUED
    assert execution.disposition is Disposition.LOADED
    assert execution.function.__name__ == "echo"


async def test_an_old_generation_that_is_scheduled_conditionally_is_superseded(
    docket: Docket,
) -> None:
    first = await docket.add(echo, key="key")(1)
    await docket.replace(echo, in_an_hour(), "key")(2)

    disposition = await first.schedule(replace=True, expected_generation=first.generation)

    assert disposition is Disposition.SUPERSEDED
    assert (await found(docket, "key")).args == (2,)


async def test_a_record_of_another_type_fails_that_one_add_and_names_it(docket: Docket) -> None:
    await docket.connections.client().set(docket.keys.record("taken"), "a string of somebody's")

    added, refused = await asyncio.gather(
        docket.add(echo, key="free")(1),
        docket.add(echo, key="taken")(1),
        return_exceptions=True,
    )

    assert getattr(added, "disposition", None) is Disposition.SCHEDULED
    assert isinstance(refused, RuntimeError)
    assert "Task 'taken' was not scheduled, its record cannot be read: WRONGTYPE" in str(refused)


async def test_a_key_that_is_no_text_is_refused_alone(docket: Docket) -> None:
    replies = await soon(
        asyncio.gather(
            docket.add(echo, key="good")(1),
            docket.add(echo, key=5)(1),  # type: ignore[arg-type]
            docket.add(echo, key="\ud800")(1),
            return_exceptions=True,
        )
    )

    assert [type(reply).__name__ for reply in replies] == [
        "Execution",
        "TypeError",
        "UnicodeEncodeError",
    ]
    assert str(replies[1]) == "The key of a task must be a str, not int: 5"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_any_text_is_a_key(server: str, docket_name: str, key: str) -> None:
    async def add_run_cancel() -> None:
        async with Docket(docket_name, server) as docket:
            execution = await docket.add(keyed, key=key)()
            await finish(docket)
            assert await result_of(execution) == key
            await docket.add(keyed, key=key, when=in_an_hour())()
            await docket.cancel(key)
            assert (await found(docket, key)).state is ExecutionState.CANCELLED

    asyncio.run(add_run_cancel())


async def keyed(key: str = TaskKey()) -> str:
    return key


@pytest.mark.parametrize(
    "key", ["", "'\"", "a\nb\r\n", "a\0b", "\x1f", "{key}", "k" * 10_000, "schlüssel ключ 🔑"]
)
async def test_a_strange_key_is_waited_for_and_cancelled_while_it_runs(
    docket: Docket, key: str
) -> None:
    gate = Gate()

    async def waits(key: str = TaskKey(), passed: None = Depends(gate.pass_through)) -> str:
        return key

    async with Worker(docket) as worker, at_work(worker):
        execution = await docket.add(waits, key=key)()
        await soon(gate.reached.wait())
        assert [task.key for task in worker.running_tasks()] == [key]
        waiting = asyncio.create_task(result_of(execution))

        await docket.cancel(key)

        with pytest.raises(ExecutionCancelled):
            await soon(waiting)


@pytest.mark.parametrize("count", [1, 1000])
async def test_concurrent_adds_cost_few_round_trips(docket: Docket, count: int) -> None:
    await warm_up(docket)
    before = docket.connections.pipeline.round_trips

    executions = await asyncio.gather(*[docket.add(echo)(n) for n in range(count)])

    assert docket.connections.pipeline.round_trips - before <= 10
    assert {execution.disposition for execution in executions} == {Disposition.SCHEDULED}
    assert len({execution.key for execution in executions}) == count


async def test_a_time_that_is_no_datetime_is_refused_in_the_caller(docket: Docket) -> None:
    with pytest.raises(TypeError, match=r"when must be a datetime, not str \('soon'\)"):
        await docket.add(echo, when="soon", key="k")(1)  # type: ignore[arg-type]

    assert await docket.get_execution("k") is None
