"""Latency: from an add in one process to the start in the idle worker of another."""

import asyncio
import random
import time

from stress.bench.listener import delays, figures, producing, stamp
from stress.command import Settings
from stress.report import Report

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
    """Measure the delay of `count` adds a round."""
    rounds = [
        await delays(url, "monotonic", settings.count, produce) for _ in range(settings.rounds)
    ]
    return Report(
        "latency",
        {"tasks": settings.count, "rounds": settings.rounds},
        figures("enqueue to start", rounds, TARGET_P50_MS, TARGET_P99_MS),
    )
