"""The baseline (`floor`): the least work of a Python worker that keeps the library's state.

A bare loop around one script, on one connection of redis-py with hiredis and uvloop: take tasks,
run each as an asyncio task, hand the outcomes in with the next call. It has no dependencies,
logging, leases or limits, and ignores lost replies: these make the difference to the library. The
server does a little more for it than for the library, though: it publishes every message, whoever
listens, and reads each record whole.
"""

import asyncio
import pickle
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from stress.bench.child import measure
from stress.command import Settings
from stress.report import Figure, Report
from stress.server import docket_name
from stress.tasks import no_op

_LUA = Path(__file__).parent / "lua"
FILL = (_LUA / "fill.lua").read_text("utf-8")
WORK = (_LUA / "baseline.lua").read_text("utf-8")

TTL_MS = 15 * 60 * 1000
FILL_CHUNK = 500


class BareWorker:
    """One loop, one connection, one script.

    Arguments:
        connection: to the server; nobody else uses it.
        digest: of the script, which is loaded already.
        name: of the docket.
        concurrency: most tasks at once.
        task: runs for each of them.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        digest: str,
        name: str,
        concurrency: int,
        task: Callable[..., Awaitable[object]] = no_op,
    ) -> None:
        self._connection = connection
        prefix, keys = prefix_and_keys(name)
        consumer = f"floor.{uuid4().hex}"
        self._head = ("EVALSHA", digest, len(keys), *keys, prefix, consumer)
        self._concurrency = concurrency
        self._task = task
        self._active = 0
        self._outcomes: list[int | bytes] = []  # four values each, as the script reads them
        self._ended = asyncio.Event()

    async def run(self, count: int) -> None:
        """Run `count` tasks and hand in their outcomes."""
        done = 0
        while done < count:
            done += await self.exchange()

    async def exchange(self) -> int:
        """Hand in outcomes, take tasks, wait for the first to end; return how many were handed in.

        Those that end here are handed in by the next call.
        """
        outcomes, self._outcomes = self._outcomes, []
        want = self._concurrency - self._active
        taken = await call(self._connection, *self._head, want, TTL_MS, *outcomes)
        self._active += len(taken) // 4
        for at in range(0, len(taken), 4):
            # Held by the loop until its first step, and it needs no second one.
            asyncio.create_task(self._execute(*taken[at : at + 4]))  # noqa: RUF006
        if self._active and not self._outcomes:
            await self._ended.wait()
        self._ended.clear()
        return len(outcomes) // 4

    async def _execute(self, stream: int, entry: bytes, key: bytes, call: bytes) -> None:
        arguments, named = pickle.loads(call)
        result = await self._task(*arguments, **named)
        self._outcomes += (stream, entry, key, pickle.dumps(result))
        self._active -= 1
        self._ended.set()


async def connected(client: Redis) -> AbstractConnection:
    """Open a connection that nobody else uses; to be disconnected."""
    connection = client.connection_pool.make_connection()
    await connection.connect()
    return connection


async def call(connection: AbstractConnection, *command: str | bytes | int) -> Any:
    """Send a command, and wait for its reply."""
    await connection.send_packed_command(hiredis.pack_command(command), check_health=False)
    return await connection.read_response()


def prefix_and_keys(name: str) -> tuple[str, list[str]]:
    """The prefix of all keys of a docket, and the keys of the script."""
    prefix = "{" + name + "}"
    return prefix, [f"{prefix}:stream", f"{prefix}:front", f"{prefix}:bell"]


async def fill(url: str, name: str, count: int, at_once: int = FILL_CHUNK) -> None:
    """Add `count` no-op tasks to the baseline's docket `name`, `at_once` in each call."""
    prefix, keys = prefix_and_keys(name)
    call = pickle.dumps(((), {}))
    async with Redis.from_url(url) as client:
        script = client.register_script(FILL)
        for start in range(0, count, at_once):
            tasks = [str(uuid4()) for _ in range(start, min(start + at_once, count))]
            await script(keys=keys, args=(prefix, "no_op", call, *tasks))


async def drain(url: str, name: str, count: int, concurrency: int) -> float:
    """Part: measure the seconds for one bare worker to run the `count` tasks of `name`."""
    async with Redis.from_url(url) as client:
        digest = await client.script_load(WORK)
        connection = await connected(client)
        worker = BareWorker(connection, digest, name, concurrency)
        started = time.perf_counter()
        await worker.run(count)
        seconds = time.perf_counter() - started
        await connection.disconnect()
        return seconds


async def rate(url: str, count: int, concurrency: int) -> float:
    """Measure the tasks a second of one bare worker, in a process and on a docket of its own."""
    async with docket_name(url) as name:
        await fill(url, name, count)
        seconds = await measure(drain, url=url, name=name, count=count, concurrency=concurrency)
    return count / seconds


async def run(url: str, settings: Settings) -> Report:
    """Measure the baseline alone."""
    figures: list[Figure] = []
    for concurrency in settings.concurrencies:
        rates = [await rate(url, settings.count, concurrency) for _ in range(settings.rounds)]
        figures.append(Figure(f"floor, concurrency {concurrency}", rates, "tasks/s"))
    return Report("floor", {"tasks": settings.count, "rounds": settings.rounds}, figures)
