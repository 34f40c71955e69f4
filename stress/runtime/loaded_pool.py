"""A pool under a load, with the events that its supervisor's observer received."""

import asyncio
import contextlib
import os
import random
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from docket import Docket
from stress import tasks
from stress.history import FOLDER_VARIABLE
from stress.pool import SupervisorProcess, pool
from stress.runtime.capacity import ready_workers
from stress.runtime.load import Load
from stress.runtime.observed_supervisor import decode
from stress.server import docket_name
from supervisor.observer import PoolEvent, WorkerReady

#: Of each worker.
CONCURRENCY = 10

E = TypeVar("E", bound=PoolEvent)


class EventMissing(RuntimeError):
    """The runtime did not do something in time."""


class Events:
    """The events that the observer received, in order."""

    def __init__(self) -> None:
        self.seen: list[PoolEvent] = []
        self._more = asyncio.Event()

    async def read(self, pipe: int) -> None:
        """Read events from a pipe until it ends, and close it."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb")
        )
        try:
            async for line in reader:
                self.seen.append(decode(line))
                self._more.set()
        finally:
            transport.close()

    def ready(self) -> list[WorkerReady]:
        """The workers that are ready and not known to be dead."""
        return ready_workers(self.seen)

    async def first(
        self, kind: type[E], since: int, seconds: float, where: Callable[[E], bool] | None = None
    ) -> E:
        """Wait for the first event of a kind after the first `since` ones.

        Raises:
            EventMissing: there was none within `seconds`.
        """
        at = since
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for event in self.seen[at:]:
                        if isinstance(event, kind) and (where is None or where(event)):
                            return event
                    at = len(self.seen)
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            late = self.seen[since:]
            raise EventMissing(f"no {kind.__name__} within {seconds:g} s, but {late}") from None


@dataclass
class LoadedPool:
    """A ready pool, and the load that is prepared for it."""

    running: SupervisorProcess
    events: Events
    load: Load


@contextlib.asynccontextmanager
async def loaded_pool(
    url: str, *, processes: int, chance: random.Random, options: dict[str, str]
) -> AsyncGenerator[LoadedPool]:
    """Run a pool for a load of short and long tasks; it is drained after the block.

    Arguments:
        chance: decides the tasks.
        options: of docket-supervisor.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with docket_name(url) as name, Docket(name, url) as docket:
            for task in tasks.load:
                docket.register(task)
            async with _observed_pool(url, name, processes, options, folder) as (running, events):
                load = Load(docket, Path(folder), chance, processes * CONCURRENCY)
                yield LoadedPool(running, events, load)


@contextlib.asynccontextmanager
async def _observed_pool(
    url: str, name: str, processes: int, options: dict[str, str], folder: str
) -> AsyncGenerator[tuple[SupervisorProcess, Events]]:
    read, write = os.pipe()
    events = Events()
    reading = asyncio.create_task(events.read(read))
    try:
        async with pool(
            url,
            name,
            processes=processes,
            tasks="stress.tasks:load",
            concurrency=CONCURRENCY,
            options=options,
            variables={FOLDER_VARIABLE: folder},
            program=(sys.executable, "-m", "stress.runtime.observed_supervisor", str(write)),
            pass_fds=(write,),
        ) as running:
            yield running, events
    finally:
        os.close(write)
        await reading
