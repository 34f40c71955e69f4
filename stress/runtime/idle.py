"""Idle: the cost of a supervisor of many workers that have nothing to do."""

from stress.command import Settings
from stress.pool import settled_pool
from stress.processes import cpu_percent, footprint, parent_of, pss_of
from stress.report import Figure, Limit, Report

MUST_CPU_PERCENT = 2

#: After the pool is ready, until its start no longer shows.
SETTLE_SECONDS = 4.0


async def run(url: str, settings: Settings) -> Report:
    """Observe an idle pool `rounds` times for `seconds`."""
    async with settled_pool(
        url, processes=settings.processes, tasks="stress.tasks:load", seconds=SETTLE_SECONDS
    ) as (running, workers):
        cpu = [
            await cpu_percent([running.pid, *workers], settings.seconds)
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
