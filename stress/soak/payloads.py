"""Payloads: tasks whose arguments and results have a million bytes."""

import os

from docket import Docket
from stress.bench.jobs import no_op
from stress.runtime.report import Figure, Limit, Report
from stress.soak.cost import Cost, compared
from stress.soak.ground import Ground
from stress.soak.settings import Settings

FULL = 1_000
SMALL = 50
BYTES = 1_000_000

#: Small ones, and then large ones behind them: whoever guesses the sizes of the next ones by those
#: of the last ones takes too many of these.
SMALL_BEFORE_LARGE = 60
LARGE = 40

#: Of the server, beside the payload.
MUST_TIMES = 1.35
CONCURRENCY = 20
#: Added in one call: all payloads of a call are held, encoded, until it is through.
AT_ONCE = 10


async def echo(payload: bytes) -> bytes:
    """Give back as many bytes as came."""
    return payload


async def run(ground: Ground, settings: Settings) -> Report:
    """Add and run large ones alone, and large ones behind small ones."""
    full, size = settings.of(FULL, 20), BYTES
    payload = os.urandom(size)
    async with Docket("soak", ground.url) as docket:
        docket.register(echo)
        docket.register(no_op)
        small: list[tuple[Cost, Cost]] = []
        for _ in range(settings.rounds):
            count = min(SMALL, full)
            added = await ground.add(docket, count, lambda _: docket.call(echo)(payload), AT_ONCE)
            small.append((added, await ground.drain(docket, count, CONCURRENCY)))
            await ground.empty()
        empty = await ground.memory()
        added = await ground.add(docket, full, lambda _: docket.call(echo)(payload), AT_ONCE)
        weight = (await ground.memory() - empty) / full
        ran = await ground.drain(docket, full, CONCURRENCY)
        await ground.empty()
        await _mixed(ground, docket, payload)
    figures = [
        *compared("add", [cost for cost, _ in small], added, settings.ratio_limit),
        *compared("run", [cost for _, cost in small], ran, settings.ratio_limit),
        Figure("memory for a byte", [weight / size], "", Limit("most", at_most=MUST_TIMES)),
    ]
    return Report("payloads", {"tasks": full, "bytes": size}, figures)


async def _mixed(ground: Ground, docket: Docket, payload: bytes) -> None:
    await ground.add(docket, SMALL_BEFORE_LARGE, lambda _: docket.call(no_op)())
    await ground.add(docket, LARGE, lambda _: docket.call(echo)(payload), AT_ONCE)
    await ground.drain(docket, SMALL_BEFORE_LARGE + LARGE, SMALL_BEFORE_LARGE + LARGE)
