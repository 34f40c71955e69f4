"""A load that costs the machine next to nothing beside the pool that carries it.

Nothing is added while it could be measured: a backlog waits before the pool, which is topped up
five times a second with one call, and the fate of a task is read from the history that the tasks
write. The tasks mostly wait. The cost of the whole generator is reported beside the figures.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from uuid import uuid4

from docket import Docket, TaskCall
from stress import tasks
from stress.history import Tail
from stress.runtime.run_log import RunLog
from stress.waiting import in_background, repeat

#: Between two looks at the history.
LOOK_SECONDS = 0.2
#: Tasks that wait for each slot of the pool: a second of work, so that a look may come late.
BACKLOG_PER_SLOT = 6

#: The share of long tasks.
LONG_SHARE = 0.2
SHORT_SECONDS = (0.005, 0.05)
LONG_SECONDS = (0.2, 1.2)

#: For everything that was added to end, once nothing more is.
END_SECONDS = 60.0


class Load:
    """Short and long tasks for a pool, and their fate.

    Arguments:
        docket: to which they are added.
        folder: of the history that they write.
        chance: decides their lengths.
        slots: tasks that the pool runs at once.
    """

    def __init__(self, docket: Docket, folder: Path, chance: random.Random, slots: int) -> None:
        self._docket = docket
        self._chance = chance
        self._backlog = BACKLOG_PER_SLOT * slots
        self._tail, self._log = Tail(folder, "runs"), RunLog()
        self.keys: list[str] = []
        #: CPU of this process while there was a load, in percent of a core.
        self.generator_cpu_percent = 0.0
        #: Tasks that have not ended long after they should have.
        self.lost: set[str] = set()

    @property
    def log(self) -> RunLog:
        """Everything that was noted until now."""
        self._log.add(self._tail.read())
        return self._log

    async def add(self, count: int) -> None:
        """Add tasks, with one call."""
        keys = [uuid4().hex for _ in range(count)]
        self.keys += keys
        await self._docket.add_many(map(self._call, keys))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep the pool busy during the block, and wait for the end of every task after it."""
        await self._top_up()
        began, cpu = time.monotonic(), time.process_time()
        try:
            async with in_background(repeat(self._top_up, LOOK_SECONDS)):
                yield
        finally:
            used = time.process_time() - cpu
            self.generator_cpu_percent = used / (time.monotonic() - began) * 100
        await self.settle()

    async def settle(self) -> None:
        """Wait for the end of every task; those that do not end are `lost`."""
        self.lost = await self.unended(self.keys, END_SECONDS)

    async def unended(self, keys: Iterable[str], seconds: float) -> set[str]:
        """Wait until each of these has ended, and return those that have not within `seconds`."""
        left = self.log.unfinished(keys)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS / 4)
            left = self.log.unfinished(left)
        return left

    async def _top_up(self) -> None:
        missing = self._backlog - (len(self.keys) - self.log.begun)
        if missing > 0:
            await self.add(missing)

    def _call(self, key: str) -> TaskCall:
        if self._chance.random() < LONG_SHARE:
            task, lengths = tasks.long, LONG_SECONDS
        else:
            task, lengths = tasks.short, SHORT_SECONDS
        return self._docket.call(task, key=key)(self._chance.uniform(*lengths))
