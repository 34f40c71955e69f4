"""Restarts: a supervisor that has replaced its workers many times holds what it held before."""

import asyncio
import os
import random
import signal

from stress.bench.pool import Pool, Status, pool, ready_pids
from stress.bench.server import docket_name
from stress.runtime.processes import Footprint, footprint
from stress.runtime.report import Figure, Limit, Report
from stress.runtime.settings import Settings

#: For the pool to be full again.
PATIENCE_SECONDS = 20.0
#: Before a footprint is taken: adoptions are done, the dead are reaped.
SETTLE_SECONDS = 2.0

#: More than this over all the restarts is a leak, not a heap that found its size.
MUST_GROW_MB = 4

OPTIONS = {"--backoff-max": "0s", "--max-restarts": "100000"}


async def run(url: str, settings: Settings) -> Report:
    """Kill `rounds` workers, and compare the supervisor before and after."""
    chance = random.Random(settings.seed)
    async with (
        docket_name(url) as name,
        pool(
            url,
            name,
            processes=settings.processes,
            tasks="stress.runtime.tasks:load",
            options=OPTIONS,
        ) as running,
    ):
        await asyncio.sleep(SETTLE_SECONDS)
        before = footprint(running.pid)
        for _ in range(settings.rounds):
            await _restart_one(running, settings.processes, chance)
        await asyncio.sleep(SETTLE_SECONDS)
        after = footprint(running.pid)
    return Report(
        "restarts",
        {"workers": settings.processes, "restarts": settings.rounds, "seed": settings.seed},
        figures(before, after),
    )


def figures(before: Footprint, after: Footprint) -> list[Figure]:
    """The two footprints beside each other, and what may not have grown."""
    rows = (
        ("descriptors", "", before.descriptors, after.descriptors, 0),
        ("threads", "", before.threads, after.threads, 0),
        ("processes below it", "", before.children, after.children, 0),
        ("PSS", "MB", before.pss, after.pss, MUST_GROW_MB),
        ("RSS", "MB", before.rss, after.rss, MUST_GROW_MB),
    )
    found: list[Figure] = []
    for name, unit, early, late, growth in rows:
        limit = Limit("most", at_most=early + growth)
        found += [
            Figure(f"{name} before", [early], unit),
            Figure(f"{name} after", [late], unit, limit),
        ]
    return found


async def _restart_one(running: Pool, processes: int, chance: random.Random) -> None:
    status = await running.until(lambda status: len(ready_pids(status)) == processes, 20)
    victim = chance.choice(ready_pids(status))
    os.kill(victim, signal.SIGKILL)

    def is_full_again(status: Status) -> bool:
        ready = ready_pids(status)
        return len(ready) == processes and victim not in ready

    await running.until(is_full_again, PATIENCE_SECONDS)
