"""The tasks that are run under chaos: one of each kind of promise that docket gives.

Each notes its runs in the ledger. What a key begins with says its kind; the judge knows by it how
it has to end.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from redis.exceptions import RedisError

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
from docket.errors import DocketError
from docket.execution import ExecutionProgress
from stress.chaos.ledger import FOLDER_VARIABLE, Event, Ledger

#: Links of a perpetual chain, and of a chain of tasks that add their successors.
LINKS = 5
#: Runs at once of a customer's tasks.
MOST_AT_ONCE = 2

_ledger = Ledger(Path(os.environ.get(FOLDER_VARIABLE, ".")), "runs")


@contextmanager
def noted(kind: str, key: str, number: int = 0, attempt: int = 1) -> Iterator[None]:
    """Notes a run: its start, and how it ended, if it lived to tell."""
    _ledger.note(kind, Event.STARTED, key, number, attempt)
    try:
        yield
    except asyncio.CancelledError:
        _ledger.note(kind, Event.CANCELLED, key, number, attempt)
        raise
    except BaseException:
        _ledger.note(kind, Event.RAISED, key, number, attempt)
        raise
    _ledger.note(kind, Event.FINISHED, key, number, attempt)


async def plain(seconds: float, key: str = TaskKey()) -> str:
    with noted("plain", key):
        await asyncio.sleep(seconds)
    return key


async def payload(data: bytes, key: str = TaskKey()) -> int:
    with noted("payload", key):
        return len(data)


async def retry(
    key: str = TaskKey(),
    again: Retry = Retry(attempts=3, delay=timedelta(milliseconds=50)),
) -> None:
    """Fails twice, then works."""
    with noted("retry", key, attempt=again.attempt):
        if again.attempt < 3:
            raise RuntimeError("not yet")


async def failing(key: str = TaskKey()) -> None:
    with noted("failing", key):
        raise RuntimeError("never")


async def late(
    key: str = TaskKey(), timeout: Timeout = Timeout(timedelta(milliseconds=200))
) -> None:
    with noted("late", key):
        await asyncio.sleep(60)


async def chain(
    number: int = 0,
    key: str = TaskKey(),
    perpetual: Perpetual = Perpetual(every=timedelta(milliseconds=100)),
) -> None:
    """A perpetual task that ends itself after LINKS runs."""
    with noted("chain", key, number):
        if number + 1 == LINKS:
            perpetual.cancel()
        else:
            perpetual.perpetuate(number + 1)


async def insist(call: Callable[[], Awaitable[object]]) -> None:
    """Until it is done: what a task asks of its docket fails while the server is away."""
    while True:
        try:
            await call()
        except (DocketError, RedisError):
            await asyncio.sleep(random.uniform(0.05, 0.3))
        else:
            return


async def relay(number: int = 0, key: str = TaskKey(), docket: Docket = CurrentDocket()) -> None:
    """Adds its successor, under a key that follows from its own."""
    with noted("relay", key, number):
        if number + 1 < LINKS:
            following = f"{key.rpartition('.')[0]}.{number + 1}"
            await insist(lambda: docket.add(relay, key=following)(number + 1))


async def limited(
    customer: Annotated[int, ConcurrencyLimit(max_concurrent=MOST_AT_ONCE)],
    seconds: float,
    key: str = TaskKey(),
) -> None:
    with noted("limited", key, customer):
        await asyncio.sleep(seconds)


async def rated(
    key: str = TaskKey(),
    rate: RateLimit = RateLimit(10, per=timedelta(seconds=1)),
) -> None:
    with noted("rated", key):
        await asyncio.sleep(0)


async def cool(
    topic: Annotated[int, Cooldown(timedelta(milliseconds=500))], key: str = TaskKey()
) -> None:
    with noted("cool", key):
        await asyncio.sleep(0.01)


async def settled(
    topic: Annotated[int, Debounce(timedelta(milliseconds=300))], key: str = TaskKey()
) -> None:
    with noted("settled", key):
        await asyncio.sleep(0.01)


async def blocker(seconds: float, key: str = TaskKey()) -> None:
    with noted("blocker", key):
        time.sleep(seconds)  # noqa: ASYNC251 - that is the point


async def deaf(seconds: float, key: str = TaskKey()) -> None:
    """Hears no cancellation until it is done."""
    with noted("deaf", key):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue


async def poison(key: str = TaskKey()) -> None:
    """Takes its process along, each time."""
    with noted("poison", key):
        os.kill(os.getpid(), signal.SIGKILL)


@asynccontextmanager
async def opened() -> AsyncIterator[str]:
    await asyncio.sleep(0)
    yield "connection"


async def depending(
    execution: Execution = CurrentExecution(),
    connection: str = Depends(opened),
    progress: ExecutionProgress = Progress(),
) -> str:
    with noted("depending", execution.key):
        await insist(lambda: progress.set_total(2))
        await asyncio.sleep(0.02)
        await insist(progress.increment)
    return connection


async def replaced(revision: int, key: str = TaskKey()) -> None:
    with noted("replaced", key, revision):
        await asyncio.sleep(0.02)


async def cancelled(seconds: float, key: str = TaskKey()) -> None:
    with noted("cancelled", key):
        await asyncio.sleep(seconds)


async def tick(
    key: str = TaskKey(),
    perpetual: Perpetual = Perpetual(every=timedelta(milliseconds=500), automatic=True),
) -> None:
    """Runs for as long as there are pools; nobody adds it."""
    with noted("tick", key):
        await asyncio.sleep(0)


tasks = [
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
    deaf,
    poison,
    depending,
    replaced,
    cancelled,
    tick,
]
