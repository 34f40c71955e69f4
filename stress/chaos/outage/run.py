"""An outage: a pool at full load, its server away, and the return."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docket import Docket
from stress.chaos.checker import Run, runs_of
from stress.chaos.fault_injector import FaultInjector
from stress.chaos.fleet import DOCKET, Fleet, fleet
from stress.chaos.monitor import EndCollector
from stress.chaos.outage import metrics
from stress.chaos.outage.kinds import OutageKind
from stress.chaos.outage.load import SHORT_SECONDS, OutageLoad
from stress.chaos.outage.metrics import Answer, Outage
from stress.chaos.outage.monitor import EndpointProbe, service_manager
from stress.chaos.plan import Fault, Topology
from stress.history import read
from stress.waiting import in_background

#: Of full load, before the server goes.
LEAD_SECONDS = 6.0
#: Of full load that is left when it is back.
BACKLOG_SECONDS = 8.0
#: Tasks that a worker runs at once, by default.
CONCURRENCY = 10
#: So soon after the return every worker has finished a task, and the rate is as before.
RESUMED_SECONDS = 2.0
#: From the return until everything has ended.
SETTLE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class OutageSettings:
    """The settings of an outage."""

    folder: Path
    kind: OutageKind
    seconds: float
    processes: int = 8


@dataclass(slots=True)
class OutageResult:
    """The observations of an outage. Times are monotonic seconds."""

    settings: OutageSettings
    outage: Outage
    runs: list[Run]
    workers: list[int]
    answers: list[Answer]
    accepted: list[float]
    statuses: list[tuple[float, str]]
    #: The log of the pool from the beginning of the outage until everything had ended.
    log: list[str]
    #: key -> the state in which it ended.
    ends: dict[str, str]
    status: dict[str, Any]
    exit_code: int
    #: The processes of the pool, when the outage began and at the end.
    pids: tuple[set[int], set[int]] = field(default=(set(), set()))


async def run(settings: OutageSettings) -> OutageResult:
    """Carry an outage out; everything that it started is gone when it returns."""
    async with (
        service_manager(settings.folder / "notify") as manager,
        fleet(
            settings.folder,
            Topology.ONE,
            hosts=1,
            processes=settings.processes,
            variables={"NOTIFY_SOCKET": str(manager.path)},
        ) as under_test,
        Docket(DOCKET, under_test.server.url) as docket,
    ):
        (host,) = under_test.hosts
        host.start()
        await host.ready()
        probe = EndpointProbe(host)
        async with in_background(probe.monitor()):
            return await _observed(settings, under_test, docket, probe, manager.statuses)


async def _observed(
    settings: OutageSettings,
    under_test: Fleet,
    docket: Docket,
    probe: EndpointProbe,
    statuses: list[tuple[float, str]],
) -> OutageResult:
    (host,) = under_test.hosts
    ends = EndCollector(under_test, docket)
    began = time.monotonic()
    backlog = int(
        settings.processes * CONCURRENCY / SHORT_SECONDS * (LEAD_SECONDS + BACKLOG_SECONDS)
    )
    load = OutageLoad(docket, settings.folder)
    await load.fill(LEAD_SECONDS, settings.seconds, settings.processes, backlog)
    await asyncio.sleep(max(0.0, began + LEAD_SECONDS - time.monotonic()))
    workers, logged = await host.workers(), host.log.stat().st_size
    before = set(host.family())
    fault = Fault(0.0, settings.kind.fault, host=0, lasts=settings.seconds, draw=0.0)
    injected = await FaultInjector(under_test, lambda _: None).inject(fault)
    assert injected.ended is not None
    await ends.all_ended(SETTLE_SECONDS)
    # Not before: that a connection stands again is logged after the server's return.
    log = host.log.read_bytes()[logged:].decode(errors="replace").splitlines()
    status = await host.status()
    after = set(host.family())
    assert status is not None, "the supervisor does not answer"
    answers = list(probe.answers)
    code = await host.drain()
    return OutageResult(
        settings,
        Outage(injected.began, injected.ended),
        runs_of(read(settings.folder, "runs")),
        workers,
        answers,
        host.network.accepted,
        statuses,
        log,
        {key: end.state for key, end in ends.ends.items()},
        status,
        code,
        (before, after),
    )


def violations(result: OutageResult, resumed_seconds: float = RESUMED_SECONDS) -> list[str]:
    """Find the broken promises; a sentence each.

    Arguments:
        resumed_seconds: within which every worker has to be at work again.
    """
    wrong = [
        f"{count} tasks ended as {state}"
        for state, count in Counter(result.ends.values()).items()
        if state != "completed"
    ]
    wrong += [f"{key} ran again" for key in metrics.ran_again(result.runs)]
    wrong += _lost_processes(result) + _wrong_answers(result)
    wrong += _late_returns(result, resumed_seconds)
    return wrong


def _lost_processes(result: OutageResult) -> list[str]:
    wrong: list[str] = []
    if result.exit_code:
        wrong.append(f"the supervisor ended with {result.exit_code}")
    if result.pids[0] != result.pids[1]:
        wrong.append(f"processes came or went: {sorted(result.pids[0] ^ result.pids[1])}")
    return wrong + [
        f"worker {row['slot']} was restarted {row['restarts']} times"
        for row in result.status["workers"]
        if row["restarts"]
    ]


def _wrong_answers(result: OutageResult) -> list[str]:
    outage = result.outage
    dead = [each for each in result.answers if each.path == "/livez" and each.code != 200]
    wrong = [f"/livez said {each.code} {each.body}" for each in dead[:1]]
    said = [each for each in result.answers if each.path == "/readyz" and each.at > outage.began]
    reasons = {each.body for each in said if each.code != 200}
    if reasons != {"server away"}:
        wrong.append(f"/readyz gave these reasons: {sorted(reasons)}")
    if not any(each.code == 200 and each.at > outage.ended for each in said):
        wrong.append("/readyz did not say 200 again")
    told = [text for at, text in result.statuses if outage.began <= at < outage.ended]
    if not any("the server is away" in text for text in told):
        wrong.append("STATUS= did not say that the server is away")
    return wrong


def _late_returns(result: OutageResult, resumed_seconds: float) -> list[str]:
    runs, at = result.runs, result.outage.ended
    firsts = metrics.first_finishes(runs, result.workers, at)
    wrong = [
        f"worker {pid} finished its first task {seconds:.2f} s after the return"
        for pid, seconds in firsts.items()
        if seconds > resumed_seconds
    ]
    rate = metrics.rate_before(runs, result.outage.began)
    seconds = metrics.seconds_to_full_rate(runs, rate, at)
    if seconds > resumed_seconds:
        wrong.append(f"the full rate came {seconds:.2f} s after the return")
    if not any(run.kind == "tick" and run.started >= at for run in runs):
        wrong.append("the automatic task did not go on")
    return wrong
