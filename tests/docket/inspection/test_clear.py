"""Docket.clear: what waits is cancelled, what runs is left alone."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from docket import ConcurrencyLimit, Disposition, Docket, Execution, ExecutionState, Worker
from docket.errors import ExecutionCancelled
from tests.support.dockets import Gate, at_work, finish, found, result_of, soon
from tests.support.store import store_at, until

pytestmark = pytest.mark.anyio


async def echo(value: object = None) -> object:
    return value


async def all_wait(docket: Docket, count: int) -> bool:
    """Whether so many tasks were claimed and wait for a slot: then they stand in the queue."""
    return await docket.connections.client().zcard(docket.queue_key) == count


def in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


async def test_an_empty_docket_has_nothing_to_clear(docket: Docket) -> None:
    assert await docket.clear() == 0


async def test_what_waits_is_cancelled_and_its_keys_are_free(docket: Docket) -> None:
    waiting = asyncio.create_task(result_of(await docket.add(echo, key="now")(1)))
    await docket.add(echo, in_an_hour(), "later")(2)
    await asyncio.sleep(0)

    assert await docket.clear() == 2

    with pytest.raises(ExecutionCancelled):
        await soon(waiting)
    for key in ("now", "later"):
        assert (await found(docket, key)).state is ExecutionState.CANCELLED
        assert await docket.connections.client().pttl(docket.runs_key(key)) > 0
    assert (await docket.snapshot()).total_tasks == 0
    assert (await docket.add(echo, key="now")(3)).disposition is Disposition.SCHEDULED
    assert (await finish(docket)).counters.started == 1
    assert await docket.clear() == 0


async def test_what_runs_keeps_its_record_and_finishes(docket: Docket) -> None:
    gate = Gate()

    async with Worker(docket, concurrency=1) as worker, at_work(worker):
        running = await docket.add(gate.pass_through)("argument")
        await soon(gate.reached.wait())
        waiting = await docket.add(echo)(1)

        assert await docket.clear() == 1

        assert (await found(docket, running.key)).state is ExecutionState.RUNNING
        gate.opened.set()
        assert await result_of(running) is None
        with pytest.raises(ExecutionCancelled):
            await result_of(waiting)


async def test_the_successor_of_a_running_key_is_cleared_and_the_run_left_alone(
    docket: Docket,
) -> None:
    gate = Gate()

    async with Worker(docket, concurrency=1) as worker, at_work(worker):
        await docket.add(gate.stay, key="key")("old")
        await soon(gate.reached.wait())
        await docket.replace(gate.pass_through, datetime.now(UTC), "key")("new")

        assert await docket.clear() == 1

        gate.opened.set()
        await result_of(await docket.add(echo)())
        assert (await found(docket, "key")).state is ExecutionState.CANCELLED
        assert gate.arrivals == ["old"]


@pytest.mark.parametrize("count", [63, 64, 65, 1100])
async def test_more_than_one_call_takes_all_of_a_large_docket(docket: Docket, count: int) -> None:
    await docket.add_many([docket.call(echo)(n) for n in range(count)])
    await docket.add_many([docket.call(echo, in_an_hour())(n) for n in range(count)])

    assert await docket.clear() == 2 * count

    assert (await docket.snapshot()).total_tasks == 0
    assert await docket.connections.client().xlen(docket.stream_key) == 0
    assert await docket.connections.client().zcard(docket.queue_key) == 0


async def test_with_an_execution_ttl_of_zero_nothing_is_kept(server: str, docket_name: str) -> None:
    async with Docket(docket_name, server, execution_ttl=timedelta(0)) as docket:
        await docket.add(echo, key="key")(1)
        await docket.add(echo, in_an_hour(), "later")(1)

        assert await docket.clear() == 2

        assert await docket.get_execution("key") is None
        assert await docket.get_execution("later") is None


async def test_redelivered_and_quarantined_tasks_are_cleared_too(
    server: str, docket_name: str
) -> None:
    async with store_at(server, docket_name) as store, Docket(docket_name, server) as docket:
        for n in range(2):
            await store.add(f"key {n}")
        await store.register("a", "b")
        await store.exchange("a", want=1)
        await store.adopt("a", blame="nobody")
        await store.exchange("b", want=0)
        await store.claim("b")
        await store.adopt("b", blame="everyone")
        letters = {entry[0] for entry in (await store.state()).places}
        assert letters == {"s", "x"}

        assert await docket.clear() == 2

        state = await store.state()
        assert (state.places, state.pending, state.faults()) == ({}, {}, [])


async def test_tasks_that_wait_for_a_slot_are_cleared_and_leave_their_places(
    docket: Docket,
) -> None:
    gate = Gate()

    async def one_at_a_time(
        n: int, limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)
    ) -> int:
        await gate.pass_through(n)
        return n

    async with Worker(docket) as worker, at_work(worker):
        first = await docket.add(one_at_a_time)(0)
        await soon(gate.reached.wait())
        waiting = await docket.add_many([docket.call(one_at_a_time)(n) for n in (1, 2, 3)])
        await until(lambda: all_wait(docket, 3), "that all wait for the slot")

        assert await docket.clear() == 3

        places = docket.connections.client().scan_iter(f"{docket.prefix}:waiting*")
        assert [key async for key in places] == []
        gate.opened.set()
        assert await result_of(first) == 0
        for execution in waiting:
            with pytest.raises(ExecutionCancelled):
                await result_of(execution)
        assert await result_of(await docket.add(one_at_a_time)(4)) == 4
        assert gate.arrivals == [0, 4]


async def test_what_a_record_no_longer_names_is_swept_out_and_not_counted(docket: Docket) -> None:
    client = docket.connections.client()
    await docket.add(echo, in_an_hour(), "later")(1)
    await client.hset(docket.runs_key("later"), "state", "completed")

    assert await docket.clear() == 0

    assert await client.zcard(docket.queue_key) == 0


async def test_what_is_added_while_it_is_cleared_may_stay_and_never_keeps_it_busy(
    docket: Docket,
) -> None:
    await docket.add_many([docket.call(echo)(n) for n in range(600)])
    clearing = asyncio.create_task(docket.clear())
    added: list[Execution] = []
    while not clearing.done():
        added += await docket.add_many([docket.call(echo)(n) for n in range(100)])

    cleared = await soon(clearing)

    assert 600 <= cleared <= 600 + len(added)
    left = len((await docket.snapshot()).future)
    assert cleared + left == 600 + len(added)
