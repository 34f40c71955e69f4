"""Instructions: what the server executes for a task, however busy the machine is.

The server runs under valgrind's callgrind, which counts them. A load is compared with one of twice
as many tasks, so that what is done once, by the server or its clients, does not count. The figures
of two versions can be compared one by one: they vary by less than a hundredth.
"""

import asyncio
import re
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from docket import Docket
from docket.store.embedded.home import server_binary
from stress.bench import baseline
from stress.bench.child import measure
from stress.bench.drain import fill, library
from stress.command import Settings
from stress.report import Figure, Report
from stress.tasks import no_op
from stress.waiting import eventually

#: Until the server answers: under valgrind it starts in about a second.
START_SECONDS = 30.0

NAME = "instructions"

#: Puts a number of tasks on the server of a URL, in whatever way.
Load = Callable[[str, int], Awaitable[None]]

_COLLECTED = re.compile(r"Collected : (\d+)")
_SETTINGS = ("--port", "0", "--save", "", "--io-threads", "1")


async def add_each(url: str, name: str, count: int) -> None:
    """Part: add `count` tasks, each once the one before it was accepted."""
    async with Docket(name, url) as docket:
        for _ in range(count):
            await docket.add(no_op)()


async def run(_url: str, settings: Settings) -> Report:
    """Count with servers of its own; without valgrind there are no figures."""
    if shutil.which("valgrind") is None:
        return Report("instructions", {"valgrind": "not installed"}, [])
    count = settings.count
    together = await _for_each(count, _fill)
    figures = [
        Figure("add one by one", [await _for_each(count, _add_each)]),
        Figure("add together", [together]),
    ]
    floor_filled = await _for_each(count, _fill_floor)
    for concurrency in settings.concurrencies:
        both = await _for_each(count, partial(_fill_and_run, concurrency=concurrency))
        floor = await _for_each(count, partial(_fill_and_run_floor, concurrency=concurrency))
        figures += [
            Figure(f"run, concurrency {concurrency}", [both - together]),
            Figure(f"run, concurrency {concurrency}, of the floor", [floor - floor_filled]),
        ]
    return Report("instructions", {"tasks": count}, figures)


async def _add_each(url: str, count: int) -> None:
    await measure(add_each, url=url, name=NAME, count=count)


async def _fill(url: str, count: int) -> None:
    await measure(fill, url=url, name=NAME, count=count)


async def _fill_and_run(url: str, count: int, concurrency: int) -> None:
    await _fill(url, count)
    await measure(library, url=url, name=NAME, count=count, concurrency=concurrency)


async def _fill_floor(url: str, count: int) -> None:
    await measure(baseline.fill, url=url, name=NAME, count=count)


async def _fill_and_run_floor(url: str, count: int, concurrency: int) -> None:
    await _fill_floor(url, count)
    await measure(baseline.drain, url=url, name=NAME, count=count, concurrency=concurrency)


async def _for_each(count: int, load: Load) -> float:
    """Count the instructions for each task more."""
    return (await _counted(load, 2 * count) - await _counted(load, count)) / count


async def _counted(load: Load, count: int) -> int:
    """Count all that a server executes from its start to its end."""
    with tempfile.TemporaryDirectory(prefix="docket-bench-") as folder:
        socket = Path(folder) / "valkey.sock"
        server = await asyncio.create_subprocess_exec(
            *("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"),
            *(server_binary("memory://"), *_SETTINGS, "--unixsocket", socket),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            await eventually(partial(_answers, f"unix://{socket}"), START_SECONDS, every=0.1)
            await load(f"unix://{socket}", count)
        finally:
            server.terminate()
            _, told = await server.communicate()
    found = _COLLECTED.search(told.decode())
    if found is None:
        raise RuntimeError(f"valgrind counted nothing: {told.decode()[-1000:]}")
    return int(found[1])


async def _answers(url: str) -> bool:
    async with Redis.from_url(url) as client:
        try:
            return bool(await client.ping())
        except RedisConnectionError:
            return False
