"""Tasks that write down when each of their runs began and how it ended, for tests of many hosts.

One line an event, appended whole to the file that LEDGER names: the processes of several pools
share it. The monotonic clock is the machine's, so the lines of all of them are in one order.
"""

import asyncio
import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from docket import ConcurrencyLimit, Perpetual, Progress, Retry, TaskKey


def note(key: str, run: str, what: str) -> None:
    """Append one line; whole, for it is shorter than what a pipe or a file takes at once."""
    line = json.dumps([key, run, os.getpid(), what, time.monotonic()]) + "\n"
    file = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@contextmanager
def noted(key: str) -> Generator[str]:
    """A run, from here to the end of the context."""
    run = os.urandom(4).hex()
    note(key, run, "began")
    try:
        yield run
    except asyncio.CancelledError:
        note(key, run, "cancelled")
        raise
    except Exception:
        note(key, run, "failed")
        raise
    note(key, run, "finished")


async def work(seconds: float, key: str = TaskKey()) -> int:
    """Takes its time, and stops when it is told to; the pid that finished it."""
    with noted(key):
        await asyncio.sleep(seconds)
    return os.getpid()


async def stubborn(seconds: float, key: str = TaskKey()) -> int:
    """Ignores every cancellation, and says again and again that it still runs."""
    with noted(key) as run:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                note(key, run, "alive")
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                continue
    return os.getpid()


async def alone(
    seconds: float,
    key: str = TaskKey(),
    limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1),
) -> int:
    """One at a time on the whole docket."""
    with noted(key):
        await asyncio.sleep(seconds)
    return os.getpid()


async def at_second_try(
    seconds: float,
    key: str = TaskKey(),
    retry: Retry = Retry(attempts=3, delay=timedelta(seconds=0.2)),
) -> int:
    """Fails the first time, after a while."""
    with noted(key):
        await asyncio.sleep(seconds)
        if retry.attempt == 1:
            raise RuntimeError("not yet")
    return os.getpid()


async def again_and_again(
    seconds: float, key: str = TaskKey(), perpetual: Perpetual = Perpetual()
) -> None:
    """Has a successor as soon as it ends."""
    with noted(key):
        await asyncio.sleep(seconds)


async def in_steps(steps: int, key: str = TaskKey(), progress: Progress = Progress()) -> int:
    """Tells how far it is, ten times a second."""
    with noted(key):
        await progress.set_total(steps)
        for _ in range(steps):
            await asyncio.sleep(0.1)
            await progress.increment()
    return os.getpid()


tasks = [work, stubborn, alone, at_second_try, again_and_again, in_steps]
