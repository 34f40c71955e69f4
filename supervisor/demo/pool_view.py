"""The pool of the demo from outside: ready workers, deaths, and what followed the kill."""

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
from supervisor.text.plurals import pluralize


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that the demo killed, at `at` seconds of the monotonic clock."""

    slot: int
    pid: int
    running: int
    at: float


class PoolView:
    """Take in the events of a Supervisor, on its loop.

    Arguments:
        write_line: writes a line for the user.
    """

    def __init__(self, write_line: Callable[[str], None]) -> None:
        self._write_line = write_line
        #: Workers that are ready, by name.
        self._ready: dict[str, WorkerReady] = {}
        self._url = ""
        self._pool_ready = asyncio.Event()
        self._adopted = asyncio.Event()
        self._redelivered = asyncio.Event()
        self.kill: Kill | None = None
        #: Tasks of dead workers that were adopted.
        self.moved = 0
        #: Tasks that the killed worker was in the middle of, by their records. An adopter that has
        #: moved some may report it only after another one that found nothing left.
        self.interrupted_tasks = 0
        #: From the kill to the first restart of one of its tasks.
        self.redelivered_seconds: float | None = None
        #: Workers that died, the killed one left out.
        self.other_deaths = 0

    def __call__(self, event: PoolEvent) -> None:
        """Take in one event."""
        kill = self.kill
        match event:
            case ServerStarted(url):
                self._url = url
            case WorkerReady(slot, pid, name):
                self._ready[name] = event
                if self._pool_ready.is_set():
                    self._write_line(f"worker {slot} is back, pid {pid}")
            case PoolReady():
                self._pool_ready.set()
            case WorkerDied(pid=pid, name=name, expected=expected):
                self._ready.pop(name, None)
                self.other_deaths += not expected and (kill is None or pid != kill.pid)
            case AdoptionFinished(slot=slot, moved=moved, at=at):
                self.moved += moved
                if kill is not None and slot == kill.slot and at > kill.at:
                    self._adopted.set()
            case FirstRedelivered(slot=slot, started_at=started_at):
                if kill is not None and slot == kill.slot and self.redelivered_seconds is None:
                    self._time_redelivery(started_at - kill.at)
            case _:
                pass

    @property
    def redelivered(self) -> int:
        """The number of tasks that were redelivered, as far as anything has told of them."""
        started_again = self.redelivered_seconds is not None
        return max(self.moved, self.interrupted_tasks, int(started_again))

    async def ready(self) -> str:
        """Wait until every worker is ready; the URL of the server, which is up before them."""
        await self._pool_ready.wait()
        return self._url

    def pids(self) -> list[int]:
        """The pids of the workers that are ready, by slot."""
        return [each.pid for each in sorted(self._ready.values(), key=lambda each: each.slot)]

    def kill_busiest(self, executions: Iterable[Execution]) -> None:
        """SIGKILL the worker that runs most of `executions`, if any does.

        Arguments:
            executions: read from their records just now.
        """
        running = Counter(
            each.worker
            for each in executions
            if each.state is ExecutionState.RUNNING and each.worker
        )
        for name, tasks in running.most_common():
            worker = self._ready.get(name)
            if worker is not None:
                self.kill = Kill(worker.slot, worker.pid, tasks, time.monotonic())
                os.kill(worker.pid, signal.SIGKILL)
                self._write_line(
                    f"halfway: kill -9 {worker.pid} (worker {worker.slot}, "
                    f"in the middle of {pluralize(tasks, 'file')})"
                )
                return

    async def settled(self) -> None:
        """After a kill, wait until the tasks of the dead worker are adopted, and one restarted."""
        if self.kill is not None:
            await self._adopted.wait()
            if self.redelivered:
                await self._redelivered.wait()

    def _time_redelivery(self, seconds: float) -> None:
        self.redelivered_seconds = seconds
        self._redelivered.set()
        after = f"{seconds * 1000:.0f} ms after the kill"
        self._write_line(f"the first of its files started again, {after}")
