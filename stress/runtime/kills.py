"""Kills: SIGKILL to one worker after another of a busy pool.

Each kill hits a random worker at a random moment, once everything that the one before it had
interrupted has ended: single kills are measured. Restarts are not paused (the backoff of a slot is
another promise), and no task is taken for poison however often it was hit.
"""

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass

from stress.command import Settings
from stress.report import Figure, Limit, Report
from stress.runtime.loaded_pool import LoadedPool, loaded_pool
from supervisor.observer import WorkerDied, WorkerReady

MUST_START_MS = 250
MUST_REPLACE_MS = 1000

#: Between the end of what the last kill interrupted and the next kill.
PAUSE_SECONDS = (0.1, 0.5)
#: For whatever follows a kill; much more than it may take.
PATIENCE_SECONDS = 20.0

OPTIONS = {"--backoff-max": "0s", "--max-restarts": "100000", "--max-deliveries": "1000"}


@dataclass(frozen=True)
class Kill:
    """The consequences of one kill, in milliseconds after it."""

    seen: float
    #: None if the worker was in the middle of nothing.
    started_again: float | None
    replaced: float
    interrupted: int


async def run(url: str, settings: Settings) -> Report:
    """Kill `rounds` workers, one after the other."""
    chance = random.Random(settings.seed)
    async with loaded_pool(
        url, processes=settings.processes, chance=chance, options=OPTIONS
    ) as loaded:
        async with loaded.load.running():
            kills = [await kill_one(loaded, chance) for _ in range(settings.rounds)]
        tasks = len(loaded.load.keys)
    return Report(
        "kills",
        {"workers": settings.processes, "kills": len(kills), "seed": settings.seed, "tasks": tasks},
        figures(kills, len(loaded.load.lost), loaded.load.generator_cpu_percent),
    )


def figures(kills: list[Kill], lost: int, generator_cpu_percent: float) -> list[Figure]:
    """Summarize the kills.

    Raises:
        ValueError: no kill hit a worker that was in the middle of a task.
    """
    start_limit = Limit("p99", below=MUST_START_MS)
    ready_limit = Limit("p99", below=MUST_REPLACE_MS)
    return [
        Figure("kill to death seen", [kill.seen for kill in kills], "ms"),
        *delays(kills, start_limit, ready_limit),
        Figure("tasks interrupted by a kill", [kill.interrupted for kill in kills]),
        Figure("tasks lost", [lost], "", Limit("most", at_most=0)),
        Figure("CPU of the load's generator", [generator_cpu_percent], "% of a core"),
    ]


def delays(kills: list[Kill], start_limit: Limit, ready_limit: Limit) -> list[Figure]:
    """The figures of both delays, from a kill to redelivery and to replacement.

    Raises:
        ValueError: no kill hit a worker that was in the middle of a task.
    """
    again = [kill.started_again for kill in kills if kill.started_again is not None]
    if not again:
        raise ValueError("no kill hit a task: nothing can be said about redelivery")
    return [
        Figure("kill to first redelivered start", again, "ms", start_limit),
        Figure("kill to replacement ready", [kill.replaced for kill in kills], "ms", ready_limit),
    ]


async def kill_one(loaded: LoadedPool, chance: random.Random) -> Kill:
    """Kill a random worker, and wait for its replacement and for the tasks that it ran."""
    await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))
    events, load = loaded.events, loaded.load
    victim = chance.choice(events.ready())
    since = len(events.seen)
    killed_at = time.monotonic()
    os.kill(victim.pid, signal.SIGKILL)
    died = await events.first(
        WorkerDied, since, PATIENCE_SECONDS, lambda event: event.pid == victim.pid
    )
    replaced = await events.first(
        WorkerReady, since, PATIENCE_SECONDS, lambda event: event.slot == victim.slot
    )
    interrupted = load.log.interrupted(victim.pid)
    await load.unended(interrupted, PATIENCE_SECONDS)
    again = load.log.first_start_again(victim.pid)
    return Kill(
        seen=(died.at - killed_at) * 1000,
        started_again=None if again is None else (again - killed_at) * 1000,
        replaced=(replaced.at - killed_at) * 1000,
        interrupted=len(interrupted),
    )
