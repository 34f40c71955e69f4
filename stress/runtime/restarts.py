"""Restarts: the resources of a supervisor before and after it replaced its workers many times."""

import asyncio
import os
import random
import signal

from stress.command import Settings
from stress.pool import Status, SupervisorProcess, ready_pids, settled_pool
from stress.processes import Footprint, footprint
from stress.report import Figure, Limit, Report

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
    async with settled_pool(
        url,
        processes=settings.processes,
        tasks="stress.tasks:load",
        seconds=SETTLE_SECONDS,
        options=OPTIONS,
    ) as (running, _):
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
    """Put two footprints side by side, with limits on the growth."""
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


async def _restart_one(running: SupervisorProcess, processes: int, chance: random.Random) -> None:
    victim = chance.choice(await running.workers_ready(processes))
    os.kill(victim, signal.SIGKILL)

    def is_full_again(status: Status) -> bool:
        ready = ready_pids(status)
        return len(ready) == processes and victim not in ready

    await running.until(is_full_again, PATIENCE_SECONDS)
