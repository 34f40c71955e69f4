"""A pool under a load, with the events that its supervisor's observer saw."""

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
from stress.bench.pool import Pool, pool
from stress.bench.server import docket_name
from stress.runtime import tasks
from stress.runtime.capacity import ready_workers
from stress.runtime.ledger import LedgerFile
from stress.runtime.load import Load
from stress.runtime.watched import decode
from supervisor.observer import PoolEvent, WorkerReady

#: Of each worker.
CONCURRENCY = 10

E = TypeVar("E", bound=PoolEvent)


class EventMissing(RuntimeError):
    """Something that the runtime should have done did not happen in time."""


class Events:
    """What the observer saw, in order."""

    def __init__(self) -> None:
        self.seen: list[PoolEvent] = []
        self._more = asyncio.Event()

    async def read(self, pipe: int) -> None:
        """Take in what comes until the pipe ends; it is closed then."""
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
        """The first event of that kind after the first `since` ones.

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
    """A pool that is ready and busy."""

    running: Pool
    events: Events
    load: Load


@contextlib.asynccontextmanager
async def loaded_pool(
    url: str, *, processes: int, chance: random.Random, options: dict[str, str]
) -> AsyncGenerator[LoadedPool]:
    """A pool under a load of short and long tasks, drained and ended after the block.

    Args:
        chance: decides what tasks there are.
        options: of docket-supervisor.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = LedgerFile(Path(folder, "ledger"))
        with contextlib.closing(file):
            async with docket_name(url) as name, Docket(name, url) as docket:
                for task in tasks.load:
                    docket.register(task)
                async with watched_pool(url, name, processes, options) as (running, events):
                    load = Load(docket, file, chance, processes * CONCURRENCY)
                    yield LoadedPool(running, events, load)


@contextlib.asynccontextmanager
async def watched_pool(
    url: str, name: str, processes: int, options: dict[str, str]
) -> AsyncGenerator[tuple[Pool, Events]]:
    """A pool whose observer's events come here."""
    read, write = os.pipe()
    events = Events()
    reading = asyncio.create_task(events.read(read))
    try:
        async with pool(
            url,
            name,
            processes=processes,
            tasks="stress.runtime.tasks:load",
            concurrency=CONCURRENCY,
            options=options,
            program=(sys.executable, "-m", "stress.runtime.watched", str(write)),
            pass_fds=(write,),
        ) as running:
            yield running, events
    finally:
        os.close(write)
        await reading
