"""Tasks for pools that a service manager or a container runs."""

import asyncio

import anyio

from tests.support.pool_tasks import nap


async def leave_a_reader(fifo: str) -> None:
    """Return, and leave behind a process that nobody waits for: it ends with its fifo."""
    process = await asyncio.create_subprocess_exec("sh", "-c", 'cat "$0" >/dev/null &', fifo)
    assert await process.wait() == 0


async def wait_for(path: str) -> None:
    """End once the file is there: whoever drains waits for that."""
    while not await anyio.Path(path).exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.02)


tasks = [nap, leave_a_reader, wait_for]
