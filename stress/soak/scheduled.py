"""Scheduled: a hundred thousand tasks that are all due in the same second."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from docket import Docket
from stress.report import Figure, Report
from stress.soak.cost import Cost, compared_all
from stress.soak.environment import Environment
from stress.soak.queue import memory_figures, payload_bytes
from stress.soak.scale import Scale
from stress.tasks import no_op

FULL = 100_000
NAMES = {"add": "schedule", "run": "promote and run"}

#: From the first add to the second in which all are due, for each task: all are there before it.
LEAD_SECONDS = 2.0
LEAD_SECONDS_PER_TASK = 0.0005


async def run(environment: Environment, scale: Scale) -> Report:
    """Schedule, wait until they are due, promote and run; the small size before and after."""
    full = scale.of(FULL, 1_000)
    async with Docket("soak", environment.url) as docket:
        docket.register(no_op)
        await _round(environment, docket, scale.small)
        rounds = range(max(1, scale.rounds // 2))
        small = [await _round(environment, docket, scale.small) for _ in rounds]
        empty = await environment.memory()
        weights: list[float] = []

        async def weigh() -> None:
            weights.append((await environment.memory() - empty) / full)

        found = await _round(environment, docket, full, weigh)
        small += [await _round(environment, docket, scale.small) for _ in rounds]
        payload = payload_bytes(docket.call(no_op)(), docket)
    figures = [
        *compared_all(NAMES, small, found, scale.ratio_limit),
        *memory_figures(weights[0], payload),
        Figure("due to the end of all", [found["run"].wall], "s"),
    ]
    return Report("scheduled", {"tasks": full}, figures)


async def _round(
    environment: Environment,
    docket: Docket,
    count: int,
    all_added: Callable[[], Awaitable[None]] | None = None,
) -> dict[str, Cost]:
    due = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS + count * LEAD_SECONDS_PER_TASK)
    added = await environment.add(docket, count, lambda _: docket.call(no_op, when=due)())
    if all_added is not None:
        await all_added()
    await asyncio.sleep(max(0.0, due.timestamp() - time.time()) + 0.01)
    return {"add": added, "run": await environment.drain(docket, count)}
