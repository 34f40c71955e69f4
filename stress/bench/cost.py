"""Cost: the CPU, memory, connections and messages of tasks and workers, for `docs/scale.md`."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.asyncio import Redis

from docket import Docket, Worker
from stress.bench.child import measure
from stress.bench.metering import Spent, library, spent_by
from stress.command import Settings
from stress.report import Figure, Report
from stress.server import docket_name
from stress.soak.cost import metered
from stress.tasks import no_op
from stress.waiting import in_background

#: Tasks whose memory is measured: enough that the first growth of a stream does not show.
WEIGHED = 2_000
CONCURRENCY = 100
#: Length of the observation of an idle worker.
IDLE_SECONDS = 5.0
#: After its start, until it no longer shows.
SETTLE_SECONDS = 1.0


async def doomed() -> None:
    """Fail: what is kept of that is measured."""
    raise ValueError("doomed")


async def _held(client: Redis) -> int:
    return (await client.info("memory"))["used_memory"]


async def _connected(client: Redis) -> int:
    return (await client.info("clients"))["connected_clients"]


async def _published(client: Redis) -> int:
    stats = await client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("publish", "spublish"))


async def waiting_bytes(url: str, name: str, scheduled: bool) -> float:
    """Part: measure the bytes of the server for a task that waits, or is scheduled."""
    later = datetime.now(UTC) + timedelta(hours=1) if scheduled else None
    async with Docket(name, url) as docket, Redis.from_url(url) as client:
        docket.register(no_op)
        await docket.add(no_op, when=later)()
        before = await _held(client)
        await docket.add_many(docket.call(no_op, when=later)() for _ in range(WEIGHED))
        return (await _held(client) - before) / WEIGHED


async def ended_bytes(url: str, name: str, fails: bool) -> dict[str, float]:
    """Part: measure the bytes for a record that is kept after a run, and the messages of a task.

    Of tasks that fail only the failure is kept, not the record beside it. All messages are
    published, since there is a subscription to a pattern; it matches none, and so costs no memory.
    """
    logging.disable(logging.ERROR)  # two thousand failures, on purpose
    ttl = timedelta(0) if fails else timedelta(minutes=15)
    function = doomed if fails else no_op
    async with (
        Docket(name, url, execution_ttl=ttl) as docket,
        Redis.from_url(url) as client,
        client.pubsub() as subscription,
    ):
        await subscription.psubscribe("nothing")
        docket.register(function)
        async with Worker(docket, concurrency=CONCURRENCY) as worker:
            await docket.add(function)()
            await worker.run_until_finished()
            before, messages = await _held(client), await _published(client)
            await docket.add_many(docket.call(function)() for _ in range(WEIGHED))
            await worker.run_until_finished()
            held, told = await _held(client) - before, await _published(client) - messages
    return {"bytes": held / WEIGHED, "messages": told / WEIGHED}


async def standing(url: str, name: str) -> dict[str, float]:
    """Part: count the connections of a producer and a worker, and the server's CPU while idle."""
    async with Redis.from_url(url) as client:
        alone = await _connected(client)
        async with Docket(name, url) as docket:
            docket.register(no_op)
            await docket.add(no_op)()
            producer = await _connected(client) - alone
            async with (
                Worker(docket, concurrency=CONCURRENCY) as worker,
                in_background(worker.run_forever()),
            ):
                await asyncio.sleep(SETTLE_SECONDS)
                together = await _connected(client) - alone
                async with metered(client, 1) as cost:
                    await asyncio.sleep(IDLE_SECONDS)
    used = cost.server / cost.wall * 1e6
    return {"producer": producer, "worker": together, "server": used}


async def _on_its_own(url: str, part: Any, **arguments: object) -> Any:
    async with docket_name(url) as name:
        return await measure(part, url=url, name=name, **arguments)


def _cpu(name: str, found: list[Spent], work: str) -> list[Figure]:
    return [
        Figure(f"{name}: {what}", [each[work][what] for each in found], "us")
        for what in ("CPU of the process", "CPU of the server")
    ]


async def run(url: str, settings: Settings) -> Report:
    """Measure CPU in rounds, and once what hardly varies; nobody else may use the server."""
    figures: list[Figure] = []
    for concurrency in settings.concurrencies:
        found = [
            await spent_by(library, url, settings.count, concurrency)
            for _ in range(settings.rounds)
        ]
        if not figures:
            figures += _cpu("add one by one", found, "add one by one")
            figures += _cpu("add in bulk", found, "add in bulk")
        figures += _cpu(f"run, concurrency {concurrency}", found, "run")
    ended = await _on_its_own(url, ended_bytes, fails=False)
    failed = await _on_its_own(url, ended_bytes, fails=True)
    waits = await _on_its_own(url, waiting_bytes, scheduled=False)
    later = await _on_its_own(url, waiting_bytes, scheduled=True)
    stands = await _on_its_own(url, standing)
    figures += [
        Figure("a task that waits", [waits], "bytes"),
        Figure("a task that is scheduled", [later], "bytes"),
        Figure("the record of one that has ended", [ended["bytes"]], "bytes"),
        Figure("a failure that is kept", [failed["bytes"]], "bytes"),
        Figure("messages of a task", [ended["messages"]]),
        Figure("connections of a producer", [stands["producer"]]),
        Figure("connections of a worker", [stands["worker"]]),
        Figure("an idle worker: CPU of the server", [stands["server"]], "us/s"),
    ]
    return Report("cost", {"tasks": settings.count, "rounds": settings.rounds}, figures)
