"""One outage: a pool at full load, its server away, and what came of it."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docket import Docket
from stress.away import figures
from stress.away.figures import Answer, Outage
from stress.away.load import SHORT_SECONDS, Load
from stress.away.service_manager import ServiceManager, service_manager
from stress.away.watching import Probe
from stress.away.ways import Way, giving_back, taking
from stress.chaos.fleet import DOCKET
from stress.chaos.hosts import Host
from stress.chaos.judge import Run, runs_of
from stress.chaos.ledger import read
from stress.chaos.network import Network, network
from stress.chaos.processes import Census
from stress.chaos.server import Server

#: Of full load, before the server goes.
LEAD_SECONDS = 6.0
#: And for which there is work when it is back.
BACKLOG_SECONDS = 8.0
#: What each worker runs at once, unless it is told otherwise.
CONCURRENCY = 10
#: So soon after the return every worker has finished a task, and the rate is what it was.
RESUMED_SECONDS = 2.0
#: From the return until everything has ended.
SETTLE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is told."""

    folder: Path
    way: Way
    seconds: float
    processes: int = 8


@dataclass(slots=True)
class Result:
    """What was seen. Times are monotonic seconds."""

    settings: Settings
    outage: Outage
    runs: list[Run]
    workers: list[int]
    answers: list[Answer]
    accepted: list[float]
    statuses: list[tuple[float, str]]
    #: What the pool logged from the beginning of the outage until everything had ended.
    log: list[str]
    #: key -> how it ended.
    ends: dict[str, str]
    status: dict[str, Any]
    exit_code: int
    #: Of the pool, when the outage began and at the end.
    pids: tuple[set[int], set[int]] = field(default=(set(), set()))


async def run(settings: Settings) -> Result:
    """Run it; everything that was started is gone when it returns."""
    async with (
        _pool(settings) as (server, between, host, manager),
        Docket(DOCKET, server.url) as docket,
    ):
        return await _outage(settings, server, between, host, manager, docket)


@contextlib.asynccontextmanager
async def _pool(
    settings: Settings,
) -> AsyncGenerator[tuple[Server, Network, Host, ServiceManager]]:
    server, census = Server(settings.folder / "data"), Census()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.end)
        await server.start()
        between = await stack.enter_async_context(network(server.port))
        manager = await stack.enter_async_context(service_manager(settings.folder / "notify"))
        host = Host(
            0,
            settings.folder,
            between,
            census,
            docket=DOCKET,
            processes=settings.processes,
            clock_off_seconds=0,
            environment={"NOTIFY_SOCKET": str(manager.path)},
        )
        stack.callback(census.end_all)
        host.start()
        await host.ready()
        yield server, between, host, manager


async def _outage(
    settings: Settings,
    server: Server,
    between: Network,
    host: Host,
    manager: ServiceManager,
    docket: Docket,
) -> Result:
    load, probe = Load(docket), Probe(host)
    a_second = settings.processes * CONCURRENCY / SHORT_SECONDS
    began = time.monotonic()
    watch = asyncio.create_task(probe.watch())
    backlog = int(a_second * (LEAD_SECONDS + BACKLOG_SECONDS))
    await load.fill(LEAD_SECONDS, settings.seconds, settings.processes, backlog)
    await asyncio.sleep(max(0.0, began + LEAD_SECONDS - time.monotonic()))
    workers, logged = await host.workers(), host.log.stat().st_size
    before = set(host.family())
    outage = await _away(settings, server, between)
    async with asyncio.timeout(SETTLE_SECONDS):
        ends = await load.ended()
    # Not before: that a connection stands again is said after the server's return.
    log = host.log.read_bytes()[logged:].decode(errors="replace").splitlines()
    status = await host.status()
    after = set(host.family())
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
    assert status is not None, "the supervisor does not answer"
    code = await host.drain()
    return Result(
        settings,
        outage,
        runs_of(read(settings.folder, "runs")),
        workers,
        probe.answers,
        between.accepted,
        manager.statuses,
        log,
        ends,
        status,
        code,
        (before, after),
    )


async def _away(settings: Settings, server: Server, between: Network) -> Outage:
    began = time.monotonic()
    await taking(settings.way, server, between)()
    await asyncio.sleep(settings.seconds)
    await giving_back(settings.way, server, between)()
    return Outage(began, time.monotonic())


def violations(result: Result, resumed_seconds: float = RESUMED_SECONDS) -> list[str]:
    """What was not as it has to be; a sentence each.

    Arguments:
        resumed_seconds: within which everyone has to be at work again.
    """
    wrong = [
        f"{count} tasks ended as {state}"
        for state, count in Counter(result.ends.values()).items()
        if state != "completed"
    ]
    wrong += [f"{key} ran again" for key in figures.ran_again(result.runs)]
    wrong += _lost_processes(result) + _wrong_answers(result)
    wrong += _late_returns(result, resumed_seconds)
    return wrong


def _lost_processes(result: Result) -> list[str]:
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


def _wrong_answers(result: Result) -> list[str]:
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


def _late_returns(result: Result, resumed_seconds: float) -> list[str]:
    runs, at = result.runs, result.outage.ended
    firsts = figures.first_finishes(runs, result.workers, at)
    wrong = [
        f"worker {pid} finished its first task {seconds:.2f} s after the return"
        for pid, seconds in firsts.items()
        if seconds > resumed_seconds
    ]
    rate = figures.rate_before(runs, result.outage.began)
    seconds = figures.seconds_to_full_rate(runs, rate, at)
    if seconds > resumed_seconds:
        wrong.append(f"the full rate came {seconds:.2f} s after the return")
    if not any(run.kind == "tick" and run.started >= at for run in runs):
        wrong.append("the automatic task did not go on")
    return wrong
