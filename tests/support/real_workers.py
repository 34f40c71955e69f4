"""Real workers for tests: their tasks, their settings, and a look at them from outside."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import structs

from docket import Docket, Execution
from docket.inspection import WorkerProcess
from ipc.messages import Exited, Heartbeat, Settings
from tests.support.nursery import Child, NurseryProcess, settings

TASKS = ["worker_tasks:tasks"]
SOURCE = """
import asyncio, os, subprocess, sys, time

async def double(number):
    return 2 * number

async def wait(seconds):
    await asyncio.sleep(seconds)

async def block(seconds):
    time.sleep(seconds)

async def hang_once(mark):
    if not os.path.exists(mark):
        open(mark, "x").close()
        await asyncio.sleep(1000)

async def anything():
    return "the fallback"

tasks = [double, wait, block, hang_once]
"""


def write_tasks(directory: Path) -> Path:
    """The module of TASKS, with SOURCE in it."""
    file = directory / "worker_tasks.py"
    file.write_text(SOURCE)
    return file


def real_pool(module: Path, server: str, docket_name: str) -> Settings:
    """Settings of a nursery of real workers on the tests' server."""
    return settings(
        module.parent,
        tasks=TASKS,
        docket=docket_name,
        url=server,
        logging_level="CRITICAL",
        heartbeat_seconds=0.05,
        drain_timeout_seconds=1.0,
    )


def add(pool: Settings, function: str, *args: object, delay_seconds: float = 0.0) -> str:
    """Add a task to the pool's docket and return its key."""
    return asyncio.run(_add(pool, function, args, timedelta(seconds=delay_seconds)))


async def _add(pool: Settings, function: str, args: tuple[object, ...], delay: timedelta) -> str:
    async with _docket(pool) as docket:
        docket.register(_unknown_here, names=[function])
        execution: Execution = await docket.add(function, when=datetime.now(UTC) + delay)(*args)
        return execution.key


def result(pool: Settings, key: str) -> object:
    return asyncio.run(_result(pool, key))


async def _result(pool: Settings, key: str) -> object:
    async with _docket(pool) as docket:
        execution = await docket.get_execution(key)
        assert execution is not None
        return await execution.get_result(timeout=timedelta(seconds=20))


def told_by(pool: Settings) -> WorkerProcess | None:
    """The process of the one worker of the pool, as it tells its docket."""
    return asyncio.run(_told_by(pool))


async def _told_by(pool: Settings) -> WorkerProcess | None:
    async with _docket(pool) as docket:
        (worker,) = await docket.workers()
        return worker.process


def _docket(pool: Settings) -> Docket:
    return Docket(pool.worker.docket, pool.worker.url)


async def _unknown_here(*args: object) -> None:
    raise AssertionError(args)


def heartbeat(worker: Child, **wanted: object) -> Heartbeat:
    """The first heartbeat with these fields."""
    while True:
        beat = worker.next(Heartbeat)
        if all(getattr(beat, name) == value for name, value in wanted.items()):
            return beat


def read(pipe: int, needle: bytes) -> str:
    """What comes out of a pipe, up to and with the needle."""
    data = b""
    while needle not in data:
        data += os.read(pipe, 1 << 16)
    return data.decode()


def ended(nursery: NurseryProcess) -> int:
    return os.waitstatus_to_exitcode(nursery.next(Exited).status)


def state(pool: Settings, key: str) -> str:
    async def look() -> str:
        async with _docket(pool) as docket:
            execution = await docket.get_execution(key)
            return "gone" if execution is None else execution.state.value

    return asyncio.run(look())


def with_worker(pool: Settings, **changes: object) -> Settings:
    return structs.replace(pool, worker=structs.replace(pool.worker, **changes))
