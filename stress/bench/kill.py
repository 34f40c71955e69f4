"""Kill: the death of one of two busy workers, the redelivery of its tasks, its replacement."""

import asyncio
import random

from stress.command import Settings
from stress.report import Figure, Limit, Report
from stress.runtime.kills import Kill, delays, kill_one
from stress.runtime.loaded_pool import loaded_pool

TARGET_REDELIVERED_MS = 100
TARGET_READY_MS = 500

WORKERS = 2
#: From the adds to the kill, at least.
BUSY_SECONDS = 0.5


async def run(url: str, settings: Settings) -> Report:
    """Kill one worker a round."""
    kills = [await _kill(url, settings.count) for _ in range(settings.rounds)]
    soon_started = Limit("median", at_most=TARGET_REDELIVERED_MS)
    soon_ready = Limit("median", at_most=TARGET_READY_MS)
    return Report(
        "kill",
        {"workers": WORKERS, "tasks": settings.count, "rounds": settings.rounds},
        [
            *delays(kills, soon_started, soon_ready),
            Figure("tasks redelivered", [kill.interrupted for kill in kills]),
        ],
    )


async def _kill(url: str, count: int) -> Kill:
    chance = random.Random()
    async with loaded_pool(url, processes=WORKERS, chance=chance, options={}) as loaded:
        await loaded.load.add(count)
        await asyncio.sleep(BUSY_SECONDS)
        kill = await kill_one(loaded, chance)
        await loaded.load.settle()
    if loaded.load.lost:
        raise RuntimeError(f"{len(loaded.load.lost)} tasks were lost")
    if kill.started_again is None:
        raise RuntimeError("the killed worker ran nothing: more tasks are needed")
    return kill
