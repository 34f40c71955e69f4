"""The memory of processes like those of a pool, with nothing of ours in them: no pool has less.

CPython, asyncio, uvloop, redis-py and msgspec alone: a process with a loop for the supervisor, a
bare interpreter for the guard, and one that imports, forks, and has each fork ask the server twice
a second on a connection of its own. The programs import nothing of this project. They write their
pids in one call each: the forks share a pipe.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator

from stress.processes import pss_of

#: After the programs say that they run.
SETTLE_SECONDS = 1.0

SUPERVISOR = """
import asyncio, logging, os
import msgspec
async def main():
    os.write(1, b"%d\\n" % os.getpid())
    await asyncio.sleep(600)
asyncio.run(main())
"""

GUARD = """
import os, select, signal, socket, sys, time
os.write(1, b"%d\\n" % os.getpid())
signal.pause()
"""

#: Without forks the process itself is the worker.
WORKERS = """
import asyncio, gc, os, signal, sys
import msgspec, redis.asyncio, uvloop
from redis.driver_info import DriverInfo
async def work(url):
    # redis-py would look its own version up, which takes megabytes of a fork.
    own = DriverInfo(lib_version=redis.__version__)
    client = redis.asyncio.Redis.from_url(url, driver_info=own)
    await client.ping()
    os.write(1, b"%d\\n" % os.getpid())
    while True:
        await client.ping()
        await asyncio.sleep(0.5)
def run():
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(work(sys.argv[1]))
forks = int(sys.argv[2])
if forks == 0:
    run()
gc.disable()
gc.collect()
gc.freeze()
for _ in range(forks):
    if os.fork() == 0:
        gc.enable()
        run()
os.write(1, b"%d\\n" % os.getpid())
signal.pause()
"""


async def worker_floor(url: str) -> float:
    """Measure a worker by itself, in MB."""
    async with _running(1, "-c", WORKERS, url, "0") as pids:
        return sum(pss_of(pids))


async def pool_floor(url: str, workers: int) -> float:
    """Measure all processes of a pool together, in MB."""
    async with (
        _running(1, "-c", SUPERVISOR) as supervisor,
        _running(1, "-I", "-S", "-c", GUARD) as guard,
        _running(workers + 1, "-c", WORKERS, url, str(workers)) as forked,
    ):
        return sum(pss_of([*supervisor, *guard, *forked]))


@contextlib.asynccontextmanager
async def _running(count: int, *words: str) -> AsyncGenerator[list[int]]:
    """Run a program, and yield the pids that it prints, so many of them, once it has settled."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        pids = [int(await process.stdout.readline()) for _ in range(count)]
        await asyncio.sleep(SETTLE_SECONDS)
        yield pids
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
