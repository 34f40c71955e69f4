"""Waiting: ten thousand keys that wait for the slots of one limit."""

import asyncio
import time
from dataclasses import dataclass

from docket import ConcurrencyLimit, Docket, Worker
from stress.runtime.report import Figure, Report
from stress.soak.cost import Cost, compared, metered
from stress.soak.ground import CONCURRENCY, Ground
from stress.soak.queue import memory_figures, payload_bytes
from stress.soak.settings import Settings

FULL = 10_000
SLOTS = 10
LOOK_SECONDS = 0.02

#: In this process, as the worker is: whoever has a slot keeps it until the gate opens.
_gate = asyncio.Event()


async def gated(
    where: str = "here", limit: ConcurrencyLimit = ConcurrencyLimit("where", SLOTS)
) -> None:
    """Take a slot, and end once the gate is open."""
    await _gate.wait()


@dataclass(frozen=True)
class _Round:
    lined_up: Cost
    woken: Cost
    weight: float
    sweep_seconds: float


async def run(ground: Ground, settings: Settings) -> Report:
    """Let them all wait, look after them, let them go; the small size before and after."""
    full = settings.of(FULL, 500)
    small_size = min(settings.small, full // 2)
    async with Docket("soak", ground.url) as docket:
        docket.register(gated)
        await _round(ground, docket, small_size)
        rounds = range(max(1, settings.rounds // 2))
        small = [await _round(ground, docket, small_size) for _ in rounds]
        found = await _round(ground, docket, full)
        small += [await _round(ground, docket, small_size) for _ in rounds]
        payload = payload_bytes(docket.call(gated)("here"), docket)
    figures = [
        *compared(
            "claim and put in line",
            [each.lined_up for each in small],
            found.lined_up,
            settings.ratio_limit,
        ),
        *compared(
            "wake and run", [each.woken for each in small], found.woken, settings.ratio_limit
        ),
        *memory_figures(found.weight, payload),
        Figure("looking after all who wait", [found.sweep_seconds], "s"),
    ]
    return Report("waiting", {"keys": full, "slots": SLOTS}, figures)


async def _round(ground: Ground, docket: Docket, count: int) -> _Round:
    _gate.clear()
    empty = await ground.memory()
    await ground.add(docket, count, lambda _: docket.call(gated)("here"))
    async with Worker(docket, concurrency=CONCURRENCY) as worker, asyncio.TaskGroup() as group:
        async with metered(ground.client, count) as lined_up:
            running = group.create_task(worker.run_until_finished())
            await _lined_up(ground, docket, count - SLOTS)
        weight = (await ground.memory() - empty) / count
        began = time.monotonic()
        await docket.transitions.limits.sweep()
        swept = time.monotonic() - began
        async with metered(ground.client, count) as woken:
            _gate.set()
            await running
    if worker.counters.succeeded != count:
        raise RuntimeError(f"{worker.counters.succeeded} of {count} tasks succeeded")
    return _Round(lined_up, woken, weight, swept)


async def _lined_up(ground: Ground, docket: Docket, count: int) -> None:
    while await ground.client.zcard(docket.keys.queue) < count:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_SECONDS)
