"""Drain: the speed at which one worker process empties a backlog, beside the baseline."""

import asyncio
import time

import psutil

from docket import Docket, Worker
from stress.bench import baseline
from stress.bench.child import measure
from stress.command import Settings
from stress.report import Figure, Limit, Report
from stress.server import docket_name
from stress.tasks import no_op

FILL_CHUNK = 1000

#: Of the baseline, at least.
TARGET_RATIO = 0.5
#: Pipeline, wake-up listener, subscriber, heartbeater: whatever the concurrency.
TARGET_CONNECTIONS = 4

#: After the start of a drain its connections are counted, all being open by then.
AMID_SECONDS = 0.2


async def fill(url: str, name: str, count: int) -> None:
    """Part: add `count` no-op tasks; `enqueue` measures that, not this."""
    async with Docket(name, url) as docket:
        docket.register(no_op)
        for start in range(0, count, FILL_CHUNK):
            adds = range(start, min(start + FILL_CHUNK, count))
            await asyncio.gather(*(docket.add(no_op)() for _ in adds))


async def library(url: str, name: str, count: int, concurrency: int) -> tuple[float, int]:
    """Part: measure the seconds for one worker to run the `count` tasks of `name`.

    Its connections are counted as well.

    Raises:
        RuntimeError: it ran another number of tasks.
    """
    before, during = _sockets(), list[int]()
    async with Docket(name, url) as docket:
        docket.register(no_op)
        async with Worker(docket, concurrency=concurrency) as worker:
            asyncio.get_running_loop().call_later(AMID_SECONDS, lambda: during.append(_sockets()))
            started = time.perf_counter()
            await worker.run_until_finished()
            seconds = time.perf_counter() - started
            if worker.counters.succeeded != count:
                raise RuntimeError(f"{worker.counters.succeeded} of {count} tasks succeeded")
            return seconds, max(during, default=_sockets()) - before


def _sockets() -> int:
    return len(psutil.Process().net_connections("all"))


async def library_rate(url: str, count: int, concurrency: int) -> tuple[float, int]:
    """Measure the tasks a second of one worker process, and its connections."""
    async with docket_name(url) as name:
        await measure(fill, url=url, name=name, count=count)
        seconds, connections = await measure(
            library, url=url, name=name, count=count, concurrency=concurrency
        )
    return count / seconds, connections


async def run(url: str, settings: Settings) -> Report:
    """Measure library and baseline in alternating rounds, so that a busy minute slows both."""
    rounds, count = settings.rounds, settings.count
    figures: list[Figure] = []
    for concurrency in settings.concurrencies:
        floors: list[float] = []
        libraries: list[float] = []
        connections: list[float] = []
        for _ in range(rounds):
            floors.append(await baseline.rate(url, count, concurrency))
            rate, held = await library_rate(url, count, concurrency)
            libraries.append(rate)
            connections.append(held)
        ratios = [ours / least for ours, least in zip(libraries, floors, strict=True)]
        at = f"concurrency {concurrency}"
        figures += [
            Figure(f"floor, {at}", floors, "tasks/s"),
            Figure(f"library, {at}", libraries, "tasks/s"),
            Figure(f"library / floor, {at}", ratios, "", Limit("median", at_least=TARGET_RATIO)),
            Figure(
                f"connections, {at}", connections, "", Limit("median", at_most=TARGET_CONNECTIONS)
            ),
        ]
    return Report("drain", {"tasks": count, "rounds": rounds}, figures)
