"""A worker out of touch with the server stops what holds slots before others are given them."""

import asyncio
from datetime import timedelta

import pytest

from docket import ConcurrencyLimit, Docket, Worker
from tests.support.dockets import Gate, Told, at_work, result_of, soon
from tests.support.limits import Ledger
from tests.support.proxy import proxy_to

pytestmark = pytest.mark.anyio

HEARTBEAT = timedelta(milliseconds=200)


async def test_a_run_that_holds_a_slot_is_stopped_and_its_task_runs_elsewhere(
    server: str, docket_name: str
) -> None:
    ledger = Ledger()
    gate = Gate()
    holding, stopped = asyncio.Event(), asyncio.Event()

    async def limited(limit: ConcurrencyLimit = ConcurrencyLimit()) -> str:
        ledger.enter("slot")
        try:
            if len(ledger.began) == 1:
                holding.set()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise
        finally:
            ledger.leave("slot")
        return "done"

    async def free() -> str:
        await gate.pass_through()
        return "not stopped"

    options = {"heartbeat_interval": HEARTBEAT, "missed_heartbeats": 5}
    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url, **options) as behind,
        Docket(docket_name, server, **options) as docket,
    ):
        docket.register(limited)
        docket.register(free)
        behind.register(limited)
        behind.register(free)
        far = Worker(behind)
        told = Told()
        running = asyncio.create_task(far.run_supervised(told, keeper_interval_seconds=0.02))
        await soon(told.is_ready.wait())
        unlimited = await docket.add(free)()
        execution = await docket.add(limited)()
        await soon(holding.wait())
        await soon(gate.reached.wait())

        async with Worker(docket) as near, at_work(near):
            proxy.half_open()
            await soon(stopped.wait())
            assert any(task.function == "free" for task in far.running_tasks())

            assert await result_of(execution) == "done"
            assert ledger.peak == {"slot": 1}
            gate.opened.set()
            proxy.flow()
            assert await result_of(unlimited) == "not stopped"
        far.drain(0)
        await soon(running)
    assert len(ledger.began) == 2
