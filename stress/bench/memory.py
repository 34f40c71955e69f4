"""Memory: what a preloaded worker costs beyond the pages that it shares (Linux)."""

import asyncio

import psutil

from stress.bench.pool import pool, ready_pids
from stress.bench.report import Figure, Report
from stress.bench.server import docket_name

TARGET_EACH_MB = 15
TARGET_ALL_MB = 120
MB = 1_000_000

#: After the pool is ready: its workers have run their loops, and the steward has swept.
SETTLE_SECONDS = 1.0


async def run(url: str, *, rounds: int, processes: int) -> Report:
    """Args: url of the server; rounds, a pool each; workers a pool, without tasks."""
    each: list[float] = []
    together: list[float] = []
    resident: list[float] = []
    for _ in range(rounds):
        async with (
            docket_name(url) as name,
            pool(url, name, processes=processes, tasks="stress.bench.jobs:nothing") as running,
        ):
            await asyncio.sleep(SETTLE_SECONDS)
            pids = ready_pids(await running.until(lambda status: True, 5))
            used = [psutil.Process(pid).memory_full_info() for pid in pids]
            each.append(max(worker.pss for worker in used) / MB)
            together.append(sum(worker.pss for worker in used) / MB)
            resident.append(max(worker.rss for worker in used) / MB)
    return Report(
        "memory",
        {"workers": processes, "rounds": rounds},
        [
            Figure("PSS of the largest worker", each, "MB", at_most=TARGET_EACH_MB),
            Figure("PSS of all workers", together, "MB", at_most=TARGET_ALL_MB),
            Figure("RSS of the largest worker", resident, "MB"),
        ],
    )
