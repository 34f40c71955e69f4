"""History: a million tasks that have failed, and as many that wait, looked at and acted on."""

import logging
import time
from datetime import UTC, datetime, timedelta

from docket import Docket, Worker
from docket.listing import Filter, ListedState
from stress.report import Figure, Report
from stress.soak.cost import Cost, Round, at_both_sizes, compared_all, metered
from stress.soak.environment import CONCURRENCY, Environment
from stress.soak.queue import payload_bytes
from stress.soak.scale import Scale
from stress.tasks import no_op

FULL = 1_000_000
#: Tasks of a function of its own among the others: what a filter looks for.
RARE = 10
#: Pages that are read of each listing.
PAGES = 20


async def refuse(number: int) -> None:
    """Fail, as every task of this scenario does."""
    raise ValueError(f"no {number}")


async def run(environment: Environment, scale: Scale) -> Report:
    """Let all fail, schedule as many; page, count, filter, retry and cancel all of them."""
    full = scale.of(FULL, 2_000)
    # A line and a traceback for each of a million failures would be measured otherwise.
    logging.getLogger("docket.worker").setLevel(logging.CRITICAL)
    async with Docket("soak", environment.url, keep_failed_most=10 * FULL) as docket:
        docket.register(no_op)
        docket.register(refuse)
        looks: dict[str, float] = {}
        small, found = await at_both_sizes(
            lambda count: _round(environment, docket, count, looks),
            scale.small,
            full,
            max(1, scale.rounds // 3),
        )
        payload = payload_bytes(docket.call(refuse, key="k0000000")(1_000_000), docket)
    figures = [
        *compared_all({name: name for name in found.costs}, small, found.costs, scale.ratio_limit),
        *(Figure(name, [milliseconds], "ms") for name, milliseconds in looks.items()),
        Figure("payload of a failed task, with its key", [payload], "bytes"),
        Figure("memory of the server for it, its attempt and traceback in it", [found.weight], "B"),
    ]
    return Report("history", {"failed": full, "scheduled": full}, figures)


async def _round(
    environment: Environment, docket: Docket, count: int, looks: dict[str, float]
) -> Round:
    """Measure one size; `looks` are those whose work is bounded, and not the same at all sizes."""
    costs: dict[str, Cost] = {}
    empty = await environment.memory()
    await environment.add(docket, count, lambda n: docket.call(refuse, key=f"k{n:07}")(n))
    async with metered(environment.client, count) as costs["fail"]:
        await _fail_all(docket)
    weight = (await environment.memory() - empty) / count
    due = datetime.now(UTC) + timedelta(days=1)
    await environment.add(docket, count, lambda n: docket.call(refuse, due, f"s{n:07}")(n))
    for number in range(RARE):
        await docket.add(no_op, due + timedelta(hours=number), f"rare-{number}")()

    # Each for itself: what a page costs must not depend on how many there are behind it.
    for state in (ListedState.FAILED, ListedState.SCHEDULED):
        async with metered(environment.client, PAGES) as costs[f"page of {state.value} ones"]:
            await _pages(docket, state)
    began = time.monotonic()
    counts = await docket.counts()
    looks["counts, by the clock"] = (time.monotonic() - began) * 1000
    _expect(count, counts.by_state[ListedState.FAILED])
    began = time.monotonic()
    page = await docket.executions(function="no_op")
    looks[f"page of a rare filter, {page.looked_at:,} looked at"] = (
        time.monotonic() - began
    ) * 1000

    async with metered(environment.client, count) as costs["retry all"]:
        _expect(count, (await docket.retry_matching(Filter.of("failed"))).done)
    async with metered(environment.client, count) as costs["cancel all"]:
        result = await docket.cancel_matching(Filter.of("scheduled", function="refuse"))
        _expect(count, result.done)
    await environment.empty()
    return Round(costs, weight)


async def _fail_all(docket: Docket) -> None:
    async with Worker(docket, concurrency=CONCURRENCY) as worker:
        await worker.run_until_finished()


async def _pages(docket: Docket, state: ListedState) -> None:
    """Read pages as somebody does who looks through them."""
    cursor = None
    for _ in range(PAGES):
        page = await docket.executions(state, cursor=cursor)
        cursor = page.cursor
        if cursor is None:
            return


def _expect(count: int, found: int) -> None:
    if found != count:
        raise RuntimeError(f"{found} tasks were found, and not {count}")
