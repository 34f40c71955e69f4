"""Pending: a million tasks that were claimed by workers of which none is left.

The workers are consumers like the library's own, made by its scripts: registered, given tasks by
exchanges of the full size, and never heard of again. A thousand killed processes would leave the
same entries and records on the server, and no more.
"""

import time
from datetime import timedelta

from docket import Docket
from docket.store.scan import Scan
from stress.report import Figure, Report
from stress.soak.cost import Cost, Round, at_both_sizes, compared_all, metered
from stress.soak.environment import Environment
from stress.soak.scale import Scale
from stress.tasks import no_op

FULL = 1_000_000
#: Tasks that each of the dead had claimed.
OF_EACH = 1_024
#: Claimed in one call.
WANT = 256

#: Nobody's lease ends within the scenario unless it is made to.
LEASE = timedelta(hours=1)
ENDED = timedelta(milliseconds=1)
#: Until a consumer that is silent counts as dead.
LIFETIME = timedelta(hours=1)

#: The functions that each of the dead could run.
FUNCTIONS = ["no_op", *(f"task-{n}" for n in range(19))]

POISON = (b"poison", "failed as poison")


async def run(environment: Environment, scale: Scale) -> Report:
    """Claim all and die; sweep; claim all again and die; adopt; clear. The small size first."""
    full = scale.of(FULL, 2_000)
    async with Docket("soak", environment.url) as docket:
        docket.register(no_op)
        small, measured = await at_both_sizes(
            lambda count: _round(environment, docket, count), scale.small, full, scale.rounds
        )
    found = measured.costs
    figures = compared_all({name: name for name in found}, small, found, scale.ratio_limit)
    for name in [*found][1:]:
        figures.append(Figure(f"{name}, all", [found[name].wall], "s"))
    return Report("pending", {"tasks": full, "dead workers": -(-full // OF_EACH)}, figures)


async def _round(environment: Environment, docket: Docket, count: int) -> Round:
    costs: dict[str, Cost] = {}
    await environment.add(docket, count, lambda _: docket.call(no_op)())
    costs["claim"], dead = await _claim_all(environment, docket, count)
    # Listing many workers, as an inspection and a steward do, is part of the scenario.
    _expect(len(dead), len((await Scan(docket.connections.pipeline, docket.keys).workers())[1]))
    _expect(len(dead), len((await docket.transitions.consumers()).pending))
    async with metered(environment.client, count) as costs["look through leases that last"]:
        _expect(0, await _sweep(environment, docket, LEASE))
    async with metered(environment.client, count) as costs["sweep"]:
        _expect(count, await _sweep(environment, docket, ENDED))
    _, dead = await _claim_all(environment, docket, count)
    async with metered(environment.client, count) as costs["adopt"]:
        _expect(count, sum([await _adopt(docket, name) for name in dead]))
    async with metered(environment.client, count) as costs["clear"]:
        _expect(count, await docket.clear())
    await environment.empty()
    return Round(costs)


def _expect(count: int, found: int) -> None:
    if found != count:
        raise RuntimeError(f"{found} tasks were found, and not {count}")


async def _claim_all(
    environment: Environment, docket: Docket, count: int
) -> tuple[Cost, list[str]]:
    names: list[str] = []
    async with metered(environment.client, count) as cost:
        claimed = 0
        while claimed < count:
            names.append(f"dead-{len(names)}.{time.monotonic_ns():x}")
            claimed += await _claim_some(docket, names[-1])
    _expect(count, claimed)
    return cost, names


async def _claim_some(docket: Docket, name: str) -> int:
    """Claim as a worker that is about to die, and return the number of tasks."""
    await docket.transitions.register(name, FUNCTIONS, LIFETIME)
    claimed = 0
    while claimed < OF_EACH:
        exchanged = await docket.transitions.exchange(name, 1, WANT, [], may_take_quarantined=True)
        claimed += len(exchanged.claims)
        if not exchanged.claims:
            break
    return claimed


async def _adopt(docket: Docket, name: str) -> int:
    moved, _ = await docket.transitions.adopt(name, "nobody", 3, POISON)
    return moved


async def _sweep(environment: Environment, docket: Docket, lease: timedelta) -> int:
    """Sweep as a steward that has observed for half a lease, which is not waited for."""
    await environment.client.set(docket.keys.watch, 1, px=600_000)
    return await docket.transitions.sweep(lease)
