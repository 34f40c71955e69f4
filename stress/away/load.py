"""What the pool has to do, before the outage, through it and after it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from redis.exceptions import RedisError

from docket import Docket
from docket.errors import DocketError
from stress.chaos import kinds

Reply = TypeVar("Reply")

#: What most tasks take.
SHORT_SECONDS = 0.2
#: Tasks of each worker that end while the server is away, or after it: few of its slots, so that
#: the rest of the load is a full one however few workers there are.
LONG_TASKS_OF_EACH = 2
SCHEDULED_TASKS = 40
CHAINS = 8
ENDED = frozenset({"completed", "failed", "cancelled"})
_LOOK_SECONDS = 0.2


class Load:
    """Adds to a docket, and knows what has to end. Straight to the server, past the network.

    Arguments:
        docket: entered; the tasks of the chaos are registered with it here.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        self.keys: list[str] = []
        for task in kinds.tasks:
            docket.register(task)

    async def fill(self, lead: float, seconds: float, workers: int, backlog: int) -> None:
        """All of it: what the outage comes upon, and behind it enough to keep everyone busy.

        Chains whose next link is due in the outage, long tasks that end in the middle of it or
        after it, tasks that become due in it.

        Arguments:
            lead: seconds from now until the outage.
            seconds: how long it lasts.
            workers: of the pool.
            backlog: short tasks.
        """
        now = datetime.now(UTC)
        for number in range(CHAINS):
            await self._docket.add(kinds.chain, key=self._promised(f"chain:{number}"))()
        long_tasks = workers * LONG_TASKS_OF_EACH
        for number in range(long_tasks):
            await self._plain(f"long-{number}", lead + (seconds + 2.0) * number / long_tasks)
        for number in range(SCHEDULED_TASKS):
            due = now + timedelta(seconds=lead + seconds * (number + 1) / (SCHEDULED_TASKS + 1))
            await self._plain(f"due-{number}", 0.01, when=due)
        await asyncio.gather(
            *(self._plain(f"short-{number}", SHORT_SECONDS) for number in range(backlog))
        )

    async def ended(self) -> dict[str, str]:
        """How each key ended, once all have."""
        states: dict[str, str] = {}
        while left := [key for key in self.keys if key not in states]:
            for key in left:
                execution = await insist(lambda key=key: self._docket.get_execution(key))
                if execution is None or execution.state.value in ENDED:
                    states[key] = "lost" if execution is None else execution.state.value
            await asyncio.sleep(_LOOK_SECONDS)
        return states

    async def _plain(self, name: str, seconds: float, when: datetime | None = None) -> None:
        key = self._promised(f"plain:{name}")
        await self._docket.add(kinds.plain, when=when, key=key)(seconds)

    def _promised(self, key: str) -> str:
        self.keys.append(key)
        return key


async def insist(call: Callable[[], Awaitable[Reply]]) -> Reply:
    """Ask until there is an answer."""
    while True:
        try:
            return await call()
        except (DocketError, RedisError, OSError):
            await asyncio.sleep(_LOOK_SECONDS)
