"""One run: start everything, break it by the plan, let it settle, end it, judge."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from docket import Docket
from stress.chaos import evidence, judge
from stress.chaos.breaking import Breaker
from stress.chaos.fleet import DOCKET, Fleet, clocks_said, fleet
from stress.chaos.ledger import read
from stress.chaos.plan import Fault, Topology, draw_plan
from stress.chaos.record import KILLS, Broken, Rollback
from stress.chaos.sentinels import Sentinels
from stress.chaos.watching import EndCollector, StatusSampler

#: From the last fault until everything that was accepted has ended.
SETTLE_SECONDS = 180.0
#: Five missed heartbeats of two seconds, and what it takes to see them.
FORGOTTEN_SECONDS = 15.0
_LOOK_SECONDS = 0.2

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is told.

    Arguments:
        seconds: of faults.
        rate: adds in a second, of all producers together.
        faults: instead of those that the seed draws; for a part of a plan.
        topology: what the pools stand on.
    """

    folder: Path
    seed: int
    seconds: float
    hosts: int = 2
    processes: int = 3
    rate: float = 40.0
    faults: tuple[Fault, ...] | None = None
    topology: Topology = Topology.ONE


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    settings: Settings
    broken: list[Broken]
    verdict: judge.Verdict
    accepted: dict[str, str]
    samples: int
    descriptors_gained: int
    settled_seconds: float
    #: Of those that were accepted.
    not_ended: int
    #: By how much the wall clock of each host was off; None: they could not be set.
    clocks: tuple[int, ...] | None
    #: Spans whose writes may have been lost.
    rollbacks: list[Rollback] = field(default_factory=list[Rollback])


async def run(settings: Settings, tell: Tell) -> Outcome:
    """Run it; everything that was started is gone when it returns."""
    plan = settings.faults
    if plan is None:
        plan = tuple(draw_plan(settings.seed, settings.seconds, settings.hosts, settings.topology))
    async with fleet(
        settings.folder,
        settings.topology,
        hosts=settings.hosts,
        processes=settings.processes,
        rate=settings.rate,
        seed=settings.seed,
    ) as under_test:
        tell(clocks_said(under_test.clocks))
        await under_test.start()
        tell(f"{settings.hosts} hosts are ready; {len(plan)} faults follow")
        async with Docket(DOCKET, under_test.server.url) as docket:
            return await _watched(settings, plan, under_test, docket, tell)


async def _watched(
    settings: Settings, plan: tuple[Fault, ...], under_test: Fleet, docket: Docket, tell: Tell
) -> Outcome:
    breaker = Breaker(under_test, lambda broken: tell(broken.line))
    sampler = StatusSampler(under_test)
    ends = EndCollector(under_test, docket)
    watches: list[Callable[[], object]] = [ends.watch, sampler.watch, under_test.census.watch]
    if isinstance(under_test.server, Sentinels):
        watches.append(under_test.server.watch)
    async with _in_background(*watches):
        await _break_all(plan, breaker)
        await under_test.stop_producers()
        seconds = await _settle(ends, tell)
        await under_test.drain()
        under_test.census.look()
    left = under_test.census.end_all()
    verdict = await _judge(under_test, breaker, ends)
    verdict.violations += sampler.violations + under_test.violations
    verdict.violations += [f"process {pid} outlived its host" for pid in left]
    return Outcome(
        settings,
        breaker.broken,
        verdict,
        ends.accepted,
        sampler.samples,
        sampler.most_descriptors_gained,
        seconds,
        len(ends.left),
        under_test.clocks,
        under_test.rollbacks,
    )


async def _break_all(plan: tuple[Fault, ...], breaker: Breaker) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as faults:
        for fault in plan:
            await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
            faults.create_task(breaker.break_one(fault))


async def _settle(ends: EndCollector, tell: Tell) -> float:
    """Wait until everything has ended, or for as long as may be; how long that took."""
    began = time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            # What a host that is gone had registered is found by its missed heartbeats.
            await asyncio.sleep(FORGOTTEN_SECONDS)
            # One whole look after the producers' last line, before it counts.
            await ends.look()
            while True:
                if not ends.left:
                    break
                await asyncio.sleep(_LOOK_SECONDS)
    seconds = time.monotonic() - began
    tell(settled_said(len(ends.accepted), len(ends.left), seconds))
    return seconds


def settled_said(accepted: int, not_ended: int, seconds: float) -> str:
    """How what was accepted has ended, for a person."""
    how = f"{not_ended} of them have not ended" if not_ended else "all of them have ended"
    return (
        f"{accepted} tasks were accepted; {how}, {seconds:.1f} s after the last add"
        f" (of which {FORGOTTEN_SECONDS:.0f} s are always waited, until dead hosts are forgotten)"
    )


async def _judge(under_test: Fleet, breaker: Breaker, ends: EndCollector) -> judge.Verdict:
    folder = under_test.folder
    promised = list(read(folder, "adds"))
    known = evidence.knowledge(
        [host.log for host in under_test.hosts],
        under_test.census,
        breaker.broken,
        {host.number: host.pids for host in under_test.hosts},
        under_test.rollbacks,
        promised,
    )
    runs = judge.runs_of(read(folder, "runs"))
    verdict = judge.Verdict(runs=len(runs))
    struck = {pid for each in breaker.broken if each.kind in KILLS for pid in each.pids}
    hit = Counter(each.key for each in runs if each.pid in struck)
    perishable = judge.find_perishable(promised, runs, known)
    verdict.violations += judge.check_ends(ends.accepted, ends.ends, runs, hit, perishable)
    verdict.lost = [key for key in perishable if (e := ends.ends.get(key)) and e.state == "lost"]
    verdict.violations += judge.check_replaced(promised, runs, known, perishable)
    verdict.violations += judge.check_limits(runs, known)
    verdict.duplicates = judge.find_duplicates(runs, known)
    verdict.violations += [
        f"{each.first.key} ran twice without a cause: from {each.first.started:.3f} to"
        f" {each.first.ended} in {each.first.pid}, from {each.second.started:.3f}"
        f" in {each.second.pid}"
        for each in verdict.duplicates
        if each.cause is None
    ]
    verdict.redeliveries = judge.find_redeliveries(runs, known)
    async with under_test.server.client() as client:
        verdict.violations += await evidence.leftovers(client, DOCKET)
    return verdict


@contextlib.asynccontextmanager
async def _in_background(*watches: Callable[[], object]) -> AsyncGenerator[None]:
    tasks = [asyncio.ensure_future(watch()) for watch in watches]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        for each in done:
            if isinstance(each, Exception):
                raise each
