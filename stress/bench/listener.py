"""A worker process that notes when its tasks start, for the measurements of latency."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from docket import Docket, Worker
from stress.bench.child import Part, beside, measure
from stress.report import Figure, Limit, percentile
from stress.server import docket_name
from stress.waiting import in_background

CONCURRENCY = 10

#: Between two adds, so that the worker is idle again: random, or it could fall in with a timer.
PAUSE_SECONDS = (0.005, 0.025)


async def greet() -> None:
    """Show with its result, as the first task of a round, that the worker is ready."""


async def stamp(moment: float) -> None:
    """Stand for the listener's own task of this name, for the producer that adds it."""


@asynccontextmanager
async def producing(url: str, name: str) -> AsyncGenerator[Docket]:
    """Open a docket to add tasks for a listener that is ready."""
    async with Docket(name, url) as docket:
        docket.register(greet)
        docket.register(stamp)
        ready = await docket.add("greet")()
        await ready.get_result(timeout=timedelta(seconds=20))
        yield docket


class Stamps:
    """The delay of each `stamp`: from the moment in its argument to its start.

    Arguments:
        clock: of the producer's moments: `monotonic` is the same in all processes of a machine,
            `time` is the clock of due times.
        count: stamps to wait for.
    """

    def __init__(self, clock: str, count: int) -> None:
        self._clock = time.monotonic if clock == "monotonic" else time.time
        self._count = count
        self.late: list[float] = []
        self.complete = asyncio.Event()

    async def stamp(self, moment: float) -> None:
        """Note the delay."""
        self.late.append(self._clock() - moment)
        if len(self.late) == self._count:
            self.complete.set()


async def listen(url: str, name: str, clock: str, count: int) -> list[float]:
    """Part: run one worker until it saw `count` stamps; the delays in seconds, in their order."""
    stamps = Stamps(clock, count)
    async with Docket(name, url) as docket:
        docket.register(greet)
        docket.register(stamps.stamp, names=["stamp"])
        async with (
            Worker(docket, concurrency=CONCURRENCY) as worker,
            in_background(worker.run_forever()),
        ):
            await stamps.complete.wait()
    return stamps.late


async def delays(
    url: str, clock: str, count: int, produce: Part, listener: Part = listen, **arguments: object
) -> list[float]:
    """Run a producer and a listener, each in a process of its own; the delays in milliseconds."""
    async with (
        docket_name(url) as name,
        beside(listener, url=url, name=name, clock=clock, count=count) as late,
    ):
        await measure(produce, url=url, name=name, count=count, **arguments)
        return [seconds * 1000 for seconds in await late]


def percentiles(rounds: Sequence[Sequence[float]], percent: int) -> list[float]:
    """The percentile of each round."""
    return [percentile(each, percent) for each in rounds]


def figures(what: str, rounds: Sequence[list[float]], p50_ms: float, p99_ms: float) -> list[Figure]:
    """The percentiles of the delays of each round, with their targets."""
    return [
        Figure(
            f"{what}, p{percent}",
            percentiles(rounds, percent),
            "ms",
            Limit("median", at_most=target),
        )
        for percent, target in ((50, p50_ms), (99, p99_ms))
    ]
