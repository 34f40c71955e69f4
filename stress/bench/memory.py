"""Memory: the cost of a preloaded worker beyond the pages that it shares (Linux)."""

from stress.command import Settings
from stress.pool import settled_pool
from stress.processes import footprint
from stress.report import Figure, Limit, Report

TARGET_EACH_MB = 15
TARGET_ALL_MB = 120

#: After the pool is ready: its workers have run their loops, and the steward has swept.
SETTLE_SECONDS = 1.0


async def run(url: str, settings: Settings) -> Report:
    """Measure the workers of a pool without tasks, a pool a round."""
    each: list[float] = []
    together: list[float] = []
    resident: list[float] = []
    for _ in range(settings.rounds):
        async with settled_pool(
            url, processes=settings.processes, tasks="stress.tasks:nothing", seconds=SETTLE_SECONDS
        ) as (_, pids):
            used = [footprint(pid) for pid in pids]
            each.append(max(worker.pss for worker in used))
            together.append(sum(worker.pss for worker in used))
            resident.append(max(worker.rss for worker in used))
    return Report(
        "memory",
        {"workers": settings.processes, "rounds": settings.rounds},
        [
            Figure(
                "PSS of the largest worker", each, "MB", Limit("median", at_most=TARGET_EACH_MB)
            ),
            Figure("PSS of all workers", together, "MB", Limit("median", at_most=TARGET_ALL_MB)),
            Figure("RSS of the largest worker", resident, "MB"),
        ],
    )
