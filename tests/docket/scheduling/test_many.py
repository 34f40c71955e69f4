"""Docket.call, add_many and replace_many."""

import asyncio
import dataclasses
import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docket import Disposition, Docket, Execution, ExecutionState, TaskCall
from docket.errors import PayloadTooLarge, ServerUnavailable, UnknownTask
from docket.serialization.pickle_codec import MAX_PAYLOAD_BYTES
from docket.store.coalescing import BATCH_LIMIT
from docket.store.connection.pipeline import LostReply
from docket.store.scripts import SCHEDULE
from tests.support.dockets import finish, found, result_of, warm_up
from tests.support.proxy import Do, calls, proxy_to

pytestmark = pytest.mark.anyio


async def echo(value: object = None) -> object:
    return value


def in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def dispositions(executions: list[Execution]) -> list[Disposition]:
    return [execution.disposition for execution in executions]


def test_a_call_is_a_value_and_schedules_nothing() -> None:
    docket = Docket()
    when = in_an_hour()

    call = docket.call(echo, when, "key")(1)

    assert call == TaskCall(echo, (1,), {}, "key", when)
    assert docket.tasks["echo"] is echo
    assert docket.call("echo", when, "key")(value=1) == TaskCall(
        echo, (), {"value": 1}, "key", when, "echo"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        call.key = "another"  # type: ignore[misc]


def test_calls_without_a_key_get_keys_of_their_own_and_are_due_now() -> None:
    caller = Docket().call(echo)
    one, two = caller(1), caller(2)

    assert one.key != two.key
    assert abs(one.when - datetime.now(UTC)) < timedelta(seconds=10)


def test_a_call_of_an_unknown_name_is_refused() -> None:
    with pytest.raises(UnknownTask, match="Task 'nobody' is not registered"):
        Docket().call("nobody")


async def test_many_are_added_in_few_round_trips_and_in_their_order(docket: Docket) -> None:
    await warm_up(docket)
    before = docket.connections.pipeline.round_trips

    executions = await docket.add_many([docket.call(echo)(n) for n in range(1500)])

    # A call for each batch. How many of them share a write depends on how fast the server answers.
    assert docket.connections.pipeline.round_trips - before <= math.ceil(1500 / BATCH_LIMIT)
    assert [execution.args for execution in executions] == [(n,) for n in range(1500)]
    assert set(dispositions(executions)) == {Disposition.SCHEDULED}
    await finish(docket, concurrency=100)
    assert [await result_of(e) for e in executions[::500]] == [0, 500, 1000]


async def test_calls_may_come_from_an_iterator_which_is_taken_chunk_by_chunk(
    docket: Docket,
) -> None:
    taken: list[int] = []

    def source() -> Iterator[TaskCall]:
        for n in range(5):
            taken.append(n)
            yield docket.call(echo, key=f"key {n}")(n)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        await docket.add_many(source(), chunk_size=2)

    assert taken == [0, 1, 2, 3, 4]
    assert (await found(docket, "key 3")).state is ExecutionState.QUEUED
    assert await docket.get_execution("key 4") is None


async def test_a_chunk_is_made_and_sent_while_the_server_works_on_the_one_before(
    server: str, docket_name: str
) -> None:
    taken: list[int] = []

    def made(docket: Docket) -> Iterator[TaskCall]:
        for n in range(9):
            taken.append(n)
            yield docket.call(echo)(n)

    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        await docket.wait_for_strikes_loaded()
        held = proxy.intercept(calls(SCHEDULE), Do.HOLD_REPLY)
        adding = asyncio.create_task(docket.add_many(made(docket), chunk_size=2))
        await held.happened.wait()
        assert taken == [0, 1, 2, 3]
        held.retire.set()

        executions = await adding

        assert [execution.args for execution in executions] == [(n,) for n in range(9)]
        assert set(dispositions(executions)) == {Disposition.SCHEDULED}


@pytest.mark.parametrize("do", [Do.LOSE_REPLY, Do.LOSE_CALL])
async def test_chunks_whose_calls_or_replies_are_lost_are_added_once_and_in_their_order(
    server: str, docket_name: str, do: Do
) -> None:
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        await docket.wait_for_strikes_loaded()
        proxy.intercept(calls(SCHEDULE), do)

        executions = await docket.add_many([docket.call(echo)(n) for n in range(6)], chunk_size=2)

        assert set(dispositions(executions)) == {Disposition.SCHEDULED}
        worker = await finish(docket)
        assert worker.counters.started == 6
        assert [await result_of(execution) for execution in executions] == list(range(6))


async def test_a_reply_that_is_lost_while_nothing_is_kept_fails_and_says_so(
    server: str, docket_name: str
) -> None:
    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url, execution_ttl=timedelta(0)) as docket,
    ):
        await warm_up(docket)
        proxy.intercept(calls(SCHEDULE), Do.LOSE_REPLY)

        with pytest.raises(LostReply):
            await docket.add_many(
                [docket.call(echo, in_an_hour(), f"key {n}")(n) for n in range(4)], chunk_size=2
            )

        # What was lost is the reply.
        assert (await found(docket, "key 1")).state is ExecutionState.SCHEDULED


async def test_what_cannot_be_stored_in_a_chunk_leaves_those_before_it_added(
    docket: Docket,
) -> None:
    with pytest.raises(TypeError):
        await docket.add_many(
            [docket.call(echo, key="one")(1), docket.call(echo)(threading.Lock())], chunk_size=1
        )

    assert (await found(docket, "one")).state is ExecutionState.QUEUED


async def test_nothing_at_all_may_be_added(docket: Docket) -> None:
    assert await docket.add_many([]) == []
    assert await docket.replace_many([], chunk_size=None) == []


@pytest.mark.parametrize("chunk_size", [0, -1])
async def test_a_chunk_size_below_one_is_refused(docket: Docket, chunk_size: int) -> None:
    for schedule in (docket.add_many, docket.replace_many):
        with pytest.raises(ValueError, match=f"chunk_size must be at least 1, got {chunk_size}"):
            await schedule([], chunk_size=chunk_size)


@pytest.mark.parametrize("chunk_size", [1, 2, 1000, None])
async def test_each_call_has_its_own_time_key_and_disposition(
    docket: Docket, chunk_size: int | None
) -> None:
    when = in_an_hour().replace(microsecond=0)
    past = when - timedelta(days=1)
    calls = [
        docket.call(echo, key="now")(1),
        docket.call(echo, when, "later")(2),
        docket.call(echo, past, "late")(3),
        docket.call(echo, key="now")(4),
    ]

    executions = await docket.add_many(calls, chunk_size=chunk_size)

    assert dispositions(executions) == [Disposition.SCHEDULED] * 3 + [Disposition.ALREADY_SCHEDULED]
    assert [execution.state for execution in executions] == [
        ExecutionState.QUEUED,
        ExecutionState.SCHEDULED,
        ExecutionState.QUEUED,
        ExecutionState.QUEUED,
    ]
    assert [execution.when for execution in executions[1:3]] == [when, past]
    kept = await found(docket, "now")
    assert (kept.args, kept.when) == ((1,), executions[0].when)


async def test_many_are_replaced(docket: Docket) -> None:
    await docket.add_many([docket.call(echo, in_an_hour(), f"key {n}")(n) for n in range(3)])

    executions = await docket.replace_many(
        [docket.call(echo, key=f"key {n}")(n + 10) for n in range(3)]
    )

    assert dispositions(executions) == [Disposition.SCHEDULED] * 3
    worker = await finish(docket)
    assert worker.counters.started == 3
    assert [await result_of(execution) for execution in executions] == [10, 11, 12]


async def test_stricken_calls_are_left_out_and_said_to_be(docket: Docket) -> None:
    await docket.strike(echo, "value", "==", 1)

    executions = await docket.add_many([docket.call(echo)(n) for n in range(3)])

    assert dispositions(executions) == [
        Disposition.SCHEDULED,
        Disposition.STRUCK,
        Disposition.SCHEDULED,
    ]
    assert await docket.get_execution(executions[1].key) is None


async def test_one_that_cannot_be_scheduled_fails_alone_and_says_why(docket: Docket) -> None:
    await docket.connections.client().set(docket.runs_key("taken"), "somebody's")

    executions = await docket.add_many(
        [docket.call(echo, key=key)(1) for key in ("one", "taken", "two")]
    )

    assert dispositions(executions) == [
        Disposition.SCHEDULED,
        Disposition.FAILED,
        Disposition.SCHEDULED,
    ]
    assert "its record cannot be read: WRONGTYPE" in str(executions[1].schedule_exception)
    assert executions[0].schedule_exception is None


@pytest.mark.parametrize(
    ("argument", "error"),
    [(threading.Lock(), TypeError), (b"x" * (MAX_PAYLOAD_BYTES + 1), PayloadTooLarge)],
)
async def test_arguments_that_cannot_be_stored_are_refused_before_anything_is_scheduled(
    docket: Docket, argument: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await docket.add_many([docket.call(echo, key="key")(1), docket.call(echo)(argument)])

    assert await docket.get_execution("key") is None


async def test_a_key_that_is_no_text_is_refused(docket: Docket) -> None:
    call = dataclasses.replace(docket.call(echo)(1), key=5)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="The key of a task must be a str, not int: 5"):
        await docket.add_many([call])


async def test_payloads_of_many_megabytes_go_in_calls_of_a_few(docket: Docket) -> None:
    executions = await docket.add_many([docket.call(echo)(b"x" * 3_000_000) for _ in range(4)])

    assert dispositions(executions) == [Disposition.SCHEDULED] * 4
    await docket.clear()


async def test_a_call_made_by_hand_registers_its_function_unless_it_has_a_name(
    docket: Docket,
) -> None:
    now = datetime.now(UTC)

    one, two = await docket.add_many(
        [TaskCall(echo, (1,), {}, "one", now), TaskCall(echo, (2,), {}, "two", now, "shout")]
    )

    assert docket.tasks["echo"] is echo
    assert (one.function_name, two.function_name) == ("echo", "shout")
    assert "shout" not in docket.tasks


async def test_without_a_server_the_batch_is_refused(
    server: str, docket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.scheduling.PATIENCE_SECONDS", 0.05)
    async with proxy_to(server) as proxy:
        await proxy.refuse()
        async with Docket(docket_name, proxy.url) as docket:
            with pytest.raises(ServerUnavailable):
                await docket.add_many([docket.call(echo)(1)])


async def test_what_is_no_call_is_refused_before_anything_is_scheduled(docket: Docket) -> None:
    calls = [docket.call(echo, key="k")(1), docket.call(echo)]

    with pytest.raises(TypeError, match=r"write docket\.call"):
        await docket.add_many(calls)  # type: ignore[list-item]

    assert await docket.get_execution("k") is None


def test_a_call_is_a_frozen_dataclass_to_the_functions_for_dataclasses() -> None:
    when = datetime.now(UTC)
    call = TaskCall(echo, (1,), {"a": 2}, "key", when)

    assert dataclasses.is_dataclass(call)
    assert dataclasses.replace(call, key="other") == TaskCall(echo, (1,), {"a": 2}, "other", when)
    assert dataclasses.astuple(call) == (echo, (1,), {"a": 2}, "key", when, None)
    assert [field.name for field in dataclasses.fields(call)] == [
        "function",
        "args",
        "kwargs",
        "key",
        "when",
        "function_name",
    ]
