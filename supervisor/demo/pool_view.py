"""The pool of the demo as an onlooker sees it: who is ready, who died, what was delivered again."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from docket import Execution, ExecutionState
from supervisor.observer import (
    AdoptionFinished,
    FirstRedelivered,
    PoolEvent,
    PoolReady,
    ServerStarted,
    WorkerDied,
    WorkerReady,
)


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that the demo killed, at `at` seconds of the monotonic clock."""

    slot: int
    pid: int
    running: int
    at: float


class PoolView:
    """Takes in the events of a Supervisor, on its loop.

    Arguments:
        say: tells a person in one line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        #: Workers that are ready, by name.
        self._ready: dict[str, WorkerReady] = {}
        self._url: str | None = None
        self._pool_ready = asyncio.Event()
        self._adopted = asyncio.Event()
        self._redelivered = asyncio.Event()
        self.kill: Kill | None = None
        #: Tasks of dead workers that were put back.
        self.moved = 0
        #: From the kill to the first start of one of its tasks anew.
        self.redelivered_seconds: float | None = None
        #: Workers that died without the demo's doing.
        self.other_deaths = 0

    def __call__(self, event: PoolEvent) -> None:
        """Take in one event."""
        match event:
            case ServerStarted(url):
                self._url = url
            case WorkerReady(slot, pid, name):
                self._ready[name] = event
                if self._pool_ready.is_set():
                    self._say(f"worker {slot} is back, pid {pid}")
            case PoolReady():
                self._pool_ready.set()
            case WorkerDied(pid=pid, name=name, expected=expected):
                self._ready.pop(name, None)
                self.other_deaths += not expected and (self.kill is None or pid != self.kill.pid)
            case AdoptionFinished():
                self._count_moved(event)
            case FirstRedelivered():
                self._time_redelivery(event)
            case _:
                pass

    async def ready(self) -> str:
        """Wait until every worker is ready; the URL of the server."""
        await self._pool_ready.wait()
        assert self._url is not None  # the server is up before a worker can be
        return self._url

    def pids(self) -> list[int]:
        """Of the workers that are ready, by slot."""
        return [each.pid for each in sorted(self._ready.values(), key=lambda each: each.slot)]

    def kill_busiest(self, executions: Iterable[Execution | None]) -> Kill | None:
        """SIGKILL the worker that runs most of `executions`; None if none runs any.

        Arguments:
            executions: read from their records just now.
        """
        running = Counter(
            each.worker
            for each in executions
            if each is not None and each.state is ExecutionState.RUNNING and each.worker
        )
        for name, tasks in running.most_common():
            worker = self._ready.get(name)
            if worker is not None:
                kill = Kill(worker.slot, worker.pid, tasks, time.monotonic())
                os.kill(worker.pid, signal.SIGKILL)
                self.kill = kill
                return kill
        return None

    async def settled(self) -> None:
        """After a kill: wait until what the dead worker ran is known, and has started again."""
        if self.kill is not None:
            await self._adopted.wait()
            if self.moved:
                await self._redelivered.wait()

    def _count_moved(self, event: AdoptionFinished) -> None:
        self.moved += event.moved
        kill = self.kill
        if kill is not None and event.slot == kill.slot and event.at > kill.at:
            self._adopted.set()

    def _time_redelivery(self, event: FirstRedelivered) -> None:
        kill = self.kill
        if kill is None or event.slot != kill.slot or self._redelivered.is_set():
            return
        self._redelivered.set()
        self.redelivered_seconds = event.started_at - kill.at
        after = f"{self.redelivered_seconds * 1000:.0f} ms after the kill"
        self._say(f"the first of its files started again, {after}")
