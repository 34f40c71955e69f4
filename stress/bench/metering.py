"""The cost of a task on both sides, of the library beside that of the floor.

CPU is counted by the kernel, that of the server by its INFO: a crowded machine changes it less than
it changes a rate. One process adds and then runs the tasks of a round.
"""

from typing import Any

from redis.asyncio import Redis

from docket import Docket, Worker
from stress.bench import baseline
from stress.bench.child import Part, measure
from stress.server import docket_name
from stress.soak.cost import Cost, metered
from stress.tasks import no_op

#: Adds of one call: the default of `add_many`.
CHUNK = 1_000
#: Of the tasks of a round, one in so many is added by a call of its own.
SINGLE_SHARE = 10

#: Of each work: CPU of the part's process and of the server for a task, in microseconds; tasks a
#: second.
Spent = dict[str, dict[str, float]]


def _spent(cost: Cost) -> dict[str, float]:
    each = cost.tasks * 1e-6
    return {
        "CPU of the process": cost.ours / each,
        "CPU of the server": cost.server / each,
        "rate": cost.tasks / cost.wall,
    }


async def library(url: str, name: str, count: int, concurrency: int) -> Spent:
    """Part: add no-op tasks to docket `name`, one by one and in bulk, and run them.

    Raises:
        RuntimeError: it ran another number of tasks.
    """
    few = max(count // SINGLE_SHARE, 1)
    async with Docket(name, url) as docket, Redis.from_url(url) as client:
        docket.register(no_op)
        await docket.add(no_op)()  # connects
        async with metered(client, few) as single:
            for _ in range(few):
                await docket.add(no_op)()
        async with metered(client, count) as bulk:
            await docket.add_many((docket.call(no_op)() for _ in range(count)), chunk_size=CHUNK)
        async with Worker(docket, concurrency=concurrency) as worker:
            async with metered(client, count + few + 1) as run:
                await worker.run_until_finished()
            if worker.counters.succeeded != run.tasks:
                raise RuntimeError(f"{worker.counters.succeeded} of {run.tasks} tasks succeeded")
    return {"add one by one": _spent(single), "add in bulk": _spent(bulk), "run": _spent(run)}


async def floor(url: str, name: str, count: int, concurrency: int) -> Spent:
    """Part: do the same with the bare script and the bare worker of the floor."""
    few = max(count // SINGLE_SHARE, 1)
    async with Redis.from_url(url) as client:
        await baseline.fill(url, name, 1)
        async with metered(client, few) as single:
            await baseline.fill(url, name, few, at_once=1)
        async with metered(client, count) as bulk:
            await baseline.fill(url, name, count, at_once=CHUNK)
        async with metered(client, count + few + 1) as run:
            await baseline.drain(url, name, run.tasks, concurrency)
    return {"add one by one": _spent(single), "add in bulk": _spent(bulk), "run": _spent(run)}


async def spent_by(part: Part, url: str, count: int, concurrency: int) -> Spent:
    """Measure one of the two parts in a process and on a docket of its own."""
    async with docket_name(url) as name:
        found: Any = await measure(part, url=url, name=name, count=count, concurrency=concurrency)
        return found


async def both(url: str, count: int, concurrency: int) -> tuple[Spent, Spent]:
    """Measure one round of the floor, and then of the library."""
    least = await spent_by(floor, url, count, concurrency)
    return least, await spent_by(library, url, count, concurrency)
