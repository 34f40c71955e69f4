"""Tasks for pools that are killed, drained and poisoned by tests.

What ran where is told through Redis, by the tests' own keys; the tasks tell nobody else.
"""

import asyncio
import os
import signal
import time


async def add(left: int, right: int) -> int:
    return left + right


async def whoami() -> int:
    return os.getpid()


async def nap(seconds: float) -> int:
    """Sleep as a good task does; the pid that finished it."""
    await asyncio.sleep(seconds)
    return os.getpid()


async def deaf(seconds: float) -> int:
    """Ignore every cancellation for so long."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue
    return os.getpid()


async def hog(seconds: float) -> int:
    """Block the event loop."""
    time.sleep(seconds)  # noqa: ASYNC251 - that is the point
    return os.getpid()


async def die() -> None:
    """Take the whole process along, each time."""
    os.kill(os.getpid(), signal.SIGKILL)


async def fork_and_nap(seconds: float) -> int:
    """Leave a fork without exec behind, as multiprocessing does; it holds whatever we hold."""
    if os.fork() == 0:
        time.sleep(60)  # noqa: ASYNC251 - it is no loop's business
        os._exit(0)
    await asyncio.sleep(seconds)
    return os.getpid()


tasks = [add, whoami, nap, deaf, hog, die, fork_and_nap]
