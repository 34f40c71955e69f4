"""Scheduled: a hundred thousand tasks that are all due in the same second."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

from docket import Docket
from stress.report import Figure, Report
from stress.soak.cost import Round, at_both_sizes, compared_all
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
        small, found = await at_both_sizes(
            lambda count: _round(environment, docket, count),
            scale.small,
            full,
            max(1, scale.rounds // 2),
        )
        payload = payload_bytes(docket.call(no_op)(), docket)
    figures = [
        *compared_all(NAMES, small, found.costs, scale.ratio_limit),
        *memory_figures(found.weight, payload),
        Figure("due to the end of all", [found.costs["run"].wall], "s"),
    ]
    return Report("scheduled", {"tasks": full}, figures)


async def _round(environment: Environment, docket: Docket, count: int) -> Round:
    empty = await environment.memory()
    due = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS + count * LEAD_SECONDS_PER_TASK)
    added = await environment.add(docket, count, lambda _: docket.call(no_op, when=due)())
    weight = (await environment.memory() - empty) / count
    await asyncio.sleep(max(0.0, due.timestamp() - time.time()) + 0.01)
    return Round({"add": added, "run": await environment.drain(docket, count)}, weight)
