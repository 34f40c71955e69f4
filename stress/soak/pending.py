"""Pending: a million tasks that were claimed by workers of which none is left.

The workers are consumers as the library's own, made by its scripts: registered, given tasks by
exchanges as many as a call gives, and never heard of again. A thousand real ones would be killed
for the same; but what they leave on the server is these entries and records, and no more.
"""

import time
from datetime import timedelta

from docket import Docket
from docket.store.scan import Scan
from stress.bench.jobs import no_op
from stress.runtime.report import Figure, Report
from stress.soak.cost import Cost, compared, metered
from stress.soak.ground import Ground
from stress.soak.settings import Settings

FULL = 1_000_000
#: Tasks that each of the dead had claimed.
OF_EACH = 1_024
#: Claimed in one call.
WANT = 256

#: Nobody's lease ends within the scenario unless it is made to.
LEASE = timedelta(hours=1)
ENDED = timedelta(milliseconds=1)
#: To the death of who was heard of last.
LIFETIME = timedelta(hours=1)

#: What each of the dead could run.
FUNCTIONS = ["no_op", *(f"task-{n}" for n in range(19))]

POISON = (b"poison", "failed as poison")


async def run(ground: Ground, settings: Settings) -> Report:
    """Claim all and die; sweep; claim all again and die; adopt; clear. The small size first."""
    full = settings.of(FULL, 2_000)
    async with Docket("soak", ground.url) as docket:
        docket.register(no_op)
        await _round(ground, docket, settings.small)
        small = [await _round(ground, docket, settings.small) for _ in range(settings.rounds)]
        found = await _round(ground, docket, full)
        small += [await _round(ground, docket, settings.small) for _ in range(settings.rounds)]
    figures: list[Figure] = []
    for name in ("claim", "look through leases that last", "sweep", "adopt", "clear"):
        figures += compared(name, [each[name] for each in small], found[name], settings.ratio_limit)
    for name in ("look through leases that last", "sweep", "adopt", "clear"):
        figures.append(Figure(f"{name}, all", [found[name].wall], "s"))
    return Report("pending", {"tasks": full, "dead workers": -(-full // OF_EACH)}, figures)


async def _round(ground: Ground, docket: Docket, count: int) -> dict[str, Cost]:
    costs: dict[str, Cost] = {}
    await ground.add(docket, count, lambda _: docket.call(no_op)())
    costs["claim"], dead = await _claim_all(ground, docket, count)
    # What whoever looks does, and a steward: they are many, too.
    _expect(len(dead), len((await Scan(docket.connections.pipeline, docket.keys).workers())[1]))
    _expect(len(dead), len(await docket.transitions.group_consumers()))
    async with metered(ground.client, count) as costs["look through leases that last"]:
        _expect(0, await _sweep(ground, docket, LEASE))
    async with metered(ground.client, count) as costs["sweep"]:
        _expect(count, await _sweep(ground, docket, ENDED))
    _, dead = await _claim_all(ground, docket, count)
    async with metered(ground.client, count) as costs["adopt"]:
        _expect(count, sum([await _adopt(docket, name) for name in dead]))
    async with metered(ground.client, count) as costs["clear"]:
        _expect(count, await docket.clear())
    await ground.empty()
    return costs


def _expect(count: int, found: int) -> None:
    if found != count:
        raise RuntimeError(f"{found} tasks were found, and not {count}")


async def _claim_all(ground: Ground, docket: Docket, count: int) -> tuple[Cost, list[str]]:
    names: list[str] = []
    async with metered(ground.client, count) as cost:
        claimed = 0
        while claimed < count:
            names.append(f"dead-{len(names)}.{time.monotonic_ns():x}")
            claimed += await _claim_some(docket, names[-1])
    _expect(count, claimed)
    return cost, names


async def _claim_some(docket: Docket, name: str) -> int:
    """Claim as a worker that is about to die does, and return how many tasks."""
    await docket.transitions.register(name, FUNCTIONS, LIFETIME)
    claimed = 0
    while claimed < OF_EACH:
        exchanged = await docket.transitions.exchange(name, 1, WANT, [], may_take_suspect=True)
        claimed += len(exchanged.claims)
        if not exchanged.claims:
            break
    return claimed


async def _adopt(docket: Docket, name: str) -> int:
    moved, _ = await docket.transitions.adopt(name, "nobody", 3, POISON)
    return moved


async def _sweep(ground: Ground, docket: Docket, lease: timedelta) -> int:
    """Sweep as one who has watched for long enough: half a lease, which is not waited for."""
    await ground.client.set(docket.keys.watch, 1, px=600_000)
    return await docket.transitions.sweep(lease)
