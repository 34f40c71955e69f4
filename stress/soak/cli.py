"""`python -m stress soak`."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import click
import uvloop
from redis.asyncio import Redis

from stress.command import measuring_command
from stress.report import Figure, Report
from stress.server import server
from stress.soak import history, payloads, pending, queue, scheduled, strikes, waiting, web
from stress.soak.environment import Environment
from stress.soak.scale import LEAST_JUDGED_SCALE, Scale
from stress.soak.script_clocks import clocked_scripts
from stress.soak.slowlog import longest_calls

SCENARIOS: dict[str, Callable[[Environment, Scale], Awaitable[Report]]] = {
    "queue": queue.run,
    "scheduled": scheduled.run,
    "waiting": waiting.run,
    "pending": pending.run,
    "payloads": payloads.run,
    "strikes": strikes.run,
    "web": web.run,
    "history": history.run,
}

#: No scenario takes this long at its full size; one that does hangs.
LIMIT_SECONDS = 1800.0


def measure(name: str, given: Mapping[str, Any]) -> Report:
    """Run one scenario on an embedded server of its own."""
    with server(None) as url:
        return uvloop.run(_measure_on(url, name, Scale(given["scale"])))


async def _measure_on(url: str, name: str, scale: Scale) -> Report:
    loads = [os.getloadavg()[0]]
    async with asyncio.timeout(LIMIT_SECONDS), Redis.from_url(url) as client:
        async with clocked_scripts(client) as scripts, longest_calls(client) as calls:
            report = await SCENARIOS[name](Environment(url, client, scripts.collect), scale)
        loads.append(os.getloadavg()[0])
        figures = [*report.figures, *scripts.figures(), *calls.figures()]
    return Report(
        report.scenario,
        report.conditions,
        [*figures, Figure("load average, before and after", loads)],
    )


soak = measuring_command(
    "soak",
    SCENARIOS,
    measure,
    [
        click.Option(
            ["--scale"],
            default=1.0,
            show_default=True,
            type=click.FloatRange(min=0, max=1, min_open=True),
            help=f"The part of the full size to run. Under {LEAST_JUDGED_SCALE} the small size "
            "shrinks as well: ratios are noise then, and not judged.",
        )
    ],
    text="Measure the cost of size.\n\n"
    "At the full size a scenario takes some minutes, and up to 2.2 GB of memory.",
)
