"""Strikes: a thousand conditions in effect, and a thousand that came and went."""

import time

from docket import Docket
from stress.runtime.report import Figure, Limit, Report
from stress.soak.cost import Cost, compared
from stress.soak.ground import Ground
from stress.soak.settings import Settings

FULL = 1_000
#: Times that each is struck and restored before it is struck for good.
CHANGES = 5
#: Tasks that are run under them.
TASKS = 5_000
STARTS = 9

#: For a docket to open and to know all of them, in milliseconds of CPU of its process.
MUST_START_MS = 60


async def serve(customer: int) -> None:
    """Nothing, for a customer."""


async def run(ground: Ground, settings: Settings) -> Report:
    """Add and run tasks under one strike and under all; open dockets under both."""
    full = settings.of(FULL, 20)
    async with Docket("soak", ground.url) as docket:
        docket.register(serve)
        await docket.strike(serve, "customer", "==", -1)
        await _round(ground, docket, settings)
        few = [await _round(ground, docket, settings) for _ in range(settings.rounds)]
        start_few = [await _start_ms(ground, 1) for _ in range(STARTS)]
        for _ in range(CHANGES):
            for customer in range(2, full + 1):
                await docket.strike(serve, "customer", "==", -customer)
                await docket.restore(serve, "customer", "==", -customer)
        for customer in range(2, full + 1):
            await docket.strike(serve, "customer", "==", -customer)
        kept = await ground.client.xlen(docket.keys.strikes)
        added, ran = await _round(ground, docket, settings)
        start_all = [await _start_ms(ground, full) for _ in range(STARTS)]
    instructions = 1 + (full - 1) * (2 * CHANGES + 1)
    sizes = ("under 1 strike", f"under {full:,} strikes")
    limit = Limit("median", at_most=MUST_START_MS)
    figures = [
        *compared("add", [cost for cost, _ in few], added, settings.ratio_limit, sizes),
        *compared("run", [cost for _, cost in few], ran, settings.ratio_limit, sizes),
        Figure(f"open a docket {sizes[0]}, CPU", start_few, "ms"),
        Figure(f"open a docket {sizes[1]}, CPU", start_all, "ms", limit),
        Figure("instructions kept", [kept], "", Limit("most", at_most=full)),
    ]
    return Report("strikes", {"strikes": full, "instructions": instructions}, figures)


async def _round(ground: Ground, docket: Docket, settings: Settings) -> tuple[Cost, Cost]:
    count = settings.of(TASKS, 100)
    added = await ground.add(docket, count, docket.call(serve))
    return added, await ground.drain(docket, count)


async def _start_ms(ground: Ground, strikes: int) -> float:
    began = time.process_time()
    async with Docket("soak", ground.url) as docket:
        await docket.wait_for_strikes_loaded()
        milliseconds = (time.process_time() - began) * 1000
        if docket.strike_list.in_effect != strikes:
            raise RuntimeError(f"{docket.strike_list.in_effect} of {strikes} strikes are known")
    return milliseconds
