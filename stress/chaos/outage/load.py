"""The load of the pool before the outage, through it and after it."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from docket import Docket
from stress.chaos import task_kinds
from stress.history import Event, HistoryWriter

#: The duration of most tasks.
SHORT_SECONDS = 0.2
#: Tasks of each worker that end while the server is away, or after it: few of its slots, so that
#: the rest of the load is a full one however few workers there are.
LONG_TASKS_OF_EACH = 2
SCHEDULED_TASKS = 40
CHAINS = 8


class OutageLoad:
    """The tasks of an outage, added straight to the server, past the network.

    Arguments:
        docket: entered; the tasks of chaos are registered with it here.
        folder: of the history, to which every accepted key is written.
    """

    def __init__(self, docket: Docket, folder: Path) -> None:
        self._docket = docket
        self._history = HistoryWriter(folder, "adds")
        for task in task_kinds.tasks:
            docket.register(task)

    async def fill(self, lead: float, seconds: float, workers: int, backlog: int) -> None:
        """Add everything: tasks for the outage, and behind them enough to keep all workers busy.

        There are chains whose next link is due in the outage, long tasks that end in the middle of
        it or after it, and tasks that become due in it.

        Arguments:
            lead: seconds from now until the outage.
            seconds: of the outage.
            workers: of the pool.
            backlog: short tasks.
        """
        now = datetime.now(UTC)
        for number in range(CHAINS):
            key = f"chain:{number}"
            await self._docket.add(task_kinds.chain, key=key)()
            self._history.note("chain", Event.ACCEPTED, key)
        long_tasks = workers * LONG_TASKS_OF_EACH
        for number in range(long_tasks):
            await self._plain(f"long-{number}", lead + (seconds + 2.0) * number / long_tasks)
        for number in range(SCHEDULED_TASKS):
            due = now + timedelta(seconds=lead + seconds * (number + 1) / (SCHEDULED_TASKS + 1))
            await self._plain(f"due-{number}", 0.01, when=due)
        await asyncio.gather(
            *(self._plain(f"short-{number}", SHORT_SECONDS) for number in range(backlog))
        )

    async def _plain(self, name: str, seconds: float, when: datetime | None = None) -> None:
        key = f"plain:{name}"
        await self._docket.add(task_kinds.plain, when=when, key=key)(seconds)
        self._history.note("plain", Event.ACCEPTED, key)
