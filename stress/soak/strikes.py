"""Strikes: a thousand in effect, and a thousand that were struck and restored."""

import time

from docket import Docket
from stress.report import Figure, Limit, Report
from stress.soak.cost import ADD_AND_RUN, Cost, compared_all
from stress.soak.environment import Environment
from stress.soak.scale import Scale

FULL = 1_000
#: Times that each is struck and restored before it is struck for good.
CHANGES = 5
#: Tasks that are run under them.
TASKS = 5_000
STARTS = 9

#: For a docket to open and to know all of them, in milliseconds of CPU of its process.
MUST_START_MS = 60


async def serve(customer: int) -> None:
    """Do nothing, for a customer."""


async def run(environment: Environment, scale: Scale) -> Report:
    """Add and run tasks under one strike and under all; open dockets under both."""
    full = scale.of(FULL, 20)
    async with Docket("soak", environment.url) as docket:
        docket.register(serve)
        await docket.strike(serve, "customer", "==", -1)
        await _round(environment, docket, scale)
        few = [await _round(environment, docket, scale) for _ in range(scale.rounds)]
        start_few = [await _start_ms(environment, 1) for _ in range(STARTS)]
        for _ in range(CHANGES):
            for customer in range(2, full + 1):
                await docket.strike(serve, "customer", "==", -customer)
                await docket.restore(serve, "customer", "==", -customer)
        for customer in range(2, full + 1):
            await docket.strike(serve, "customer", "==", -customer)
        kept = await environment.client.xlen(docket.keys.strikes)
        found = await _round(environment, docket, scale)
        start_all = [await _start_ms(environment, full) for _ in range(STARTS)]
    instructions = 1 + (full - 1) * (2 * CHANGES + 1)
    sizes = ("under 1 strike", f"under {full:,} strikes")
    limit = Limit("median", at_most=MUST_START_MS)
    figures = [
        *compared_all(ADD_AND_RUN, few, found, scale.ratio_limit, sizes),
        Figure(f"open a docket {sizes[0]}, CPU", start_few, "ms"),
        Figure(f"open a docket {sizes[1]}, CPU", start_all, "ms", limit),
        Figure("instructions kept", [kept], "", Limit("most", at_most=full)),
    ]
    return Report("strikes", {"strikes": full, "instructions": instructions}, figures)


async def _round(environment: Environment, docket: Docket, scale: Scale) -> dict[str, Cost]:
    count = scale.of(TASKS, 100)
    added = await environment.add(docket, count, docket.call(serve))
    return {"add": added, "run": await environment.drain(docket, count)}


async def _start_ms(environment: Environment, strikes: int) -> float:
    began = time.process_time()
    async with Docket("soak", environment.url) as docket:
        await docket.wait_for_strikes_loaded()
        milliseconds = (time.process_time() - began) * 1000
        if docket.strike_list.in_effect != strikes:
            raise RuntimeError(f"{docket.strike_list.in_effect} of {strikes} strikes are known")
    return milliseconds
