"""Workers that are killed while they hold slots and wait for them: nothing is exceeded or lost."""

import asyncio
import signal
import sys
from datetime import timedelta

import pytest

from docket import ConcurrencyLimit, CurrentExecution, Docket, Execution, Worker
from tests.support.dockets import at_work, result_of
from tests.support.limits import leftovers
from tests.support.store import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

#: Tasks write their runs down in Redis, where they are read from outside.
WORKER = """
import asyncio, sys
from tests.slow.test_limits_deaths import work

asyncio.run(work(sys.argv[1], sys.argv[2]))
"""


async def task(
    i: int,
    ledger: str,
    url: str,
    seconds: float,
    limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=3),
    execution: Execution = CurrentExecution(),
) -> int:
    async with Docket("ledger", url) as docket:
        client = docket.connections.client()
        await client.rpush(ledger, f"+{i}")
        await asyncio.sleep(0.01 if execution.redelivered else seconds)
        await client.rpush(ledger, f"-{i}")
    return i


async def work(url: str, docket_name: str) -> None:
    async with Docket(docket_name, url) as docket, Worker(docket, concurrency=5) as worker:
        docket.register(task)
        sys.stdout.write(f"{worker.consumer}\n")
        sys.stdout.flush()
        await worker.run_forever()


async def killed_while_busy(docket: Docket, url: str, ledger: str, busy: int) -> str:
    """The consumer of a worker process that was killed when it had begun so many runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, url, docket.name, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    consumer = (await process.stdout.readline()).decode().strip()
    client = docket.connections.client()

    async def is_busy() -> bool:
        return await client.llen(ledger) >= busy

    await until(is_busy)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    return consumer


async def test_slots_of_killed_workers_are_given_on_and_nobody_is_forgotten(
    server: str, docket_name: str
) -> None:
    async with Docket(docket_name, server, heartbeat_interval=timedelta(minutes=1)) as docket:
        docket.register(task)
        client = docket.connections.client()
        ledger = docket.key("ledger")
        killed = [await docket.add(task)(i, ledger, server, 3600) for i in range(3)]
        waiting = [await docket.add(task)(i, ledger, server, 0.01) for i in range(3, 30)]
        dead = await killed_while_busy(docket, server, ledger, busy=3)
        assert sorted(await client.lrange(ledger, 0, -1)) == [b"+0", b"+1", b"+2"]
        held = await client.hlen(docket.keys.slots("task"))
        await client.delete(ledger)

        async with Worker(docket, concurrency=20) as worker, at_work(worker):
            # Until the dead one is adopted its slots are taken: its runs might go on.
            newcomer = await docket.add(task)(99, ledger, server, 0.01)
            assert held == 3
            assert await client.llen(ledger) == 0
            adoption = await worker.adopt(dead)
            assert [await result_of(e) for e in (*killed, *waiting)] == list(range(30))
            assert await result_of(newcomer) == 99

        # The three, and what it had claimed and not asked for a slot yet.
        assert 3 <= adoption.moved <= 5
        lines = [line.decode() for line in await client.lrange(ledger, 0, -1)]
        running = peak = 0
        for line in lines:
            running += 1 if line[0] == "+" else -1
            peak = max(peak, running)
        assert peak == 3
        assert sorted(line for line in lines if line[0] == "+") == sorted(
            f"+{i}" for i in (*range(30), 99)
        )
        await client.delete(ledger)
        assert await leftovers(docket) == set()
