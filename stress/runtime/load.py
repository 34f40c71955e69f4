"""A load that costs the machine next to nothing beside the pool that carries it.

Nothing is added while it could be measured: a backlog stands before the pool, which is topped up
five times a second with one call, and what became of a task is read from the file that the tasks
write. Most of what the tasks do is wait. What the whole generator costs is told beside the figures.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Iterable
from uuid import uuid4

from docket import Docket, TaskCall
from stress.runtime import tasks
from stress.runtime.ledger import Ledger, LedgerFile

#: Between two looks at the ledger.
LOOK_SECONDS = 0.2
#: Tasks that wait for each place of the pool: a second of work, so that a look may come late.
BACKLOG_PER_PLACE = 6

#: How many of the tasks are long.
LONG_SHARE = 0.2
SHORT_SECONDS = (0.005, 0.05)
LONG_SECONDS = (0.2, 1.2)

#: For everything that was added to end, once nothing more is.
END_SECONDS = 60.0


class Load:
    """Short and long tasks for a pool, and what became of them.

    Args:
        docket: where they are added.
        file: what they write.
        chance: decides their lengths.
        places: tasks that the pool runs at once.
    """

    def __init__(
        self, docket: Docket, file: LedgerFile, chance: random.Random, places: int
    ) -> None:
        self._docket = docket
        self._file = file
        self._chance = chance
        self._backlog = BACKLOG_PER_PLACE * places
        self.keys: list[str] = []
        #: What this process took of a CPU per second while there was a load, in percent.
        self.generator_cpu_percent = 0.0
        #: What has not ended long after it should have.
        self.lost: set[str] = set()

    @property
    def ledger(self) -> Ledger:
        """All that was written until now."""
        return self._file.read()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep the pool busy during the block, and see every task to its end after it."""
        await self._top_up()
        began, cpu = time.monotonic(), time.process_time()
        topping_up = asyncio.create_task(self._keep_topped_up())
        try:
            yield
        finally:
            used = time.process_time() - cpu
            self.generator_cpu_percent = used / (time.monotonic() - began) * 100
            topping_up.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await topping_up
        self.lost = await self.unended(self.keys, END_SECONDS)

    async def unended(self, keys: Iterable[str], seconds: float) -> set[str]:
        """Wait until each of these has ended somewhere; those that have not within `seconds`."""
        left = self.ledger.unfinished(keys)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS / 4)
            left = self.ledger.unfinished(left)
        return left

    async def _keep_topped_up(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._top_up()

    async def _top_up(self) -> None:
        missing = self._backlog - (len(self.keys) - self.ledger.begun)
        if missing <= 0:
            return
        keys = [uuid4().hex for _ in range(missing)]
        self.keys += keys
        await self._docket.add_many(map(self._call, keys))

    def _call(self, key: str) -> TaskCall:
        if self._chance.random() < LONG_SHARE:
            task, lengths = tasks.long, LONG_SECONDS
        else:
            task, lengths = tasks.short, SHORT_SECONDS
        call = self._docket.call(task, key=key)
        return call(str(self._file.path), self._chance.uniform(*lengths))
