"""Schedule: the lateness of tasks that are due at random instants."""

import asyncio
import random
import time
from datetime import UTC, datetime

from stress.bench.listener import delays, figures, producing, stamp
from stress.command import Settings
from stress.report import Report

TARGET_P50_MS = 2.0
TARGET_P99_MS = 10.0

#: From the adds to the first due time: all are scheduled before it.
LEAD_SECONDS = 1.0


async def produce(url: str, name: str, count: int, seconds: float) -> None:
    """Part: add `count` tasks that are due within `seconds`, on whole milliseconds."""
    async with producing(url, name) as docket:
        first = int((time.time() + LEAD_SECONDS) * 1000)
        due = [(first + int(random.uniform(0, seconds) * 1000)) / 1000 for _ in range(count)]
        await asyncio.gather(
            *(docket.add(stamp, when=datetime.fromtimestamp(at, UTC))(at) for at in due)
        )


async def run(url: str, settings: Settings) -> Report:
    """Measure the lateness of `count` tasks a round."""
    rounds = [
        await delays(url, "time", settings.count, produce, seconds=settings.seconds)
        for _ in range(settings.rounds)
    ]
    return Report(
        "schedule",
        {"tasks": settings.count, "seconds": settings.seconds, "rounds": settings.rounds},
        figures("due to start", rounds, TARGET_P50_MS, TARGET_P99_MS),
    )
