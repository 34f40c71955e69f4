"""Queue: a million tasks that wait, are inspected and run; then a stream that is full of holes."""

import asyncio
import resource
import time

from docket import Docket, TaskCall
from stress.report import Figure, Limit, Report
from stress.soak.cost import ADD_AND_RUN, Cost, compared, compared_all, middle
from stress.soak.environment import Environment
from stress.soak.scale import Scale
from stress.tasks import no_op

FULL = 1_000_000
#: Queued, and all cancelled but one of each HOLE: the worst case for reading past them.
FULL_WITH_HOLES = 200_000
HOLE = 100

#: Bytes beside its payload that a queued task may take on the server.
MUST_OVERHEAD = 700


async def run(environment: Environment, scale: Scale) -> Report:
    """Fill, inspect and drain; the small size before it, and on old and new streams after it."""
    full, with_holes = scale.of(FULL, 1_000), scale.of(FULL_WITH_HOLES, 2_000)
    async with Docket("soak", environment.url) as docket:
        docket.register(no_op)
        await small(environment, scale, docket, 1)
        among_few = await small(environment, scale, docket, scale.rounds)
        empty = await environment.memory()
        added = await environment.add(docket, full, lambda _: docket.call(no_op)())
        weight = (await environment.memory() - empty) / full
        inspected = await _inspect(docket, full)
        found = {"add": added, "run": await environment.drain(docket, full)}
        after = await small(environment, scale, docket, scale.rounds)
        await environment.empty()
        await small(environment, scale, docket, 1)
        # Half before and half after: a machine that others use is not as fast the whole time.
        among_few += await small(environment, scale, docket, scale.rounds)
        left = await _run_past_holes(environment, docket, with_holes)
    costs = [each["run"] for each in among_few]
    _, again, _, ratio = compared(
        "run", costs, middle([each["run"] for each in after]), scale.ratio_limit
    )
    _, past_holes, _, holes_ratio = compared("run", costs, left, scale.ratio_limit)
    figures = [
        *compared_all(ADD_AND_RUN, among_few, found, scale.ratio_limit),
        Figure(f"run, {scale.small:,} after all those", again.samples, "us"),
        Figure("run after all those, ratio", ratio.samples, "", ratio.limit),
        Figure(f"run, each behind {HOLE - 1} that were cancelled", past_holes.samples, "us"),
        Figure("run behind those, ratio", holes_ratio.samples, "", ratio.limit),
        *memory_figures(weight, payload_bytes(docket.call(no_op)(), docket)),
        *inspected,
    ]
    return Report("queue", {"tasks": full}, figures)


async def small(
    environment: Environment, scale: Scale, docket: Docket, rounds: int
) -> list[dict[str, Cost]]:
    """Measure the cost to add and to run the small size, `rounds` times."""
    found: list[dict[str, Cost]] = []
    for _ in range(rounds):
        added = await environment.add(docket, scale.small, lambda _: docket.call(no_op)())
        found.append({"add": added, "run": await environment.drain(docket, scale.small)})
    return found


def payload_bytes(call: TaskCall, docket: Docket) -> int:
    """Count the bytes of key and arguments of a call, as they are stored."""
    encoded = docket.serializer.encode_call(call.function, call.args, call.kwargs)
    return len(encoded) + len(call.key)


def memory_figures(weight: float, payload: int) -> list[Figure]:
    """The memory of the server for one waiting task, beside the payload of the user."""
    limit = Limit("most", at_most=payload + MUST_OVERHEAD)
    return [
        Figure("payload of a task, with its key", [payload], "bytes"),
        Figure("memory of the server for it", [weight], "bytes", limit),
    ]


async def _inspect(docket: Docket, count: int) -> list[Figure]:
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


async def _run_past_holes(environment: Environment, docket: Docket, count: int) -> Cost:
    """Cancel 99 of each 100 tasks where they wait, and run the rest."""
    await environment.add(docket, count, lambda n: docket.call(no_op, key=f"k{n}")())
    gone = [f"k{n}" for n in range(count) if n % HOLE]
    for start in range(0, len(gone), 1_000):
        await asyncio.gather(*map(docket.cancel, gone[start : start + 1_000]))
    return await environment.drain(docket, count - len(gone))
