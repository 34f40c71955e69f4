"""A load of tasks on a docket while something happens to its server: what was added must end."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from docket import Docket, Execution, Worker
from docket.errors import ServerUnavailable
from tests.support.dockets import at_work

#: An election takes seconds, and more on a machine that is busy otherwise.
PATIENCE = timedelta(seconds=40)


class Load:
    """Made by `loaded`.

    Attributes:
        runs: how often each task ran to its end.
        docket: where they are.
    """

    def __init__(self, docket: Docket) -> None:
        self.docket = docket
        self.runs: Counter[int] = Counter()
        self._executions: dict[int, Execution] = {}
        self._progress = asyncio.Event()

    async def task(self, number: int) -> int:
        """What runs: long enough for some to be under way at any moment."""
        await asyncio.sleep(0.02)
        self.runs[number] += 1
        self._progress.set()
        return -number

    async def add(self, numbers: range) -> None:
        """Add tasks, each again until it is told that it is there."""
        await asyncio.gather(*[self._add(number) for number in numbers])

    async def _add(self, number: int) -> None:
        while True:
            try:
                add = self.docket.add(self.task, key=f"task-{number}")
                self._executions[number] = await add(number)
                return
            except ServerUnavailable:
                # It has waited as long as a caller can be made to wait; a second call waits on.
                continue

    async def has_run(self, count: int) -> None:
        """Returns when so many runs have ended."""
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while self.runs.total() < count:
                self._progress.clear()
                await self._progress.wait()

    async def all_end_well(self) -> None:
        """Every task that was added has its result, and nothing is left over."""
        results = await asyncio.gather(*[e.get_result(timeout=PATIENCE) for e in self._all()])
        assert results == [-number for number in self._executions]
        assert set(self.runs) == set(self._executions)

    def _all(self) -> list[Execution]:
        return list(self._executions.values())


@asynccontextmanager
async def loaded(
    name: str, url: str, tasks: int, lease: timedelta = timedelta(seconds=3)
) -> AsyncGenerator[Load]:
    """A worker in the middle of so many tasks, the first of which have ended."""
    # A worker is taken for dead no sooner than its leases end: a failover on a busy machine may
    # last longer than the ten seconds that five missed heartbeats make.
    heartbeats = max(5, int(lease.total_seconds() / 2))
    async with Docket(name, url, missed_heartbeats=heartbeats) as docket:
        load = Load(docket)
        docket.register(load.task, names=["task"])
        await load.add(range(tasks))
        worker = Worker(docket, concurrency=10, redelivery_timeout=lease)
        async with at_work(worker):
            await load.has_run(tasks // 10)
            yield load


async def meanwhile(load: Load, happens: Callable[[], Awaitable[None]], numbers: range) -> None:
    """Something happens while tasks are added."""
    async with asyncio.TaskGroup() as group:
        group.create_task(happens())
        group.create_task(load.add(numbers))
