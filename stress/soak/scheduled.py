"""Scheduled: a hundred thousand tasks that are all due in the same second."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from docket import Docket
from stress.bench.jobs import no_op
from stress.runtime.report import Figure, Report
from stress.soak.cost import Cost, compared
from stress.soak.ground import Ground
from stress.soak.queue import memory_figures, payload_bytes
from stress.soak.settings import Settings

FULL = 100_000

#: From the first add to the second in which all are due, for each task: all are there before it.
LEAD_SECONDS = 2.0
LEAD_SECONDS_PER_TASK = 0.0005


async def run(ground: Ground, settings: Settings) -> Report:
    """Schedule, wait until they are due, promote and run; the small size before and after."""
    full = settings.of(FULL, 1_000)
    async with Docket("soak", ground.url) as docket:
        docket.register(no_op)
        await _round(ground, docket, settings.small)
        rounds = range(max(1, settings.rounds // 2))
        small = [await _round(ground, docket, settings.small) for _ in rounds]
        empty = await ground.memory()
        weights: list[float] = []

        async def weigh() -> None:
            weights.append((await ground.memory() - empty) / full)

        added, ran = await _round(ground, docket, full, weigh)
        small += [await _round(ground, docket, settings.small) for _ in rounds]
        payload = payload_bytes(docket.call(no_op)(), docket)
    figures = [
        *compared("schedule", [cost for cost, _ in small], added, settings.ratio_limit),
        *compared("promote and run", [cost for _, cost in small], ran, settings.ratio_limit),
        *memory_figures(weights[0], payload),
        Figure("due to the end of all", [ran.wall], "s"),
    ]
    return Report("scheduled", {"tasks": full}, figures)


async def _round(
    ground: Ground,
    docket: Docket,
    count: int,
    there: Callable[[], Awaitable[None]] | None = None,
) -> tuple[Cost, Cost]:
    due = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS + count * LEAD_SECONDS_PER_TASK)
    added = await ground.add(docket, count, lambda _: docket.call(no_op, when=due)())
    if there is not None:
        await there()
    await asyncio.sleep(max(0.0, due.timestamp() - time.time()) + 0.01)
    return added, await ground.drain(docket, count)
