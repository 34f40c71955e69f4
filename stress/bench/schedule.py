"""Schedule: how late tasks start that are due at random instants."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta

from docket import Docket
from stress.bench.child import beside, measure
from stress.bench.listener import listen, producer_tasks, stamp
from stress.bench.report import Figure, Report, percentile
from stress.bench.server import docket_name

TARGET_P50_MS = 2.0
TARGET_P99_MS = 10.0

#: From the adds to the first due time: all are scheduled before it.
LEAD_SECONDS = 1.0


async def produce(url: str, name: str, count: int, seconds: float) -> None:
    """Part: add `count` tasks that are due within `seconds`, on whole milliseconds."""
    async with Docket(name, url) as docket:
        producer_tasks(docket)
        ready = await docket.add("greet")()
        await ready.get_result(timeout=timedelta(seconds=20))
        first = int((time.time() + LEAD_SECONDS) * 1000)
        due = [(first + int(random.uniform(0, seconds) * 1000)) / 1000 for _ in range(count)]
        await asyncio.gather(
            *(docket.add(stamp, when=datetime.fromtimestamp(at, UTC))(at) for at in due)
        )


async def run(url: str, *, rounds: int, count: int, seconds: float) -> Report:
    """Args: url of the server; rounds; count of tasks; seconds over which they are due."""
    found: list[list[float]] = []
    for _ in range(rounds):
        async with (
            docket_name(url) as name,
            beside(listen, url=url, name=name, clock="time", count=count, concurrency=10) as late,
        ):
            await measure(produce, url=url, name=name, count=count, seconds=seconds)
            found.append([each * 1000 for each in await late])
    p50 = [percentile(each, 50) for each in found]
    p99 = [percentile(each, 99) for each in found]
    return Report(
        "schedule",
        {"tasks": count, "seconds": seconds, "rounds": rounds},
        [
            Figure("due to start, p50", p50, "ms", at_most=TARGET_P50_MS),
            Figure("due to start, p99", p99, "ms", at_most=TARGET_P99_MS),
        ],
    )
