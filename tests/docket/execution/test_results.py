"""Execution.get_result and sync: what a task ended with, and how long somebody waits for it."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from docket import Docket, ExecutionState, Worker
from docket.errors import ExecutionCancelled, ResultUnavailable
from docket.execution import Execution
from tests.support.dockets import (
    PATIENCE,
    Gate,
    at_work,
    failure_of,
    finish,
    found,
    result_of,
    soon,
)
from tests.support.proxy import Do, proxy_to, word

pytestmark = pytest.mark.anyio


class OrderRefused(Exception):
    def __init__(self, order: int, reason: str) -> None:
        super().__init__(order, reason)
        self.order = order


async def double(n: int) -> int:
    return 2 * n


async def nothing() -> None: ...


async def refuse() -> None:
    raise OrderRefused(17, "sold out")


async def test_the_result_is_what_the_task_returned(docket: Docket) -> None:
    execution = await docket.add(double)(21)
    await finish(docket, name="host.example#1")

    assert await result_of(execution) == 42
    assert execution.state is ExecutionState.COMPLETED
    assert execution.worker == "host.example#1"
    assert execution.result_key == execution.key
    assert execution.error is None
    assert execution.started_at is not None
    assert execution.completed_at is not None
    assert execution.when <= execution.started_at <= execution.completed_at


async def test_a_task_that_returns_nothing_has_the_result_none(docket: Docket) -> None:
    execution = await docket.add(nothing)()
    await finish(docket)

    assert await result_of(execution) is None
    assert execution.result_key is None


async def test_the_exception_of_the_task_is_raised_with_its_type_and_what_it_carries(
    docket: Docket,
) -> None:
    execution = await docket.add(refuse)()
    await finish(docket)

    with pytest.raises(OrderRefused) as raised:
        await result_of(execution)
    assert raised.value.order == 17
    assert execution.state is ExecutionState.FAILED
    assert execution.error == "OrderRefused: (17, 'sold out')"


async def test_a_result_is_there_for_who_has_only_the_key(docket: Docket, server: str) -> None:
    await docket.add(double, key="key")(4)
    await finish(docket)

    async with Docket(docket.name, server) as elsewhere:
        assert await result_of(await found(elsewhere, "key")) == 8


async def test_who_waits_before_the_task_starts_gets_the_result(docket: Docket) -> None:
    execution = await docket.add(double)(1)
    waiters = [asyncio.create_task(result_of(execution)) for _ in range(50)]
    waiters += [
        asyncio.create_task(result_of(await found(docket, execution.key))) for _ in range(50)
    ]

    await finish(docket)

    assert await soon(asyncio.gather(*waiters)) == [2] * 100


async def test_who_waits_while_the_task_runs_gets_its_exception(docket: Docket) -> None:
    gate = Gate()

    async def fails() -> None:
        await gate.pass_through()
        raise LookupError("gone")

    async with Worker(docket) as worker, at_work(worker):
        execution = await docket.add(fails)()
        await soon(gate.reached.wait())
        waiting = asyncio.create_task(failure_of(execution))
        await execution.sync()
        gate.opened.set()

        assert repr(await soon(waiting)) == "LookupError('gone')"


async def test_both_a_timeout_and_a_deadline_are_refused(docket: Docket) -> None:
    execution = await docket.add(double)(1)

    with pytest.raises(ValueError, match="both timeout and deadline"):
        await execution.get_result(timeout=timedelta(seconds=1), deadline=datetime.now(UTC))


@pytest.mark.statement(30)
@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1), timedelta(seconds=0.02)])
async def test_a_timeout_that_passes_is_told(docket: Docket, timeout: timedelta) -> None:
    execution = await docket.add(double, key="key")(1)

    with pytest.raises(TimeoutError, match=r"^Timeout waiting for execution key to complete$"):
        await execution.get_result(timeout=timeout)


async def test_a_deadline_that_passes_is_told(docket: Docket) -> None:
    execution = await docket.add(double)(1)

    with pytest.raises(TimeoutError):
        await execution.get_result(deadline=datetime.now(UTC) + timedelta(milliseconds=20))
    with pytest.raises(TimeoutError):
        await execution.get_result(deadline=datetime(2000, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "limit",
    [
        {"timeout": timedelta(0)},
        {"timeout": timedelta(seconds=-1)},
        {"deadline": datetime(2000, 1, 1, tzinfo=UTC)},
    ],
)
async def test_with_a_limit_that_had_passed_before_the_call_only_an_end_that_was_seen_is_read(
    docket: Docket, limit: dict[str, Any]
) -> None:
    execution = await docket.add(double)(1)
    await finish(docket)

    with pytest.raises(TimeoutError, match=f"^Timeout waiting for execution {execution.key} to"):
        await execution.get_result(**limit)
    await execution.sync()
    assert await execution.get_result(**limit) == 2
    seen = await docket.get_execution(execution.key)
    assert seen is not None
    assert await seen.get_result(**limit) == 2


async def test_with_no_time_left_the_error_of_a_failure_that_was_seen_is_raised(
    docket: Docket,
) -> None:
    async def fails() -> None:
        raise LookupError("none")

    execution = await docket.add(fails)()
    await finish(docket)
    await execution.sync()

    with pytest.raises(LookupError, match="none"):
        await execution.get_result(timeout=timedelta(0))


async def test_what_has_ended_is_returned_however_short_the_time(docket: Docket) -> None:
    execution = await docket.add(double)(1)
    await finish(docket)

    assert await execution.get_result(timeout=timedelta(microseconds=1)) == 2


async def test_a_naive_deadline_is_refused(docket: Docket) -> None:
    execution = await docket.add(double)(1)

    with pytest.raises(TypeError, match="deadline must be a timezone-aware datetime"):
        await execution.get_result(deadline=datetime(2100, 1, 1))  # noqa: DTZ001


@pytest.mark.statement(32)
async def test_a_cancelled_execution_has_no_result(docket: Docket) -> None:
    execution = await docket.add(double, key="key")(1)
    await docket.cancel("key")

    with pytest.raises(ExecutionCancelled, match=r"^Execution key was cancelled$"):
        await result_of(execution)


async def test_who_waits_hears_of_the_cancellation(docket: Docket) -> None:
    execution = await docket.add(double, key="key")(1)
    waiting = asyncio.create_task(result_of(execution))
    await execution.sync()

    await docket.cancel("key")

    with pytest.raises(ExecutionCancelled):
        await soon(waiting)


async def test_an_execution_that_was_never_scheduled_has_no_result(docket: Docket) -> None:
    execution = Execution(docket, double, (1,), {}, "key", datetime.now(UTC), 1)

    with pytest.raises(ResultUnavailable, match=r"^Task 'key' has no record"):
        await execution.get_result()


@pytest.mark.statement(30)
@pytest.mark.parametrize(
    "limit",
    [
        {"timeout": timedelta(minutes=1)},
        {"timeout": timedelta(0)},
        {"deadline": datetime(2100, 1, 1, tzinfo=UTC)},
        {"deadline": datetime(2000, 1, 1, tzinfo=UTC)},
    ],
)
async def test_with_a_limit_what_can_never_come_is_a_timeout_in_type_and_text(
    docket: Docket, limit: dict[str, Any]
) -> None:
    """At once: nobody waits out the time in vain."""
    never = Execution(docket, double, (1,), {}, "never", datetime.now(UTC), 1)
    gone = await docket.add(double, key="gone")(1)
    unread = Execution(docket, double, (1,), {}, "unread", datetime.now(UTC), 1)
    await unread.schedule()
    await unread.mark_as_completed(result_key="nowhere")
    await finish(docket)
    async with docket.redis() as redis:
        await redis.delete(docket.runs_key("gone"))

    for execution in (never, gone, unread):
        with pytest.raises(TimeoutError) as raised:
            await soon(execution.get_result(**limit))
        text = f"Timeout waiting for execution {execution.key} to complete"
        assert str(raised.value).startswith(text)


@pytest.mark.statement(30)
async def test_the_own_errors_of_a_task_are_never_taken_for_those_of_waiting(
    docket: Docket,
) -> None:
    async def task(error: Exception) -> None:
        raise error

    for error in (TimeoutError("mine"), ResultUnavailable("mine"), ExecutionCancelled("mine")):
        execution = await docket.add(task)(error)
        await finish(docket)

        with pytest.raises(type(error), match=r"^mine$"):
            await execution.get_result(timeout=PATIENCE)


@pytest.mark.statement(23)
async def test_without_a_record_the_state_is_scheduled(docket: Docket) -> None:
    never = Execution(docket, double, (1,), {}, "never", datetime.now(UTC), 1)
    gone = await docket.add(double, key="gone")(1)
    failed = await docket.add(refuse, key="failed")()
    await finish(docket)
    await gone.sync()
    await failed.sync()
    assert (gone.state, failed.state) == (ExecutionState.COMPLETED, ExecutionState.FAILED)
    async with docket.redis() as redis:
        await redis.delete(docket.runs_key("gone"), docket.runs_key("failed"))

    for execution in (never, gone, failed):
        await execution.sync()

        assert execution.state is ExecutionState.SCHEDULED
        assert execution.worker is execution.started_at is execution.completed_at is None
        assert execution.error is execution.result_key is None
        progress = execution.progress
        assert (progress.current, progress.total, progress.message) == (None, 100, None)
        assert repr(execution).endswith(" scheduled>")


@pytest.mark.statement(23)
@pytest.mark.statement(30)
async def test_with_a_ttl_of_zero_nothing_is_kept_and_nobody_waits_for_ever(
    server: str, docket_name: str
) -> None:
    async with Docket(docket_name, server, execution_ttl=timedelta(0)) as docket:
        waited_for, cancelled, late = [await docket.add(double)(n) for n in range(3)]
        waiting = asyncio.create_task(waited_for.get_result())
        await docket.cancel(cancelled.key)
        worker = await finish(docket)

        with pytest.raises(ResultUnavailable, match="execution_ttl has passed, or is 0"):
            await soon(waiting)
        for execution in (cancelled, late):
            with pytest.raises(ResultUnavailable):
                await execution.get_result()
            with pytest.raises(TimeoutError, match=r"^Timeout waiting for execution "):
                await result_of(execution)
            await execution.sync()
            assert execution.state is ExecutionState.SCHEDULED
            assert await docket.get_execution(execution.key) is None
        assert worker.counters.succeeded == 2
        client: Redis = docket.connections.client()
        assert await client.keys(docket.keys.record("*")) == []


async def test_a_record_that_expires_while_somebody_waits_is_told(docket: Docket) -> None:
    execution = await docket.add(double, key="key")(1)
    waiting = asyncio.create_task(execution.get_result())
    await execution.sync()

    client: Redis = docket.connections.client()
    await client.delete(docket.keys.record("key"))
    # Nobody publishes an expiry: any message of the channel makes the waiter look.
    await client.publish(docket.keys.state_channel("key"), "")

    with pytest.raises(ResultUnavailable):
        await soon(waiting)


async def test_an_end_that_nobody_published_is_found_by_looking_again(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.execution.results.RECHECK_SECONDS", 0.01)
    waited_for = await docket.add(double, key="key")(1)
    waiting = asyncio.create_task(waited_for.get_result())
    await waited_for.sync()

    client: Redis = docket.connections.client()
    await client.hset(docket.keys.record("key"), "state", "completed")

    assert await soon(waiting) is None


async def test_the_record_of_an_ended_execution_expires_and_that_of_a_live_one_does_not(
    docket: Docket,
) -> None:
    client: Redis = docket.connections.client()
    await docket.add(double, key="key")(1)

    assert await client.pttl(docket.keys.record("key")) == -1
    await finish(docket)
    assert 0 < await client.pttl(docket.keys.record("key")) <= 15 * 60 * 1000

    await docket.add(double, key="key", when=datetime.now(UTC) + PATIENCE)(1)
    assert await client.pttl(docket.keys.record("key")) == -1


@pytest.mark.parametrize("has_looked", [False, True], ids=["before", "while it waits"])
async def test_a_timeout_is_kept_when_the_server_goes_away(
    server: str, docket_name: str, has_looked: bool
) -> None:
    """Without it the first look alone would wait as long as a producer's patience, and longer."""
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        execution = await docket.add(double)(1)
        looked = proxy.intercept(word(b"HGETALL"), Do.HOLD_REPLY, times=2)
        if has_looked:
            looked.retire.set()
        else:
            proxy.half_open()
        began = time.monotonic()
        waiting = asyncio.create_task(execution.get_result(timeout=timedelta(seconds=1.5)))
        if has_looked:
            await soon(looked.happened.wait())
            proxy.half_open()
        with pytest.raises(TimeoutError, match=r"^Timeout waiting for execution "):
            await soon(waiting)
        assert 1.4 < time.monotonic() - began < 4
