"""Enqueue: the cost of concurrent adds, beside adds that are awaited one by one."""

import asyncio
import time

from redis.asyncio import Redis

from docket import Docket
from stress.bench.child import measure
from stress.command import Settings
from stress.report import Figure, Limit, Report
from stress.server import docket_name
from stress.tasks import no_op

TARGET_CALLS = 10
TARGET_RATIO = 6

#: Times that the concurrent adds of a round are repeated: one batch takes a few milliseconds.
BATCHES = 5


async def script_calls(client: Redis) -> int:
    """Count the scripts that the server was asked to run so far: each is at most one round trip."""
    stats = await client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))


async def produce(url: str, name: str, count: int) -> dict[str, float]:
    """Part: measure the rates of both ways of adding, and the script calls for adds at once."""
    async with Docket(name, url) as docket, Redis.from_url(url) as client:
        docket.register(no_op)
        await docket.add(no_op)()
        calls_before = await script_calls(client)
        started = time.perf_counter()
        for _ in range(BATCHES):
            await asyncio.gather(*(docket.add(no_op)() for _ in range(count)))
        together = time.perf_counter() - started
        calls = await script_calls(client) - calls_before
        started = time.perf_counter()
        for _ in range(count):
            await docket.add(no_op)()
        one_by_one = time.perf_counter() - started
    return {
        "together": BATCHES * count / together,
        "one by one": count / one_by_one,
        "calls": calls / BATCHES,
    }


async def run(url: str, settings: Settings) -> Report:
    """Add `count` tasks at once and `count` in turn; nobody else may run scripts meanwhile."""
    rounds, count = settings.rounds, settings.count
    found: list[dict[str, float]] = []
    for _ in range(rounds):
        async with docket_name(url) as name:
            found.append(await measure(produce, url=url, name=name, count=count))
    together = [each["together"] for each in found]
    one_by_one = [each["one by one"] for each in found]
    ratios = [ours / other for ours, other in zip(together, one_by_one, strict=True)]
    calls = [each["calls"] for each in found]
    few_calls, high_ratio = (
        Limit("median", at_most=TARGET_CALLS),
        Limit("median", at_least=TARGET_RATIO),
    )
    return Report(
        "enqueue",
        {"adds": count, "rounds": rounds},
        [
            Figure("adds awaited together", together, "tasks/s"),
            Figure("adds awaited one by one", one_by_one, "tasks/s"),
            Figure("together / one by one", ratios, "", high_ratio),
            Figure(f"round trips for {count} adds, at most", calls, "", few_calls),
        ],
    )
