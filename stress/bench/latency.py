"""Latency: from an add in one process to the start in the idle worker of another, and its floor."""

import asyncio
import random
import time

from stress.bench import latency_floor
from stress.bench.listener import (
    PAUSE_SECONDS,
    delays,
    figures,
    listen,
    percentiles,
    producing,
    stamp,
)
from stress.command import Settings
from stress.report import Figure, Report

TARGET_P50_MS = 1.4
TARGET_P99_MS = 4.0


async def produce(url: str, name: str, count: int) -> None:
    """Part: add `count` tasks, each long after the one before has run."""
    async with producing(url, name) as docket:
        for _ in range(count):
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
            await docket.add(stamp)(time.monotonic())


async def run(url: str, settings: Settings) -> Report:
    """Measure the delay of `count` adds a round, in turns with the floor."""
    count, library, floor = settings.count, list[list[float]](), list[list[float]]()
    parts = [(library, produce, listen), (floor, latency_floor.produce, latency_floor.listen)]
    for _ in range(settings.rounds):
        parts.reverse()  # neither is always the first
        for rounds, producer, listener in parts:
            rounds.append(await delays(url, "monotonic", count, producer, listener))
    return Report(
        "latency",
        {"tasks": count, "rounds": settings.rounds},
        [
            *figures("enqueue to start", library, TARGET_P50_MS, TARGET_P99_MS),
            *(Figure(f"floor, p{each}", percentiles(floor, each), "ms") for each in (50, 99)),
            *(
                Figure(
                    f"library / floor, p{each}",
                    _ratios(percentiles(library, each), percentiles(floor, each)),
                )
                for each in (50, 99)
            ),
            *(
                Figure(f"{name}, p99 / p50", _ratios(percentiles(of, 99), percentiles(of, 50)))
                for name, of in (("library", library), ("floor", floor))
            ),
        ],
    )


def _ratios(dividends: list[float], divisors: list[float]) -> list[float]:
    return [each / by for each, by in zip(dividends, divisors, strict=True)]
