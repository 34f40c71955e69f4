"""A server that ends and comes back with its data, in the middle of a load."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from docket import Docket, Worker
from docket.store.embedded import embedded_server
from tests.support.dockets import Gate, Told, at_work, result_of, soon
from tests.support.embedded import folder
from tests.support.store import store_at, until

pytestmark = pytest.mark.anyio

__all__ = ["folder"]


async def test_what_finished_while_the_server_was_away_is_delivered_and_nothing_runs_twice(
    folder: Path, docket_name: str
) -> None:
    url = f"embedded://{folder}"
    gate = Gate()
    ran: Counter[int] = Counter()

    async def work(n: int) -> int:
        ran[n] += 1
        if n < 10:
            await gate.pass_through(n)
        return n

    server = await asyncio.to_thread(embedded_server.start, url)
    try:
        async with Docket(docket_name, server.url) as docket:
            docket.register(work)
            executions = await asyncio.gather(*[docket.add(work)(n) for n in range(200)])
            told = Told()
            async with at_work(Worker(docket, concurrency=10), told):
                await until(lambda: len(gate.arrivals) == 10)
                told.is_waiting.clear()
                await asyncio.to_thread(server.stop)
                gate.opened.set()
                await soon(told.is_waiting.wait())
                server = await asyncio.to_thread(embedded_server.start, url)
                for n, execution in enumerate(executions):
                    assert await result_of(execution) == n
        assert ran == Counter(range(200))
        async with store_at(server.url, docket_name) as store:
            after = await store.state()
            assert after.faults() == []
            assert after.places == after.pending == {}
            assert {record["state"] for record in after.records.values()} == {"completed"}
    finally:
        await asyncio.to_thread(server.stop)


async def test_an_add_made_while_the_server_restarts_is_there_when_it_is_back(
    folder: Path, docket_name: str
) -> None:
    url = f"embedded://{folder}"
    server = await asyncio.to_thread(embedded_server.start, url)
    try:
        async with store_at(server.url, docket_name) as store:
            await store.add("before")
            await asyncio.to_thread(server.stop)
            adding = asyncio.create_task(store.add("during"))
            server = await asyncio.to_thread(embedded_server.start, url)
            await soon(adding)
            assert set((await store.state()).places.values()) == {"before", "during"}
    finally:
        await asyncio.to_thread(server.stop)
