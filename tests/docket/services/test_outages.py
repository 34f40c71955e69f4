"""A server that goes away: a full worker notices it, one that drains does not wait for ever."""

import asyncio
import time

import pytest

from docket import Docket, Worker
from tests.support.dockets import Gate, Told, at_work, result_of, soon
from tests.support.proxy import Proxy, proxy_to
from tests.support.store import until

pytestmark = pytest.mark.anyio


class Server:
    """A worker behind a proxy, whose tasks wait for a gate."""

    def __init__(self, proxy: Proxy, docket: Docket, *, concurrency: int) -> None:
        self.proxy, self.docket = proxy, docket
        self.gate, self.told = Gate(), Told()
        docket.register(self.work)
        self.worker = Worker(docket, concurrency=concurrency)

    async def work(self, n: int) -> int:
        await self.gate.pass_through(n)
        return n

    async def take_away(self) -> None:
        self.told.is_waiting.clear()
        await self.proxy.refuse()
        await soon(self.told.is_waiting.wait())


async def test_a_worker_with_every_slot_taken_notices_an_outage_and_its_end(
    server: str, docket_name: str
) -> None:
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        it = Server(proxy, docket, concurrency=2)
        async with at_work(it.worker, it.told):
            executions = [await docket.add(it.work)(n) for n in range(2)]
            await until(lambda: len(it.gate.arrivals) == 2)
            began = time.monotonic()
            await it.take_away()
            assert time.monotonic() - began < 5.0
            it.told.is_ready.clear()
            await proxy.open()
            await soon(it.told.is_ready.wait())
            assert len(it.worker.running_tasks()) == 2
            it.gate.opened.set()
            assert [await result_of(each) for each in executions] == [0, 1]


async def test_an_idle_worker_that_drains_without_a_server_ends_at_once(
    server: str, docket_name: str
) -> None:
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        it = Server(proxy, docket, concurrency=2)
        running = asyncio.create_task(it.worker.run_supervised(it.told))
        await soon(it.told.is_ready.wait())
        await it.take_away()
        it.worker.drain(600.0)
        await soon(running)
        assert it.worker.unrecorded == 0


@pytest.mark.parametrize("returns", [True, False])
async def test_a_worker_that_drains_with_outcomes_waits_for_the_server_until_its_deadline(
    server: str, docket_name: str, *, returns: bool
) -> None:
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        it = Server(proxy, docket, concurrency=2)
        running = asyncio.create_task(it.worker.run_supervised(it.told))
        await soon(it.told.is_ready.wait())
        execution = await docket.add(it.work)(1)
        await until(lambda: len(it.gate.arrivals) == 1)
        await it.take_away()
        it.worker.drain(600.0)
        it.gate.opened.set()
        await until(lambda: it.worker.running_tasks() == [])
        assert not running.done()
        if returns:
            await proxy.open()
        else:
            it.worker.drain(0.0)
        await soon(running)
        assert it.worker.unrecorded == (0 if returns else 1)
        if returns:
            assert await result_of(execution) == 1


async def test_a_run_that_a_deadline_cuts_off_without_a_server_is_left_to_others(
    server: str, docket_name: str
) -> None:
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        it = Server(proxy, docket, concurrency=2)
        running = asyncio.create_task(it.worker.run_supervised(it.told))
        await soon(it.told.is_ready.wait())
        execution = await docket.add(it.work)(1)
        await until(lambda: len(it.gate.arrivals) == 1)
        consumer = it.worker.consumer
        await it.take_away()
        it.worker.drain(0.1)
        await soon(running)
        assert it.worker.unrecorded == 1
        await proxy.open()
        it.gate.opened.set()
        async with at_work(Worker(docket)) as other:
            await other.adopt(consumer)
            assert await result_of(execution) == 1
