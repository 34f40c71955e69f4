"""The floor: the least a Python worker could do while it keeps the same state as the library.

A bare loop around one script, on redis-py, hiredis and uvloop: take tasks, run each as an asyncio
task, hand the outcomes in with the next call. No dependencies, no logging, no leases, no limits,
no lost replies. What the library adds to it is the price of those.
"""

import asyncio
import pickle
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

from stress.bench.child import measure
from stress.bench.report import Figure, Report
from stress.bench.server import docket_name

_LUA = Path(__file__).parent / "lua"
FILL = (_LUA / "fill.lua").read_text("utf-8")
FLOOR = (_LUA / "floor.lua").read_text("utf-8")

TTL_MS = 15 * 60 * 1000
FILL_CHUNK = 500


async def no_op() -> None:
    """What every task of this bench does."""


class BareWorker:
    """One loop, one connection, one script.

    Args:
        client: connected to the server; nobody else uses it.
        name: of the docket.
        concurrency: most tasks at once.
    """

    def __init__(self, client: Redis, name: str, concurrency: int) -> None:
        self._script = client.register_script(FLOOR)
        self._prefix, self._keys = prefix_and_keys(name)
        self._concurrency = concurrency
        self._consumer = f"floor.{uuid4().hex}"
        self._outcomes: list[int | bytes] = []  # four values each, as the script reads them
        self._ended = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, count: int) -> None:
        """Run `count` tasks and hand in their outcomes."""
        done = 0
        while done < count:
            outcomes, self._outcomes = self._outcomes, []
            free = self._concurrency - len(self._running)
            taken = await self._exchange(outcomes, min(free, count))
            done += len(outcomes) // 4
            for at in range(0, len(taken), 4):
                task = asyncio.create_task(self._execute(*taken[at : at + 4]))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            if self._running and not self._outcomes:
                await self._ended.wait()
            self._ended.clear()

    async def _exchange(self, outcomes: list[int | bytes], want: int) -> list[Any]:
        arguments = (self._prefix, self._consumer, want, TTL_MS, *outcomes)
        return await self._script(keys=self._keys, args=arguments)

    async def _execute(self, stream: int, entry: bytes, key: bytes, call: bytes) -> None:
        arguments, named = pickle.loads(call)
        result = await no_op(*arguments, **named)
        self._outcomes += (stream, entry, key, pickle.dumps(result))
        self._ended.set()


def prefix_and_keys(name: str) -> tuple[str, list[str]]:
    prefix = "{" + name + "}"
    return prefix, [f"{prefix}:stream", f"{prefix}:front", f"{prefix}:bell"]


async def fill(url: str, name: str, count: int) -> None:
    """Add `count` no-op tasks to the floor's docket `name`."""
    prefix, keys = prefix_and_keys(name)
    call = pickle.dumps(((), {}))
    async with Redis.from_url(url) as client:
        script = client.register_script(FILL)
        for start in range(0, count, FILL_CHUNK):
            tasks = [str(uuid4()) for _ in range(start, min(start + FILL_CHUNK, count))]
            await script(keys=keys, args=(prefix, "no_op", call, *tasks))


async def drain(url: str, name: str, count: int, concurrency: int) -> float:
    """Measured part: seconds for one bare worker to run the `count` tasks of `name`."""
    async with Redis.from_url(url, single_connection_client=True) as client:
        await client.ping()
        worker = BareWorker(client, name, concurrency)
        started = time.perf_counter()
        await worker.run(count)
        return time.perf_counter() - started


async def rate(url: str, count: int, concurrency: int) -> float:
    """Tasks a second of one bare worker, in a process of its own, on a docket of its own."""
    async with docket_name(url) as name:
        await fill(url, name, count)
        seconds = await measure(drain, url=url, name=name, count=count, concurrency=concurrency)
    return count / seconds


async def run(url: str, *, rounds: int, count: int, concurrencies: Sequence[int]) -> Report:
    """The floor alone.

    Args:
        url: of the server.
        rounds: how often each is measured.
        count: tasks a round.
        concurrencies: of the worker, one figure each.
    """
    report = Report("floor", {"tasks": count, "rounds": rounds})
    for concurrency in concurrencies:
        rates = [await rate(url, count, concurrency) for _ in range(rounds)]
        report.figures.append(Figure(f"floor, concurrency {concurrency}", rates, "tasks/s"))
    return report
