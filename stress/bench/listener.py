"""A worker process that notes when its tasks start, for the benches of time."""

import asyncio
import contextlib
import time

from docket import Docket, Worker


async def greet() -> None:
    """The first task of a round: when its result is there, the worker is ready."""


async def stamp(moment: float) -> None:
    """Registered by the producer; the listener runs its own of this name."""


def producer_tasks(docket: Docket) -> None:
    """Register what a producer adds for a listener."""
    docket.register(greet)
    docket.register(stamp)


class Stamps:
    """Collects how long after the moment in its argument each `stamp` started.

    Args:
        clock: what the producer's moments are of: `time.monotonic` counts alike in all processes of
            a machine, `time.time` is what due times are of.
        count: stamps to wait for.
    """

    def __init__(self, clock: str, count: int) -> None:
        self._clock = time.monotonic if clock == "monotonic" else time.time
        self._count = count
        self.late: list[float] = []
        self.complete = asyncio.Event()

    async def stamp(self, moment: float) -> None:
        self.late.append(self._clock() - moment)
        if len(self.late) == self._count:
            self.complete.set()


async def listen(url: str, name: str, clock: str, count: int, concurrency: int) -> list[float]:
    """Part: one worker that runs until it saw `count` stamps; seconds late, in order of start."""
    stamps = Stamps(clock, count)
    async with Docket(name, url) as docket:
        docket.register(greet)
        docket.register(stamps.stamp, names=["stamp"])
        async with Worker(docket, concurrency=concurrency) as worker:
            running = asyncio.create_task(worker.run_forever())
            await asyncio.wait(
                {running, asyncio.create_task(stamps.complete.wait())},
                return_when=asyncio.FIRST_COMPLETED,
            )
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
    return stamps.late
