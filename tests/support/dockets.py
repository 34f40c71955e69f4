"""Dockets and workers for tests: opened, run in the background, and ended with the test."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from docket import Docket, Execution, Worker
from docket.backlog import Backlog
from docket.supervision import Unsupervised

#: Nothing here takes a second; this is where a test that hangs ends.
PATIENCE = timedelta(seconds=20)


def knowing(docket: Docket, tasks: Iterable[Callable[..., Any]]) -> Docket:
    """The docket, not opened yet, with these tasks registered."""
    for task in tasks:
        docket.register(task)
    return docket


async def warm_up(docket: Docket) -> None:
    """Have the server know the script that adds, whose first call there is sent twice."""

    async def nothing() -> None: ...

    await docket.wait_for_strikes_loaded()
    await docket.add(nothing, datetime.now(UTC) + timedelta(hours=1))()
    await docket.clear()


class Told(Unsupervised):
    """What a worker told its runtime."""

    def __init__(self) -> None:
        self.is_ready = asyncio.Event()
        self.is_waiting = asyncio.Event()
        self.is_draining = asyncio.Event()
        self.reasons: list[str] = []
        self.redeliveries: list[str] = []
        self.backlogs: asyncio.Queue[Backlog] = asyncio.Queue()

    def ready(self) -> None:
        self.is_ready.set()

    def waiting(self, reason: str) -> None:
        self.reasons.append(reason)
        self.is_waiting.set()

    def redelivered(self, consumer: str, started_at: float) -> None:
        self.redeliveries.append(consumer)

    def draining(self) -> None:
        self.is_draining.set()

    def backlog(self, backlog: Backlog) -> None:
        self.backlogs.put_nowait(backlog)


@asynccontextmanager
async def at_work(worker: Worker, told: Told | None = None) -> AsyncGenerator[Worker]:
    """The worker runs while the context lasts, ready from the start; requeues what is left."""
    told = told or Told()
    worker.appoint_steward(True)
    running = asyncio.create_task(worker.run_supervised(told))
    try:
        await soon(told.is_ready.wait())
        yield worker
    finally:
        worker.drain(0)
        await soon(running)


@asynccontextmanager
async def in_background(run: Awaitable[Any]) -> AsyncGenerator[asyncio.Future[Any]]:
    """A run of a worker in an asyncio task of its own; interrupted, if it has not ended."""
    running = asyncio.ensure_future(run)
    try:
        yield running
    finally:
        while not running.done():
            # The first time it drains.
            running.cancel()
            await asyncio.wait([running], timeout=0.01)


def look(worker: Worker) -> None:
    """Make a worker exchange soon, as if something had changed."""
    worker.set_concurrency(worker.concurrency)


class Gate:
    """A place in a task where it waits until the test lets it through."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        #: Of each arrival.
        self.arrivals: list[Any] = []

    async def pass_through(self, what: Any = None) -> None:
        self.arrivals.append(what)
        self.reached.set()
        await self.opened.wait()

    async def stay(self, what: Any = None) -> None:
        """Wait there even if cancelled, as a run is that was replaced, at its next renewal."""
        self.arrivals.append(what)
        self.reached.set()
        while not self.opened.is_set():
            with suppress(asyncio.CancelledError):
                await self.opened.wait()


class ThreadGate:
    """A place where a thread waits until the test lets it through. Open at the end of a test."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        #: Of each arrival.
        self.arrivals: list[Any] = []
        #: Now in the place, and the most at once.
        self.inside = self.most = 0
        self._lock = threading.Lock()

    def pass_through(self, what: Any = None) -> Any:
        with self._lock:
            self.arrivals.append(what)
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            assert self.opened.wait(PATIENCE.total_seconds())
        finally:
            with self._lock:
                self.inside -= 1
        return what


async def to_its_end(work: Coroutine[None, None, None]) -> None:
    """Work on, however often cancelled: a run that was replaced is, when it is renewed."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


async def soon(awaitable: Any) -> Any:
    """Its value; TimeoutError instead of a test that hangs."""
    return await asyncio.wait_for(awaitable, PATIENCE.total_seconds())


async def result_of(execution: Execution) -> Any:
    return await execution.get_result(timeout=PATIENCE)


async def failure_of(execution: Execution) -> BaseException:
    """The exception that a task failed with."""
    try:
        result = await execution.get_result(timeout=PATIENCE)
    except Exception as error:
        return error
    raise AssertionError(f"{execution!r} did not fail but returned {result!r}")


async def found(docket: Docket, key: str) -> Execution:
    """The execution of a key that has a record."""
    execution = await docket.get_execution(key)
    assert execution is not None, f"{key!r} has no record"
    return execution


async def finish(docket: Docket, **options: Any) -> Worker:
    """Runs a worker until the docket has nothing left; that worker."""
    async with Worker(docket, **options) as worker:
        await soon(worker.run_until_finished())
    return worker
