"""Reload: SIGHUP to a busy pool, and the number of workers that are ready meanwhile."""

import asyncio
import json
import os
import random
import signal
import time
from dataclasses import dataclass

from stress.command import Settings
from stress.pool import ask
from stress.report import Figure, Limit, Report
from stress.runtime.capacity import CapacitySample, between, sample, widest_gap
from stress.runtime.loaded_pool import LoadedPool, loaded_pool
from stress.waiting import in_background, repeat
from supervisor.observer import ReloadFinished, WorkerDied

#: Of one reload: its workers finish what they run, and a task takes a second at most.
PATIENCE_SECONDS = 60.0
#: Before the first and between two: the pool is busy.
PAUSE_SECONDS = 0.5

#: For one answer; the supervisor's loop never takes this long.
ANSWER_SECONDS = 10.0

NONE = Limit("most", at_most=0)


class ReloadFailed(RuntimeError):
    """The code that runs could not be loaded again."""


@dataclass(frozen=True)
class Reload:
    """One reload: seconds from the signal to its end, and to the death of the last old worker."""

    seconds: float
    seconds_with_ends: float


async def run(url: str, settings: Settings) -> Report:
    """Reload the pool `rounds` times under load, and as often again while /status is asked."""
    chance = random.Random(settings.seed)
    async with loaded_pool(url, processes=settings.processes, chance=chance, options={}) as loaded:
        load = loaded.load
        async with load.running():
            # Answering as fast as it can costs the supervisor most of a CPU: the duration of a
            # reload is measured without it.
            reloads = [await _reload(loaded) for _ in range(settings.rounds)]
            observed = [await _observe(loaded) for _ in range(settings.rounds)]
        cut_short = load.log.cut_short()
    return Report(
        "reload",
        {
            "workers": settings.processes,
            "reloads": 2 * settings.rounds,
            "seed": settings.seed,
            "tasks": len(load.keys),
        },
        [
            *figures_of_capacity(observed, settings.processes),
            *figures_of_time(reloads),
            Figure("tasks cut short", [cut_short], "", NONE),
            Figure("tasks lost", [len(load.lost)], "", NONE),
            Figure("CPU of load and sampling", [load.generator_cpu_percent], "% of a core"),
        ],
    )


def figures_of_capacity(observed: list[list[CapacitySample]], target: int) -> list[Figure]:
    """The number of ready workers, and the density of the samples."""
    lowest = [min(sample.ready for sample in samples) for samples in observed]
    answers = [len(samples) for samples in observed]
    gaps = [widest_gap(samples) * 1000 for samples in observed]
    return [
        Figure("lowest number of ready workers", lowest, "", Limit("least", at_least=target)),
        Figure("answers of /status in a reload", answers),
        Figure("longest time between two", gaps, "ms"),
    ]


def figures_of_time(reloads: list[Reload]) -> list[Figure]:
    """The duration of the reloads."""
    ends = [each.seconds_with_ends for each in reloads]
    return [
        Figure("signal to the end of the reload", [each.seconds for each in reloads], "s"),
        Figure("signal to the last old worker's end", ends, "s"),
    ]


async def _observe(loaded: LoadedPool) -> list[CapacitySample]:
    samples: list[CapacitySample] = []

    async def look() -> None:
        asked_at = time.monotonic()
        _, body = await asyncio.to_thread(ask, loaded.running.port, "/status", ANSWER_SECONDS)
        samples.append(sample(json.loads(body), asked_at, time.monotonic()))

    # As fast as it is answered.
    async with in_background(repeat(look, 0.0)):
        begun = time.monotonic()
        await _reload(loaded)
        ended = time.monotonic()
    return between(samples, begun, ended)


async def _reload(loaded: LoadedPool) -> Reload:
    await asyncio.sleep(PAUSE_SECONDS)
    events = loaded.events
    since, old = len(events.seen), {worker.pid for worker in events.ready()}
    begun = time.monotonic()
    os.kill(loaded.running.pid, signal.SIGHUP)
    finished = await events.first(ReloadFinished, since, PATIENCE_SECONDS)
    if finished.error is not None:
        raise ReloadFailed(finished.error)
    for pid in old:
        await events.first(
            WorkerDied, since, PATIENCE_SECONDS, lambda event, pid=pid: event.pid == pid
        )
    return Reload(finished.at - begun, time.monotonic() - begun)
