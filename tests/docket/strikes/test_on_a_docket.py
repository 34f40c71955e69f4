"""Stricken tasks: not scheduled by producers, not run by workers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from docket import Disposition, Docket, Execution, ExecutionState, Perpetual, Worker
from docket.errors import ExecutionCancelled, ServerUnavailable
from docket.execution import TaskFunction
from tests.support.dockets import Gate, Told, at_work, finish, found, result_of, soon
from tests.support.proxy import proxy_to
from tests.support.store import until

pytestmark = pytest.mark.anyio


async def echo(value: object = None) -> object:
    return value


def now() -> datetime:
    return datetime.now(UTC)


WAYS: dict[str, Callable[[Docket], Awaitable[Execution]]] = {
    "add": lambda docket: docket.add(echo, key="key")(5),
    "add later": lambda docket: docket.add(echo, now() + timedelta(hours=1), "key")(5),
    "replace": lambda docket: docket.replace(echo, now(), "key")(5),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_stricken_task_is_not_scheduled(
    docket: Docket, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    await docket.strike(echo, "value", "==", 5)

    execution = await WAYS[way](docket)

    assert execution.disposition is Disposition.STRUCK
    assert await docket.get_execution("key") is None
    assert "'echo' is stricken, skipping schedule of 'key'" in caplog.messages
    other = await docket.add(echo)(6)
    assert other.disposition is Disposition.SCHEDULED
    await docket.restore(echo, "value", "==", 5)
    assert (await WAYS[way](docket)).disposition is Disposition.SCHEDULED


async def test_what_waits_under_the_key_is_left_alone_by_a_stricken_replacement(
    docket: Docket,
) -> None:
    await docket.add(echo, key="key")(1)
    await docket.strike(echo, "value", "==", 5)

    await docket.replace(echo, now(), "key")(5)

    assert (await found(docket, "key")).args == (1,)


async def test_an_execution_made_by_hand_is_scheduled_unless_it_is_stricken(docket: Docket) -> None:
    await docket.strike("echo", "value", "==", 5)
    stricken, other = (
        Execution(docket, echo, (value,), {}, f"key {value}", now(), 1) for value in (5, 6)
    )

    await docket.schedule(stricken)
    await docket.schedule(other)

    assert (stricken.disposition, other.disposition) == (
        Disposition.STRUCK,
        Disposition.SCHEDULED,
    )
    assert await docket.get_execution(stricken.key) is None


@pytest.mark.parametrize("function", [echo, "echo", None])
async def test_a_whole_task_is_struck_by_function_name_or_with_all_others(
    docket: Docket, function: TaskFunction | str | None
) -> None:
    await docket.strike(function)
    assert (await docket.add(echo)(1)).disposition is Disposition.STRUCK

    await docket.restore(function)
    assert (await docket.add(echo)(1)).disposition is Disposition.SCHEDULED


async def test_a_docket_that_was_just_opened_knows_what_was_struck_before_its_first_add(
    docket: Docket, server: str
) -> None:
    await docket.strike(echo)

    async with Docket(docket.name, server) as fresh:
        executions = await asyncio.gather(*(fresh.add(echo)(n) for n in range(10)))

    assert {execution.disposition for execution in executions} == {Disposition.STRUCK}


async def test_an_add_without_a_server_fails_as_it_does_without_strikes(
    server: str, docket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.scheduling.PATIENCE_SECONDS", 0.05)
    async with proxy_to(server) as proxy:
        await proxy.refuse()
        async with Docket(docket_name, proxy.url) as docket:
            with pytest.raises(ServerUnavailable):
                await docket.add(echo)(1)


async def test_an_add_is_not_held_up_for_ever_by_strikes_that_cannot_be_read(
    docket: Docket, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.scheduling.PATIENCE_SECONDS", 0.05)
    await docket.connections.client().set(docket.strike_list.strike_key, "somebody's")

    async with Docket(docket.name, server) as fresh:
        execution = await fresh.add(echo)(1)

        assert execution.disposition is Disposition.SCHEDULED


async def test_a_claimed_task_that_is_stricken_ends_as_cancelled_and_is_counted(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    struck = await docket.add(echo, key="struck")(5)
    other = await docket.add(echo)(6)
    await docket.strike(echo, "value", "==", 5)

    worker = await finish(docket)

    assert await result_of(other) == 6
    with pytest.raises(ExecutionCancelled):
        await result_of(struck)
    assert (worker.counters.stricken, worker.counters.cancelled) == (1, 1)
    assert worker.counters.succeeded == 1
    assert "🗙 echo(...){struck}" in caplog.messages


async def test_a_task_for_the_fallback_is_judged_by_the_name_it_was_scheduled_under(
    docket: Docket, server: str
) -> None:
    async def fallback(*args: object, **kwargs: object) -> str:
        return "fell back"

    await docket.add(echo, key="struck")(value=5)
    kept = await docket.add(echo)(value=6)
    await docket.strike("echo", "value", "==", 5)

    async with Docket(docket.name, server) as elsewhere:
        worker = await finish(elsewhere, fallback_task=fallback)

    assert worker.counters.stricken == 1
    assert (await found(docket, "struck")).state is ExecutionState.CANCELLED
    assert await result_of(kept) == "fell back"


async def test_a_worker_that_starts_runs_nothing_that_was_struck_before(
    docket: Docket, server: str
) -> None:
    ran: list[int] = []

    async def noted(value: int) -> None:
        ran.append(value)

    await asyncio.gather(*(docket.add(noted)(n) for n in range(50)))
    await docket.strike(noted, "value", "<", 40)

    async with Docket(docket.name, server) as elsewhere:
        elsewhere.register(noted)
        worker = await finish(elsewhere)

    assert sorted(ran) == list(range(40, 50))
    assert worker.counters.stricken == 40


async def test_a_worker_is_not_ready_before_the_strikes_are_loaded(
    docket: Docket, server: str
) -> None:
    client = docket.connections.client()
    await client.set(docket.strike_list.strike_key, "somebody's")
    told = Told()

    async with Docket(docket.name, server) as elsewhere, Worker(elsewhere) as worker:
        running = asyncio.create_task(worker.run_supervised(told))
        await soon(told.is_waiting.wait())
        assert told.reasons[0].startswith("the strikes are not loaded yet: WRONGTYPE")
        assert not told.is_ready.is_set()
        assert await docket.workers() == []

        await client.delete(docket.strike_list.strike_key)

        await soon(told.is_ready.wait())
        worker.drain()
        await soon(running)


async def test_a_worker_that_waits_for_strikes_can_be_drained(docket: Docket, server: str) -> None:
    await docket.connections.client().set(docket.strike_list.strike_key, "somebody's")
    told = Told()

    async with Docket(docket.name, server) as elsewhere, Worker(elsewhere) as worker:
        running = asyncio.create_task(worker.run_supervised(told))
        await soon(told.is_waiting.wait())

        worker.drain()

        await soon(running)


async def test_a_strike_reaches_a_worker_that_is_at_work(docket: Docket, server: str) -> None:
    gate = Gate()

    async with Docket(docket.name, server) as elsewhere:
        elsewhere.register(gate.pass_through, names=["gated"])
        docket.register(gate.pass_through, names=["gated"])
        async with Worker(elsewhere, concurrency=1) as worker, at_work(worker):
            await docket.add("gated")(1)
            await soon(gate.reached.wait())
            waiting = await docket.add("gated")(2)

            await docket.strike("gated")
            await until(lambda: not elsewhere.strike_list.is_empty)
            gate.opened.set()

            with pytest.raises(ExecutionCancelled):
                await result_of(waiting)
            assert gate.arrivals == [1], "what ran when the strike came was left to finish"
            assert worker.counters.stricken == 1


async def test_a_stricken_task_is_neither_retried_nor_followed(docket: Docket) -> None:
    runs: list[int] = []

    async def for_ever(perpetual: Perpetual = Perpetual(automatic=True)) -> None:
        runs.append(1)
        if len(runs) == 3:
            await docket.strike(for_ever)

    docket.register(for_ever)
    worker = await finish(docket)

    assert len(runs) == 3
    assert worker.counters.stricken == 1
    assert (await found(docket, "for_ever")).state is ExecutionState.CANCELLED
    another = await finish(docket)
    assert another.counters.started == 0, "nor is it seeded again"


async def test_a_condition_that_breaks_fails_the_add_and_the_task_alone(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    def breaks(execution: Execution) -> bool:
        raise ValueError("broken condition")

    waiting = await docket.add(echo)(1)
    docket.strike_list.add_condition(breaks)
    with pytest.raises(ValueError, match="broken condition"):
        await docket.add(echo)(2)

    await finish(docket)

    with pytest.raises(ValueError, match="broken condition"):
        await result_of(waiting)
