"""Idle: what a supervisor of many workers costs while none of them has anything to do."""

import asyncio

from stress.bench.pool import pool, ready_pids
from stress.bench.server import docket_name
from stress.runtime.processes import cpu_seconds, footprint, parent_of, pss_of
from stress.runtime.report import Figure, Limit, Report
from stress.runtime.settings import Settings

MUST_CPU_PERCENT = 2

#: After the pool is ready, until its start no longer shows.
SETTLE_SECONDS = 4.0


async def run(url: str, settings: Settings) -> Report:
    """Look `rounds` times for `seconds` at a pool that has nothing to do."""
    async with (
        docket_name(url) as name,
        pool(url, name, processes=settings.processes, tasks="stress.runtime.tasks:load") as running,
    ):
        await asyncio.sleep(SETTLE_SECONDS)
        workers = ready_pids(await running.until(lambda status: True, 5))
        cpu = [
            await _cpu_percent([running.pid, *workers], settings.seconds)
            for _ in range(settings.rounds)
        ]
        supervisor = footprint(running.pid)
        pss = pss_of(workers)
        (nursery,) = pss_of({parent_of(pid) for pid in workers})
    limit = Limit("most", below=MUST_CPU_PERCENT)
    return Report(
        "idle64",
        {"workers": len(workers), "looks": settings.rounds, "seconds": settings.seconds},
        [
            Figure("CPU of the supervisor", [each[0] for each in cpu], "% of a core", limit),
            Figure("CPU of a worker", [one for each in cpu for one in each[1:]], "% of a core"),
            Figure("PSS of the supervisor", [supervisor.pss], "MB"),
            Figure("RSS of the supervisor", [supervisor.rss], "MB"),
            Figure("descriptors of the supervisor", [supervisor.descriptors]),
            Figure("PSS of the nursery", [nursery], "MB"),
            Figure("PSS of a worker", pss, "MB"),
        ],
    )


async def _cpu_percent(pids: list[int], seconds: float) -> list[float]:
    """Of each, over so long."""
    before = [cpu_seconds(pid) for pid in pids]
    await asyncio.sleep(seconds)
    after = [cpu_seconds(pid) for pid in pids]
    return [(late - early) / seconds * 100 for early, late in zip(before, after, strict=True)]
