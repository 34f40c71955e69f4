"""Reload: SIGHUP to a busy pool; how many workers are ready meanwhile, by /status."""

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass

from stress.runtime.capacity import Sample, between, widest_gap
from stress.runtime.pool import LoadedPool, loaded_pool
from stress.runtime.report import Figure, Limit, Report
from stress.runtime.sampler import Sampler
from stress.runtime.settings import Settings
from supervisor.observer import ReloadFinished, WorkerDied

#: Of one reload: its workers finish what they run, and a task takes a second at most.
PATIENCE_SECONDS = 60.0
#: Before the first and between two: the pool is busy.
PAUSE_SECONDS = 0.5

NONE = Limit("most", at_most=0)


class ReloadFailed(RuntimeError):
    """The code that runs already could not be loaded again."""


@dataclass(frozen=True)
class Reload:
    """One reload: seconds from the signal to its end, and to the death of the last old worker."""

    seconds: float
    seconds_with_ends: float


@dataclass(frozen=True)
class LookedAt:
    """What /status said during one reload, until the last old worker was gone."""

    samples: list[Sample]


async def run(url: str, settings: Settings) -> Report:
    """Reload the pool `rounds` times under load, and as often again while /status is asked."""
    chance = random.Random(settings.seed)
    async with loaded_pool(url, processes=settings.processes, chance=chance, options={}) as loaded:
        load = loaded.load
        async with load.running():
            # Answering as fast as it can takes the supervisor most of a CPU: the time that a
            # reload takes is measured without it.
            reloads = [await _reload(loaded) for _ in range(settings.rounds)]
            looked_at = [await _look_at(loaded) for _ in range(settings.rounds)]
        cut_short = load.ledger.cut_short()
    return Report(
        "reload",
        {
            "workers": settings.processes,
            "reloads": 2 * settings.rounds,
            "seed": settings.seed,
            "tasks": len(load.keys),
        },
        [
            *figures_of_capacity(looked_at, settings.processes),
            *figures_of_time(reloads),
            Figure("tasks cut short", [cut_short], "", NONE),
            Figure("tasks lost", [len(load.lost)], "", NONE),
            Figure("CPU of load and looking", [load.generator_cpu_percent], "% of a core"),
        ],
    )


def figures_of_capacity(looked_at: list[LookedAt], target: int) -> list[Figure]:
    """How many were ready, and how closely that was looked at."""
    lowest = [min(sample.ready for sample in each.samples) for each in looked_at]
    answers = [len(each.samples) for each in looked_at]
    gaps = [widest_gap(each.samples) * 1000 for each in looked_at]
    return [
        Figure("lowest number of ready workers", lowest, "", Limit("least", at_least=target)),
        Figure("answers of /status in a reload", answers),
        Figure("longest time between two", gaps, "ms"),
    ]


def figures_of_time(reloads: list[Reload]) -> list[Figure]:
    """How long it took."""
    ends = [each.seconds_with_ends for each in reloads]
    return [
        Figure("signal to the end of the reload", [each.seconds for each in reloads], "s"),
        Figure("signal to the last old worker's end", ends, "s"),
    ]


async def _look_at(loaded: LoadedPool) -> LookedAt:
    async with Sampler(loaded.running.port) as sampler:
        begun = time.monotonic()
        await _reload(loaded)
        ended = time.monotonic()
    return LookedAt(between(sampler.samples, begun, ended))


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
