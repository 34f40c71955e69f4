"""Waiting: ten thousand keys that wait for the slots of one concurrency limit."""

import asyncio
import time

from docket import ConcurrencyLimit, Docket, Worker
from stress.report import Figure, Report
from stress.soak.cost import Round, at_both_sizes, compared_all, metered
from stress.soak.environment import CONCURRENCY, Environment
from stress.soak.queue import memory_figures, payload_bytes
from stress.soak.scale import Scale
from stress.waiting import eventually

FULL = 10_000
SLOTS = 10
LOOK_SECONDS = 0.02
LINED_UP_SECONDS = 600.0

#: Of this process, as is the worker: a task keeps its slot until the gate opens.
_gate = asyncio.Event()


async def gated(
    where: str = "here", limit: ConcurrencyLimit = ConcurrencyLimit("where", SLOTS)
) -> None:
    """Take a slot, and end once the gate is open."""
    await _gate.wait()


NAMES = {"lined up": "claim and put in line", "woken": "wake and run"}


async def run(environment: Environment, scale: Scale) -> Report:
    """Let all keys wait, sweep, let them go; the small size before and after."""
    full = scale.of(FULL, 500)
    async with Docket("soak", environment.url) as docket:
        docket.register(gated)
        small, found = await at_both_sizes(
            lambda count: _round(environment, docket, count),
            min(scale.small, full // 2),
            full,
            max(1, scale.rounds // 2),
        )
        payload = payload_bytes(docket.call(gated)("here"), docket)
    figures = [
        *compared_all(NAMES, small, found.costs, scale.ratio_limit),
        *memory_figures(found.weight, payload),
        Figure("sweep of all waiting keys", [found.sweep_seconds], "s"),
    ]
    return Report("waiting", {"keys": full, "slots": SLOTS}, figures)


async def _round(environment: Environment, docket: Docket, count: int) -> Round:
    _gate.clear()
    empty = await environment.memory()
    await environment.add(docket, count, lambda _: docket.call(gated)("here"))

    async def are_lined_up() -> bool:
        return await environment.client.zcard(docket.keys.queue) >= count - SLOTS

    async with Worker(docket, concurrency=CONCURRENCY) as worker, asyncio.TaskGroup() as group:
        async with metered(environment.client, count) as lined_up:
            running = group.create_task(worker.run_until_finished())
            await eventually(are_lined_up, LINED_UP_SECONDS, every=LOOK_SECONDS)
        weight = (await environment.memory() - empty) / count
        began = time.monotonic()
        await docket.transitions.limits.sweep()
        swept = time.monotonic() - began
        async with metered(environment.client, count) as woken:
            _gate.set()
            await running
    if worker.counters.succeeded != count:
        raise RuntimeError(f"{worker.counters.succeeded} of {count} tasks succeeded")
    return Round({"lined up": lined_up, "woken": woken}, weight, swept)
