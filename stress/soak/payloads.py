"""Payloads: tasks whose arguments and results have a million bytes."""

import os

from docket import Docket
from stress.report import Figure, Limit, Report
from stress.soak.cost import ADD_AND_RUN, Cost, compared_all
from stress.soak.environment import Environment
from stress.soak.scale import Scale
from stress.tasks import no_op

FULL = 1_000
SMALL = 50
BYTES = 1_000_000

#: Small payloads, and then large ones behind them: a worker that guessed the size of the next tasks
#: by that of the last ones would take too many.
SMALL_BEFORE_LARGE = 60
LARGE = 40

#: Of the server, beside the payload.
MUST_TIMES = 1.35
CONCURRENCY = 20
#: Added in one call, which holds all of its encoded payloads until it is done.
AT_ONCE = 10


async def echo(payload: bytes) -> bytes:
    """Return the payload."""
    return payload


async def run(environment: Environment, scale: Scale) -> Report:
    """Add and run large ones alone, and large ones behind small ones."""
    full, size = scale.of(FULL, 20), BYTES
    payload = os.urandom(size)
    async with Docket("soak", environment.url) as docket:
        docket.register(echo)
        docket.register(no_op)
        small: list[dict[str, Cost]] = []
        for _ in range(scale.rounds):
            count = min(SMALL, full)
            added = await environment.add(
                docket, count, lambda _: docket.call(echo)(payload), AT_ONCE
            )
            ran = await environment.drain(docket, count, CONCURRENCY)
            small.append({"add": added, "run": ran})
            await environment.empty()
        empty = await environment.memory()
        added = await environment.add(docket, full, lambda _: docket.call(echo)(payload), AT_ONCE)
        weight = (await environment.memory() - empty) / full
        found = {"add": added, "run": await environment.drain(docket, full, CONCURRENCY)}
        await environment.empty()
        await _mixed(environment, docket, payload)
    figures = [
        *compared_all(ADD_AND_RUN, small, found, scale.ratio_limit),
        Figure("memory for a byte", [weight / size], "", Limit("most", at_most=MUST_TIMES)),
    ]
    return Report("payloads", {"tasks": full, "bytes": size}, figures)


async def _mixed(environment: Environment, docket: Docket, payload: bytes) -> None:
    await environment.add(docket, SMALL_BEFORE_LARGE, lambda _: docket.call(no_op)())
    await environment.add(docket, LARGE, lambda _: docket.call(echo)(payload), AT_ONCE)
    await environment.drain(docket, SMALL_BEFORE_LARGE + LARGE, SMALL_BEFORE_LARGE + LARGE)
