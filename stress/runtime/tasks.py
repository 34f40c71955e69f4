"""The tasks of the load, and none at all (`stress.runtime.tasks:load` and `:nothing`)."""

import asyncio
import os
import time

from docket import TaskKey
from stress.runtime.ledger import BEGUN, ENDED, line

#: What a short task computes before it waits, in seconds of CPU.
SPIN_SECONDS = 0.0005

#: Files opened for appending by this process, by path.
_open: dict[str, int] = {}


async def short(log: str, seconds: float, key: str = TaskKey()) -> None:
    """Compute a little, then wait for so long."""
    _note(log, BEGUN, key)
    end = time.thread_time() + SPIN_SECONDS
    while time.thread_time() < end:
        pass
    await asyncio.sleep(seconds)
    _note(log, ENDED, key)


async def long(log: str, seconds: float, key: str = TaskKey()) -> None:
    """Wait for so long."""
    _note(log, BEGUN, key)
    await asyncio.sleep(seconds)
    _note(log, ENDED, key)


def _note(log: str, kind: str, key: str) -> None:
    """One write to a file opened for appending: lines of many processes do not mix."""
    file = _open.get(log)
    if file is None:
        file = _open[log] = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line(kind, key, os.getpid(), time.monotonic()).encode())


load = [short, long]
nothing: list[object] = []
