"""Queue: a million tasks wait, are looked at, are run; then a stream that is full of holes."""

import asyncio
import resource
import time

from docket import Docket, TaskCall
from stress.bench.jobs import no_op
from stress.runtime.report import Figure, Limit, Report
from stress.soak.cost import Cost, compared, middle
from stress.soak.ground import Ground
from stress.soak.settings import Settings

FULL = 1_000_000
#: Queued, and all cancelled but one of each HOLE: the worst for who reads past them.
FULL_WITH_HOLES = 200_000
HOLE = 100

#: Bytes beside its payload that a queued task may take on the server.
MUST_OVERHEAD = 700


async def run(ground: Ground, settings: Settings) -> Report:
    """Fill, look, drain; the small size before, on the same streams afterwards, and on new ones."""
    full, with_holes = settings.of(FULL, 1_000), settings.of(FULL_WITH_HOLES, 2_000)
    async with Docket("soak", ground.url) as docket:
        docket.register(no_op)
        await small(ground, settings, docket, 1)
        among_few = await small(ground, settings, docket, settings.rounds)
        empty = await ground.memory()
        added = await ground.add(docket, full, lambda _: docket.call(no_op)())
        weight = (await ground.memory() - empty) / full
        looked = await _look(docket, full)
        drained = await ground.drain(docket, full)
        after = await small(ground, settings, docket, settings.rounds)
        await ground.empty()
        await small(ground, settings, docket, 1)
        # Half before and half after: a machine that others use is not as fast the whole time.
        among_few += await small(ground, settings, docket, settings.rounds)
        left = await _run_past_holes(ground, docket, with_holes)
    costs = [cost for _, cost in among_few]
    _, again, _, ratio = compared(
        "run", costs, middle([cost for _, cost in after]), settings.ratio_limit
    )
    _, past_holes, _, holes_ratio = compared("run", costs, left, settings.ratio_limit)
    figures = [
        *compared("add", [cost for cost, _ in among_few], added, settings.ratio_limit),
        *compared("run", costs, drained, settings.ratio_limit),
        Figure(f"run, {settings.small:,} after all those", again.samples, "us"),
        Figure("run after all those, ratio", ratio.samples, "", ratio.limit),
        Figure(f"run, each behind {HOLE - 1} that were cancelled", past_holes.samples, "us"),
        Figure("run behind those, ratio", holes_ratio.samples, "", ratio.limit),
        *memory_figures(weight, payload_bytes(docket.call(no_op)(), docket)),
        *looked,
    ]
    return Report("queue", {"tasks": full}, figures)


async def small(
    ground: Ground, settings: Settings, docket: Docket, rounds: int
) -> list[tuple[Cost, Cost]]:
    """What it costs to add and to run the small size, so many times."""
    found: list[tuple[Cost, Cost]] = []
    for _ in range(rounds):
        added = await ground.add(docket, settings.small, lambda _: docket.call(no_op)())
        found.append((added, await ground.drain(docket, settings.small)))
    return found


def payload_bytes(call: TaskCall, docket: Docket) -> int:
    """Key and arguments of a call, as they are stored."""
    encoded = docket.serializer.encode_call(call.function, call.args, call.kwargs)
    return len(encoded) + len(call.key)


def memory_figures(weight: float, payload: int) -> list[Figure]:
    """Memory of the server for one task that waits, beside what the user put into it."""
    limit = Limit("most", at_most=payload + MUST_OVERHEAD)
    return [
        Figure("payload of a task, with its key", [payload], "bytes"),
        Figure("memory of the server for it", [weight], "bytes", limit),
    ]


async def _look(docket: Docket, count: int) -> list[Figure]:
    rss, began = _peak(), time.monotonic()
    taken = await docket.snapshot()
    seconds = time.monotonic() - began
    if taken.total_tasks != count:
        raise RuntimeError(f"the snapshot shows {taken.total_tasks} of {count} tasks")
    return [
        Figure("snapshot of all", [seconds], "s"),
        Figure("memory of it here, for one task", [(_peak() - rss) / count], "bytes"),
    ]


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def _run_past_holes(ground: Ground, docket: Docket, count: int) -> Cost:
    """Cancel 99 of each 100 tasks where they wait, and run the rest."""
    await ground.add(docket, count, lambda n: docket.call(no_op, key=f"k{n}")())
    gone = [f"k{n}" for n in range(count) if n % HOLE]
    for start in range(0, len(gone), 1_000):
        await asyncio.gather(*map(docket.cancel, gone[start : start + 1_000]))
    return await ground.drain(docket, count - len(gone))
