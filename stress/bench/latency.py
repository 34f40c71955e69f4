"""Latency: from an add in one process to the start in the idle worker of another, and its floor."""

import asyncio
import random
import time

from stress.bench import latency_floor
from stress.bench.listener import delays, figures, producing, stamp
from stress.command import Settings
from stress.report import Figure, Report, percentile

TARGET_P50_MS = 1.4
TARGET_P99_MS = 4.0

#: Between two adds, so that the worker is idle again: random, or it could fall in with a timer.
PAUSE_SECONDS = (0.005, 0.025)


async def produce(url: str, name: str, count: int) -> None:
    """Part: add `count` tasks, each long after the one before has run."""
    async with producing(url, name) as docket:
        for _ in range(count):
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
            await docket.add(stamp)(time.monotonic())


async def run(url: str, settings: Settings) -> Report:
    """Measure the delay of `count` adds a round, in turns with the floor."""
    count, library, floor = settings.count, list[list[float]](), list[list[float]]()
    for number in range(settings.rounds):
        if number % 2 == 0:
            floor.append(await latency_floor.delays(url, count, PAUSE_SECONDS))
        library.append(await delays(url, "monotonic", count, produce))
        if number % 2:
            floor.append(await latency_floor.delays(url, count, PAUSE_SECONDS))
    return Report(
        "latency",
        {"tasks": count, "rounds": settings.rounds},
        [
            *figures("enqueue to start", library, TARGET_P50_MS, TARGET_P99_MS),
            *(Figure(f"floor, p{each}", _percentiles(floor, each), "ms") for each in (50, 99)),
            *(
                Figure(f"library / floor, p{each}", _ratios(library, floor, each))
                for each in (50, 99)
            ),
            Figure("library, p99 / p50", _spreads(library)),
            Figure("floor, p99 / p50", _spreads(floor)),
        ],
    )


def _percentiles(rounds: list[list[float]], percent: int) -> list[float]:
    return [percentile(each, percent) for each in rounds]


def _spreads(rounds: list[list[float]]) -> list[float]:
    return [percentile(each, 99) / percentile(each, 50) for each in rounds]


def _ratios(ours: list[list[float]], floor: list[list[float]], percent: int) -> list[float]:
    pairs = zip(_percentiles(ours, percent), _percentiles(floor, percent), strict=True)
    return [each / least for each, least in pairs]
