"""A run: start everything, inject the faults of the plan, let it settle, end it, check it."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from docket import Docket
from stress.chaos import checker, evidence
from stress.chaos.fault_injector import FaultInjector
from stress.chaos.fleet import DOCKET, Fleet, describe_clocks, fleet
from stress.chaos.monitor import EndCollector, StatusSampler
from stress.chaos.operator_checks import check_pauses, check_retries
from stress.chaos.operators import Operators
from stress.chaos.plan import Fault, Topology, draw_plan
from stress.chaos.record import KILLS, InjectedFault, Rollback
from stress.chaos.sentinels import Sentinels
from stress.history import read
from stress.waiting import in_background

#: From the last fault until everything that was accepted has ended.
SETTLE_SECONDS = 180.0
#: Five missed heartbeats of two seconds, and what it takes to see them.
FORGOTTEN_SECONDS = 15.0

Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ChaosSettings:
    """The settings of a run.

    Arguments:
        seconds: of faults.
        rate: adds in a second, of all producers together.
        faults: instead of those that the seed draws; for a part of a plan.
        topology: of the servers.
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
    """The outcome of a run."""

    settings: ChaosSettings
    injected: list[InjectedFault]
    verdict: checker.Verdict
    accepted: dict[str, str]
    samples: int
    descriptors_gained: int
    settled_seconds: float
    #: Of the accepted ones.
    not_ended: int
    #: The error of each host's wall clock; None: clocks could not be set.
    clocks: tuple[int, ...] | None
    #: Spans whose writes may have been lost.
    rollbacks: list[Rollback] = field(default_factory=list[Rollback])


async def run(settings: ChaosSettings, announce: Announce) -> Outcome:
    """Carry a run out; everything that it started is gone when it returns."""
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
        announce(describe_clocks(under_test.clocks))
        await under_test.start()
        announce(f"{settings.hosts} hosts are ready; {len(plan)} faults follow")
        async with Docket(DOCKET, under_test.server.url) as docket:
            return await _observed(settings, plan, under_test, docket, announce)


async def _observed(
    settings: ChaosSettings,
    plan: tuple[Fault, ...],
    under_test: Fleet,
    docket: Docket,
    announce: Announce,
) -> Outcome:
    sampler = StatusSampler(under_test)
    ends = EndCollector(under_test, docket)
    operators = Operators(docket, ends)
    injector = FaultInjector(under_test, lambda injected: announce(injected.line), operators)
    monitors = [ends.monitor(), sampler.monitor(), under_test.census.monitor()]
    if isinstance(under_test.server, Sentinels):
        monitors.append(under_test.server.monitor())
    async with in_background(*monitors):
        await _inject_all(plan, injector)
        await under_test.stop_producers()
        seconds = await _settle(ends, announce)
        await under_test.drain()
        under_test.census.look()
    left = under_test.census.end_all()
    verdict = await _check(under_test, injector.injected, ends, operators)
    verdict.violations += sampler.violations + under_test.violations
    verdict.violations += [f"process {pid} outlived its host" for pid in left]
    return Outcome(
        settings,
        injector.injected,
        verdict,
        ends.accepted,
        sampler.samples,
        sampler.most_descriptors_gained,
        seconds,
        len(ends.left),
        under_test.clocks,
        under_test.rollbacks,
    )


async def _inject_all(plan: tuple[Fault, ...], injector: FaultInjector) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as faults:
        for fault in plan:
            await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
            faults.create_task(injector.inject(fault))


async def _settle(ends: EndCollector, announce: Announce) -> float:
    """Wait until everything has ended, for a limited time; return how long it took."""
    began = time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            # The consumers of a host that is gone are found by their missed heartbeats.
            await asyncio.sleep(FORGOTTEN_SECONDS)
            await ends.all_ended(SETTLE_SECONDS)
    seconds = time.monotonic() - began
    announce(describe_ends(len(ends.accepted), len(ends.left), seconds))
    return seconds


def describe_ends(accepted: int, not_ended: int, seconds: float) -> str:
    """Say how many accepted tasks have ended, and when."""
    how = f"{not_ended} of them have not ended" if not_ended else "all of them have ended"
    return (
        f"{accepted} tasks were accepted; {how}, {seconds:.1f} s after the last add"
        f" (of which {FORGOTTEN_SECONDS:.0f} s are always waited, until dead hosts are forgotten)"
    )


async def _check(
    under_test: Fleet, injected: list[InjectedFault], ends: EndCollector, operators: Operators
) -> checker.Verdict:
    folder = under_test.folder
    promised = list(read(folder, "adds"))
    known = evidence.knowledge(
        [host.log for host in under_test.hosts],
        under_test.census,
        injected,
        {host.number: host.pids for host in under_test.hosts},
        under_test.rollbacks,
        promised,
    )
    runs = checker.runs_of(read(folder, "runs"))
    known = checker.add_unvouched(runs, known)
    verdict = checker.Verdict(runs=len(runs))
    killed = {pid for each in injected if each.kind in KILLS for pid in each.pids}
    hits = Counter(each.key for each in runs if each.pid in killed)
    perishable = checker.find_perishable(promised, runs, known)
    verdict.violations += checker.check_ends(ends.accepted, ends.ends, runs, hits, perishable)
    verdict.lost = [key for key in perishable if (e := ends.ends.get(key)) and e.state == "lost"]
    for host in under_test.hosts:
        verdict.violations += evidence.faults_of_ours(host.log.read_text(errors="replace"))
    verdict.violations += checker.check_replaced(promised, runs, known, perishable)
    verdict.violations += checker.check_limits(runs, known)
    verdict.duplicates = checker.find_duplicates(runs, known)
    verdict.violations += [
        f"{each.first.key} ran twice without a cause: from {each.first.started:.3f} to"
        f" {each.first.ended} in {each.first.pid}, from {each.second.started:.3f}"
        f" in {each.second.pid}"
        for each in verdict.duplicates
        if each.cause is None
    ]
    verdict.violations += check_pauses(runs, operators.pauses, known)
    verdict.violations += check_retries(
        ends.accepted,
        ends.ends,
        promised,
        operators.retries,
        operators.doubtful_retries,
        may_be_lost=bool(under_test.rollbacks),
    )
    verdict.pauses, verdict.retries = len(operators.pauses), operators.retries
    verdict.redeliveries = checker.find_redeliveries(runs, known)
    async with under_test.server.client() as client:
        verdict.violations += await evidence.leftovers(client, DOCKET)
    return verdict
