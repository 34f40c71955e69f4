"""The processes of workers, as they tell them with their heartbeats."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from docket import Docket, Worker
from docket.docket import WorkerInfo
from docket.services import heartbeater
from docket.supervision import NOBODY, PoolMember
from docket.worker_process import MOST_BYTES
from tests.support.dockets import Told, at_work, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def docket(server: str, docket_name: str) -> AsyncGenerator[Docket]:
    """One whose workers beat often, and are given up by nobody."""
    async with Docket(
        docket_name, server, heartbeat_interval=timedelta(seconds=0.05), missed_heartbeats=1_000
    ) as docket:
        yield docket


async def only_worker(docket: Docket) -> WorkerInfo:
    [info] = await docket.workers()
    return info


async def test_a_worker_tells_its_process_from_its_first_heartbeat_on(docket: Docket) -> None:
    client = docket.connections.client()
    seconds, _ = await client.time()
    async with Worker(docket, name="one", concurrency=7) as worker, at_work(worker):
        process = (await only_worker(docket)).process
        assert process is not None
        assert (process.host, process.pid) == (socket.gethostname(), os.getpid())
        assert abs(process.started_at.timestamp() - seconds) < 20, "by the server's clock"
        assert process.concurrency == 7
        assert process.rss_bytes is None or 1_000_000 < process.rss_bytes < 2**40
        assert 0 <= process.lag_seconds < 60
        assert (process.supervisor_pid, process.generation) == (None, None)
        name = docket.keys.worker_info(worker.consumer)
        assert 0 < await client.pttl(name) <= 10 * 1_000 * 50
        assert await client.hstrlen(name, "info") < 300
    assert await client.exists(name) == 0


async def test_a_worker_of_a_pool_tells_its_supervisor_and_generation(docket: Docket) -> None:
    told = Told()
    async with Worker(docket) as worker:
        running = asyncio.create_task(
            worker.run_supervised(told, member=PoolMember(supervisor_pid=4242, generation=3))
        )
        await soon(told.is_ready.wait())
        process = (await only_worker(docket)).process
        worker.drain(0)
        await soon(running)

    assert process is not None
    assert (process.supervisor_pid, process.generation) == (4242, 3)


async def test_the_lag_is_the_longest_since_it_was_told(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeater, "REPORT_SECONDS", 0.0)

    async def lag() -> float:
        process = (await only_worker(docket)).process
        assert process is not None
        return process.lag_seconds

    async with Worker(docket) as worker, at_work(worker):
        blocks_for = 0.8  # longer than the interval of the ticks, which is half a second
        time.sleep(blocks_for)  # noqa: ASYNC251  (it is the loop that is to be blocked)
        while await lag() < 0.2:
            pass
        while await lag() > 0.1:  # what was told is not told again
            pass


async def test_what_is_told_changes_seldom(docket: Docket) -> None:
    async with Worker(docket) as worker, at_work(worker):
        name = docket.keys.worker_info(worker.consumer)
        client = docket.connections.client()
        await client.hset(name, "info", "what was told")
        first = (await only_worker(docket)).last_seen
        while (await only_worker(docket)).last_seen < first + timedelta(seconds=0.2):
            pass

        assert await client.hget(name, "info") == b"what was told"


async def test_a_worker_that_was_fenced_tells_it_again_under_its_new_name(docket: Docket) -> None:
    async with Worker(docket, name="one") as worker, at_work(worker):
        fenced = worker.consumer
        began = (await only_worker(docket)).process
        await worker.adopt(fenced, blame=NOBODY)
        await until(lambda: worker.consumer != fenced)
        client = docket.connections.client()
        while not await client.exists(docket.keys.worker_info(worker.consumer)):
            pass
        again = (await only_worker(docket)).process

    assert began is not None
    assert again is not None
    assert again.started_at == began.started_at, "it works on since it began"


@pytest.mark.parametrize("how", ["of another type", "too long", "none of ours"])
async def test_what_somebody_else_wrote_is_left_out_and_told_again(
    docket: Docket, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Worker(docket, name="one") as worker, at_work(worker):
        client = docket.connections.client()
        name = docket.keys.worker_info(worker.consumer)
        if how == "of another type":
            await client.delete(name)
            await client.lpush(name, "x")
        else:
            written = "x" * (MOST_BYTES + 1) if how == "too long" else '{"host": 1}'
            await client.hset(name, "info", written)
        info = await only_worker(docket)
        assert (info.name, info.process) == ("one", None)

        monkeypatch.setattr(heartbeater, "REPORT_SECONDS", 0.0)
        while (await only_worker(docket)).process is None:
            pass
