"""The tasks of the measurements, and none at all (`stress.tasks:load`, `:idle`, `:nothing`)."""

import asyncio
import time

from docket import TaskKey
from stress.history import noted

#: CPU seconds that a short task computes before it waits.
SPIN_SECONDS = 0.0005


async def no_op() -> None:
    """Do nothing: everything around it is measured."""


async def short(seconds: float, key: str = TaskKey()) -> None:
    """Compute a little, then wait."""
    with noted("short", key):
        end = time.thread_time() + SPIN_SECONDS
        while time.thread_time() < end:
            pass
        await asyncio.sleep(seconds)


async def long(seconds: float, key: str = TaskKey()) -> None:
    """Wait."""
    with noted("long", key):
        await asyncio.sleep(seconds)


idle = [no_op]
load = [short, long]
nothing: list[object] = []
