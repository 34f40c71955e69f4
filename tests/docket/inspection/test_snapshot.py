"""Snapshots: what waits, what runs, and on which workers."""

import asyncio
import inspect
import logging
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from redis.exceptions import ResponseError

from docket import Disposition, Docket, Execution, ExecutionState, Worker
from docket.docket import DocketSnapshot, RunningExecution
from docket.errors import UnknownTask
from tests.support.dockets import Gate, at_work, result_of, soon
from tests.support.proxy import Do, proxy_to, word

pytestmark = pytest.mark.anyio


async def echo(value: object = None) -> object:
    return value


def in_hours(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


async def test_an_empty_docket_has_an_empty_snapshot(docket: Docket) -> None:
    before = datetime.now(UTC)

    snapshot = await docket.snapshot()

    assert abs(snapshot.taken - before) < timedelta(seconds=10)
    assert snapshot == DocketSnapshot(snapshot.taken, 0, [], [], [])


async def test_what_waits_is_future_queued_tasks_first_then_by_time(docket: Docket) -> None:
    await docket.add(echo, in_hours(2), "in two hours")(1)
    await docket.add(echo, key="now")(
        2,
    )
    await docket.add(echo, in_hours(1), "in an hour")(value=3)
    await docket.add(echo, key="now too")(4)

    snapshot = await docket.snapshot()

    assert [e.key for e in snapshot.future] == ["now", "now too", "in an hour", "in two hours"]
    assert [e.args for e in snapshot.future] == [(2,), (4,), (), (1,)]
    assert snapshot.future[2].kwargs == {"value": 3}
    assert {e.disposition for e in snapshot.future} == {Disposition.LOADED}
    assert [e.state for e in snapshot.future[1:3]] == [
        ExecutionState.QUEUED,
        ExecutionState.SCHEDULED,
    ]
    assert (snapshot.total_tasks, snapshot.running) == (4, [])


async def test_what_runs_is_shown_with_its_worker_and_since_when(docket: Docket) -> None:
    gate = Gate()
    docket.register(gate.pass_through, names=["gated"])

    async with Worker(docket, name="host.domain#1", concurrency=1) as worker, at_work(worker):
        await docket.add("gated", key="running")("argument")
        await soon(gate.reached.wait())
        await docket.add(echo, key="waiting")()

        snapshot = await docket.snapshot()
        gate.opened.set()

    [running] = snapshot.running
    assert isinstance(running, RunningExecution)
    assert isinstance(running, Execution)
    assert (running.key, running.args, running.function_name) == (
        "running",
        ("argument",),
        "gated",
    )
    assert running.state is ExecutionState.RUNNING
    assert running.worker == "host.domain#1"
    assert running.started == running.started_at
    assert timedelta(0) <= snapshot.taken - running.started < timedelta(seconds=20)
    assert [execution.key for execution in snapshot.future] == ["waiting"]
    assert [worker.name for worker in snapshot.workers] == ["host.domain#1"]
    assert snapshot.total_tasks == 2


async def test_a_running_execution_of_a_snapshot_is_an_execution_like_any_other(
    docket: Docket,
) -> None:
    gate = Gate()
    docket.register(gate.pass_through, names=["gated"])

    async with Worker(docket) as worker, at_work(worker):
        await docket.add("gated", key="key")()
        await soon(gate.reached.wait())
        [running] = (await docket.snapshot()).running
        gate.opened.set()

        assert await result_of(running) is None
        await running.sync()
        assert running.state is ExecutionState.COMPLETED
        assert running.worker == worker.name


async def test_a_key_that_was_replaced_while_it_ran_is_shown_once_as_its_newest(
    docket: Docket,
) -> None:
    gate = Gate()
    docket.register(gate.stay, names=["gated"])

    async with Worker(docket, concurrency=1) as worker, at_work(worker):
        await docket.add("gated", key="key")("old")
        await soon(gate.reached.wait())
        await docket.replace("gated", datetime.now(UTC), "key")("new")

        snapshot = await docket.snapshot()
        gate.opened.set()

    assert [(e.key, e.args) for e in snapshot.future] == [("key", ("new",))]
    assert (snapshot.running, snapshot.total_tasks) == ([], 1)


async def test_more_than_a_page_of_everything_is_shown_once_each(docket: Docket) -> None:
    await docket.add_many([docket.call(echo, key=f"now {n}")(n) for n in range(1100)])
    await docket.add_many([docket.call(echo, in_hours(1), f"later {n}")(n) for n in range(1100)])

    snapshot = await docket.snapshot()

    keys = [execution.key for execution in snapshot.future]
    assert keys[:1100] == [f"now {n}" for n in range(1100)]
    assert sorted(keys[1100:]) == sorted(f"later {n}" for n in range(1100))
    assert snapshot.total_tasks == 2200


@pytest.mark.statement(24)
@pytest.mark.parametrize("serializer", ["pickle", "msgpack"])
async def test_a_task_that_is_not_registered_here_has_a_placeholder_of_its_name_as_function(
    server: str, docket_name: str, serializer: Literal["pickle", "msgpack"]
) -> None:
    gate = Gate()

    async def other(value: int) -> None:
        await gate.pass_through()

    async with (
        Docket(docket_name, server, serializer=serializer) as docket,
        Docket(docket_name, server, serializer=serializer) as elsewhere,
        Worker(docket) as worker,
        at_work(worker),
    ):
        await docket.add(other, key="running")(2)
        await soon(gate.reached.wait())
        await docket.add(echo, in_hours(1), key="waiting")(1)
        snapshot = await elsewhere.snapshot()
        read = [await elsewhere.get_execution(key) for key in ("waiting", "running")]
        gate.opened.set()

    for execution in (*snapshot.future, *snapshot.running, *read):
        assert execution is not None
        name, value, state = {
            "waiting": ("echo", 1, ExecutionState.SCHEDULED),
            "running": ("other", 2, ExecutionState.RUNNING),
        }[execution.key]
        assert execution.function.__name__ == execution.function_name == name
        assert inspect.iscoroutinefunction(execution.function)
        assert (execution.args, execution.kwargs, execution.state) == ((value,), {}, state)
        with pytest.raises(UnknownTask, match=f"Task '{name}' is not registered"):
            await execution.function(value)
    assert {e.key for e in (*snapshot.future, *snapshot.running)} == {"waiting", "running"}


async def test_arguments_that_cannot_be_read_are_counted_and_logged(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await docket.add(echo, key="broken")(1)
    await docket.add(echo, key="whole")(2)
    await docket.connections.client().hset(docket.runs_key("broken"), "call", "no pickle")

    snapshot = await docket.snapshot()

    assert [execution.key for execution in snapshot.future] == ["whole"]
    assert snapshot.total_tasks == 2
    assert "'broken' is counted in the snapshot and cannot be shown" in caplog.text


async def test_a_task_that_ended_while_the_snapshot_was_taken_is_not_in_it(docket: Docket) -> None:
    await docket.add(echo, key="gone")(1)
    await docket.add(echo, key="cancelled")(2)
    client = docket.connections.client()
    await client.delete(docket.runs_key("gone"))
    await client.hset(docket.runs_key("cancelled"), "state", "cancelled")

    snapshot = await docket.snapshot()

    assert (snapshot.future, snapshot.total_tasks) == ([], 0)


async def test_a_snapshot_costs_few_round_trips(docket: Docket) -> None:
    await docket.add_many([docket.call(echo)(n) for n in range(500)])
    before = docket.connections.pipeline.round_trips

    await asyncio.gather(docket.snapshot(), docket.workers())

    assert docket.connections.pipeline.round_trips - before <= 10


async def test_a_record_that_somebody_overwrote_is_left_out(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    await docket.add(echo, key="foreign")(1)
    await docket.add(echo, key="own")(2)
    client, name = docket.connections.client(), docket.keys.record("foreign")
    await client.delete(name)
    await client.lpush(name, "x")

    snapshot = await docket.snapshot()

    assert [e.key for e in snapshot.future] == ["own"]
    assert f"{name} was overwritten by somebody with a list" in caplog.text


async def test_what_the_server_refuses_otherwise_is_told(server: str, docket_name: str) -> None:
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        await docket.add(echo, key="k")(1)
        proxy.intercept(word(b"HGETALL"), Do.ANSWER, error="NOPERM no")
        with pytest.raises(ResponseError, match="no"):
            await docket.snapshot()
