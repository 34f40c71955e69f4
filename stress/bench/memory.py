"""Memory: the PSS of a worker by itself, and of all processes of a pool (Linux).

A process is measured when it has run its loop for a while. The pools are those of one worker, of
two, and of `--processes`; each has a supervisor, a nursery and a guard beside its workers. Beside
them stands the floor: the same processes with nothing of ours in them.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil

from stress.bench.memory_floor import pool_floor, worker_floor
from stress.command import Settings
from stress.pool import pool
from stress.processes import footprint, pss_of
from stress.program import environment, start
from stress.report import Figure, Limit, Report
from stress.server import docket_name

TARGET_EACH_MB = 15
TARGET_ALL_MB = 120
#: 45, 8 and 25 MiB.
TARGET_SMALL_POOL_MB = 47.2
TARGET_FURTHER_MB = 8.4
TARGET_LIBRARY_MB = 26.2

#: After the pool is ready: its workers have run their loops, and the steward has swept.
SETTLE_SECONDS = 1.0
#: Of a worker by itself, its start included.
LIBRARY_SECONDS = 4.0

TASKS = "stress.tasks:nothing"
#: In the environment of all processes of a pool. The guard is nobody's child.
MARK = "STRESS_MEMORY_MARK"

LIBRARY = """
import asyncio, os
from docket import Worker
asyncio.run(Worker.run(os.environ["NAME"], os.environ["URL"], tasks=[os.environ["TASKS"]]))
"""


@dataclass(frozen=True)
class PoolMemory:
    """The memory of one pool, in MB."""

    everything: float
    supervisor: float
    workers: Sequence[float]
    rss: float


async def run(url: str, settings: Settings) -> Report:
    """Measure a worker by itself and three pools without tasks, all of them a round."""
    alone: list[float] = []
    pools: dict[int, list[PoolMemory]] = {1: [], 2: [], settings.processes: []}
    alone_floor: list[float] = []
    pool_floors: list[tuple[float, float]] = []
    for _ in range(settings.rounds):
        alone.append(await _library(url))
        alone_floor.append(await worker_floor(url))
        pool_floors.append((await pool_floor(url, 1), await pool_floor(url, 2)))
        for processes, measured in pools.items():
            measured.append(await _pool(url, processes))
    ones, twos, many = pools[1], pools[2], pools[settings.processes]
    pairs = zip(ones, twos, strict=True)
    return Report(
        "memory",
        {"workers": settings.processes, "rounds": settings.rounds},
        [
            _figure("PSS of a worker by itself", alone, TARGET_LIBRARY_MB),
            _figure("floor of a worker by itself", alone_floor),
            _figure("PSS of a pool of one", [e.everything for e in ones], TARGET_SMALL_POOL_MB),
            _figure("of it the supervisor", [e.supervisor for e in ones]),
            _figure("floor of a pool of one", [one for one, _ in pool_floors]),
            _figure(
                "PSS of the second worker",
                [two.everything - one.everything for one, two in pairs],
                TARGET_FURTHER_MB,
            ),
            _figure("floor of the second worker", [two - one for one, two in pool_floors]),
            _figure("PSS of the largest worker", [max(e.workers) for e in many], TARGET_EACH_MB),
            _figure("PSS of all workers", [sum(e.workers) for e in many], TARGET_ALL_MB),
            _figure("RSS of the largest worker", [e.rss for e in many]),
        ],
    )


def _figure(name: str, samples: Sequence[float], at_most: float | None = None) -> Figure:
    limit = None if at_most is None else Limit("median", at_most=at_most)
    return Figure(name, samples, "MB", limit)


async def _pool(url: str, processes: int) -> PoolMemory:
    mark = uuid.uuid4().hex
    async with (
        docket_name(url) as name,
        pool(url, name, processes=processes, tasks=TASKS, variables={MARK: mark}) as running,
    ):
        await asyncio.sleep(SETTLE_SECONDS)
        pids = await running.workers_ready(processes)
        used = [footprint(pid) for pid in pids]
        return PoolMemory(
            everything=sum(pss_of(_marked(mark))),
            supervisor=sum(pss_of([running.pid])),
            workers=[each.pss for each in used],
            rss=max(each.rss for each in used),
        )


def _marked(mark: str) -> list[int]:
    """List the processes of a pool, also those that are nobody's children."""
    return [each.pid for each in psutil.process_iter() if _has_mark(each, mark)]


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except psutil.Error:
        return False  # it has ended, or is somebody else's


async def _library(url: str) -> float:
    async with docket_name(url) as name, _worker(url, name) as pid:
        await asyncio.sleep(LIBRARY_SECONDS)
        return sum(pss_of([pid]))


@asynccontextmanager
async def _worker(url: str, name: str) -> AsyncGenerator[int]:
    variables = environment(NAME=name, URL=url, TASKS=TASKS)
    process = start([sys.executable, "-c", LIBRARY], variables=variables)
    try:
        yield process.pid
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
