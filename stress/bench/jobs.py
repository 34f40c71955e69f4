"""The tasks that the benches run, in their workers and in pools (`stress.bench.jobs:tasks`)."""

import asyncio
import os
import time

from docket import TaskKey


async def no_op() -> None:
    """Nothing: what is measured is everything around it."""


async def hold(log: str, seconds: float, key: str = TaskKey()) -> None:
    """Note in the file `log` which task started when and in which process, and take `seconds`."""
    _append(log, f"{key} {os.getpid()} {time.monotonic()}\n")
    await asyncio.sleep(seconds)


def _append(path: str, line: str) -> None:
    """One write to a file opened for appending: lines of many processes do not mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


tasks = [no_op, hold]

#: For the memory of a worker alone.
nothing: list[object] = []
