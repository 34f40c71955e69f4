"""Latency: from an add in one process to the start in the idle worker of another."""

import asyncio
import random
import time
from datetime import timedelta

from docket import Docket
from stress.bench.child import beside, measure
from stress.bench.listener import listen, producer_tasks, stamp
from stress.bench.report import Figure, Report, percentile
from stress.bench.server import docket_name

TARGET_P50_MS = 1.4
TARGET_P99_MS = 4.0

#: Between two adds, so that the worker is idle again: random, or it could fall in with a timer.
PAUSE_SECONDS = (0.005, 0.025)


async def produce(url: str, name: str, count: int) -> None:
    """Part: add `count` tasks, each when the one before has long run."""
    async with Docket(name, url) as docket:
        producer_tasks(docket)
        ready = await docket.add("greet")()
        await ready.get_result(timeout=timedelta(seconds=20))
        for _ in range(count):
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
            await docket.add(stamp)(time.monotonic())


async def run(url: str, *, rounds: int, count: int) -> Report:
    """Args: url of the server; rounds; count of adds a round."""
    found: list[list[float]] = []
    for _ in range(rounds):
        async with (
            docket_name(url) as name,
            beside(
                listen, url=url, name=name, clock="monotonic", count=count, concurrency=10
            ) as late,
        ):
            await measure(produce, url=url, name=name, count=count)
            found.append([seconds * 1000 for seconds in await late])
    p50 = [percentile(each, 50) for each in found]
    p99 = [percentile(each, 99) for each in found]
    return Report(
        "latency",
        {"tasks": count, "rounds": rounds},
        [
            Figure("enqueue to start, p50", p50, "ms", at_most=TARGET_P50_MS),
            Figure("enqueue to start, p99", p99, "ms", at_most=TARGET_P99_MS),
        ],
    )
