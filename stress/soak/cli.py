"""The command line of the soak."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from uuid import uuid4

import click
import uvloop
from redis.asyncio import Redis

from docket.store.embedded import embedded_server
from stress.runtime.output import published
from stress.runtime.report import Figure, Report
from stress.soak import payloads, pending, queue, scheduled, strikes, waiting
from stress.soak.ground import Ground
from stress.soak.settings import LEAST_JUDGED_SCALE, Settings
from stress.soak.slowlog import watched
from stress.soak.timed import timed

SCENARIOS: dict[str, Callable[[Ground, Settings], Awaitable[Report]]] = {
    "queue": queue.run,
    "scheduled": scheduled.run,
    "waiting": waiting.run,
    "pending": pending.run,
    "payloads": payloads.run,
    "strikes": strikes.run,
}

#: No scenario takes this long at its full size; one that does hangs.
LIMIT_SECONDS = 1800.0


@click.command(
    epilog="Exit code 1: a limit is missed. Scenarios: " + ", ".join(SCENARIOS) + ". "
    "At the full size they take some minutes each, and up to 2.2 GB of memory."
)
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option(
    "--scale",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="The part of the full size to run. Under "
    f"{LEAST_JUDGED_SCALE} the small size shrinks as well: ratios are noise then, and not judged.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a record with all samples.")
@click.option("--no-limits", is_flag=True, help="Exit with 0 whatever was found.")
def soak(scenarios: tuple[str, ...], scale: float, as_json: bool, no_limits: bool) -> None:
    """Measure what size costs: each SCENARIO that is named, or all of them."""
    reports = (_measured(name, Settings(scale)) for name in scenarios or SCENARIOS)
    if not published(reports, as_json=as_json) and not no_limits:
        sys.exit(1)


def _measured(name: str, settings: Settings) -> Report:
    running = embedded_server.start(f"memory://soak-{uuid4().hex}")
    try:
        return uvloop.run(_on(running.url, running.pid, name, settings))
    finally:
        running.stop()


async def _on(url: str, pid: int, name: str, settings: Settings) -> Report:
    loads = [os.getloadavg()[0]]
    async with asyncio.timeout(LIMIT_SECONDS), Redis.from_url(url) as client:
        async with timed(client) as scripts, watched(client, pid) as longest:
            report = await SCENARIOS[name](Ground(url, client, scripts.collect), settings)
        loads.append(os.getloadavg()[0])
        figures = [*report.figures, *scripts.figures(), *longest.figures()]
    return Report(
        report.scenario,
        report.conditions,
        [*figures, Figure("load average, before and after", loads)],
    )
