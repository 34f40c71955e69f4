"""The tasks of chaos: one for each kind of promise that docket gives.

Each notes its runs in the history. The beginning of a key is its kind, by which the checker knows
how it has to end.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated

from docket import (
    ConcurrencyLimit,
    Cooldown,
    CurrentDocket,
    CurrentExecution,
    Debounce,
    Depends,
    Docket,
    Execution,
    Perpetual,
    Progress,
    RateLimit,
    Retry,
    TaskKey,
    Timeout,
)
from docket.execution import ExecutionProgress, TaskFunction
from stress.history import noted
from stress.waiting import insist

#: Links of a perpetual chain, and of a chain of tasks that add their successors.
LINKS = 5
#: Runs at once of a customer's tasks.
MOST_AT_ONCE = 2


async def plain(seconds: float, key: str = TaskKey()) -> str:
    """Sleep, and return the key."""
    with noted("plain", key):
        await asyncio.sleep(seconds)
    return key


async def payload(data: bytes, key: str = TaskKey()) -> int:
    """Take a payload, and return its size."""
    with noted("payload", key):
        return len(data)


async def retry(
    key: str = TaskKey(),
    again: Retry = Retry(attempts=3, delay=timedelta(milliseconds=50)),
) -> None:
    """Fail twice, then work."""
    with noted("retry", key, attempt=again.attempt):
        if again.attempt < 3:
            raise RuntimeError("not yet")


async def failing(execution: Execution = CurrentExecution()) -> None:
    """Fail each time, after a retry too."""
    with noted("failing", execution.key, execution.generation):
        raise RuntimeError("never")


async def late(
    execution: Execution = CurrentExecution(),
    timeout: Timeout = Timeout(timedelta(milliseconds=200)),
) -> None:
    """Run into its timeout, after a retry too."""
    with noted("late", execution.key, execution.generation):
        await asyncio.sleep(60)


async def chain(
    number: int = 0,
    key: str = TaskKey(),
    perpetual: Perpetual = Perpetual(every=timedelta(milliseconds=100)),
) -> None:
    """Perpetuate, and end after LINKS runs."""
    with noted("chain", key, number):
        if number + 1 == LINKS:
            perpetual.cancel()
        else:
            perpetual.perpetuate(number + 1)


async def relay(number: int = 0, key: str = TaskKey(), docket: Docket = CurrentDocket()) -> None:
    """Add the successor, under the next key."""
    with noted("relay", key, number):
        if number + 1 < LINKS:
            following = f"{key.rpartition('.')[0]}.{number + 1}"
            await insist(lambda: docket.add(relay, key=following)(number + 1))


async def limited(
    customer: Annotated[int, ConcurrencyLimit(max_concurrent=MOST_AT_ONCE)],
    seconds: float,
    key: str = TaskKey(),
) -> None:
    """Sleep, with a slot of the customer's limit."""
    with noted("limited", key, customer):
        await asyncio.sleep(seconds)


async def rated(
    key: str = TaskKey(),
    rate: RateLimit = RateLimit(10, per=timedelta(seconds=1)),
) -> None:
    """Run at a limited rate."""
    with noted("rated", key):
        await asyncio.sleep(0)


async def cool(
    topic: Annotated[int, Cooldown(timedelta(milliseconds=500))], key: str = TaskKey()
) -> None:
    """Run unless one with the same topic ran a moment ago."""
    with noted("cool", key):
        await asyncio.sleep(0.01)


async def settled(
    topic: Annotated[int, Debounce(timedelta(milliseconds=300))], key: str = TaskKey()
) -> None:
    """Run once no other one with the same topic follows."""
    with noted("settled", key):
        await asyncio.sleep(0.01)


async def blocker(seconds: float, key: str = TaskKey()) -> None:
    """Block the event loop."""
    with noted("blocker", key):
        time.sleep(seconds)  # noqa: ASYNC251 - that is the point


async def holder(seconds: float, key: str = TaskKey()) -> None:
    """Hold the GIL in one call of C, which ends with a process at the other end of a pipe."""
    with noted("holder", key):
        reader, writer = os.pipe()
        sleeper = ("sleep", str(seconds))
        with subprocess.Popen(sleeper, stdout=writer):  # noqa: ASYNC220 - it is to block
            os.close(writer)
            ctypes.PyDLL(None).read(reader, ctypes.create_string_buffer(1), 1)
        os.close(reader)


async def hanging(key: str = TaskKey()) -> None:
    """Hold the GIL for ever, in a read from a pipe that nobody writes to, each time."""
    with noted("hanging", key):
        reader, _writer = os.pipe()
        ctypes.PyDLL(None).read(reader, ctypes.create_string_buffer(1), 1)


def threaded(seconds: float, key: str = TaskKey()) -> str:
    """Sleep in a thread, which nothing can end."""
    with noted("threaded", key):
        time.sleep(seconds)
    return key


async def deaf(seconds: float, key: str = TaskKey()) -> None:
    """Ignore cancellation until done."""
    with noted("deaf", key):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue


async def poison(key: str = TaskKey()) -> None:
    """Kill its process, each time."""
    with noted("poison", key):
        os.kill(os.getpid(), signal.SIGKILL)


@asynccontextmanager
async def opened() -> AsyncGenerator[str]:
    """Provide a dependency."""
    await asyncio.sleep(0)
    yield "connection"


async def depending(
    execution: Execution = CurrentExecution(),
    connection: str = Depends(opened),
    progress: ExecutionProgress = Progress(),
) -> str:
    """Use dependencies, and report progress."""
    with noted("depending", execution.key):
        await insist(lambda: progress.set_total(2))
        await asyncio.sleep(0.02)
        await insist(progress.increment)
    return connection


async def replaced(revision: int, key: str = TaskKey()) -> None:
    """Note the revision that runs."""
    with noted("replaced", key, revision):
        await asyncio.sleep(0.02)


async def cancelled(seconds: float, execution: Execution = CurrentExecution()) -> None:
    """Sleep, until cancelled by the producer or an operator; it may be retried then."""
    with noted("cancelled", execution.key, execution.generation):
        await asyncio.sleep(seconds)


async def tick(
    key: str = TaskKey(),
    perpetual: Perpetual = Perpetual(every=timedelta(milliseconds=500), automatic=True),
) -> None:
    """Run for as long as there are pools; nobody adds it."""
    with noted("tick", key):
        await asyncio.sleep(0)


tasks: list[TaskFunction] = [
    plain,
    payload,
    retry,
    failing,
    late,
    chain,
    relay,
    limited,
    rated,
    cool,
    settled,
    blocker,
    threaded,
    holder,
    hanging,
    deaf,
    poison,
    depending,
    replaced,
    cancelled,
    tick,
]
