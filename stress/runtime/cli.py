"""The command line of the runtime's figures."""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import click

from stress.bench.server import server
from stress.runtime import idle, kills, preload, reload, restarts
from stress.runtime.output import published
from stress.runtime.report import Report
from stress.runtime.settings import Settings


@dataclass(frozen=True)
class Scenario:
    """Something to measure, and how much of it by default."""

    run: Callable[[str, Settings], Awaitable[Report]]
    rounds: int
    processes: int
    seconds: float = 0.0


SCENARIOS = {
    "kills": Scenario(kills.run, rounds=50, processes=8),
    "reload": Scenario(reload.run, rounds=5, processes=8),
    "idle64": Scenario(idle.run, rounds=3, processes=64, seconds=20.0),
    "preload": Scenario(preload.run, rounds=3, processes=8),
    "restarts": Scenario(restarts.run, rounds=200, processes=8),
}

#: No scenario takes this long; one that does hangs.
LIMIT_SECONDS = 900.0


@click.command(
    epilog="Exit code 1: a figure that must be reached is not. "
    "Scenarios: " + ", ".join(SCENARIOS) + "."
)
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option("--url", help="A server that runs; by default an embedded one for each scenario.")
@click.option("--rounds", type=click.IntRange(min=1), help="Instead of each scenario's own.")
@click.option("--processes", type=click.IntRange(min=1), help="Workers; the same.")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), help="Of a look, where there is one."
)
@click.option("--seed", type=int, help="Of what is random; by default another one each time.")
@click.option("--json", "as_json", is_flag=True, help="Print a record with all samples.")
@click.option("--no-limits", is_flag=True, help="Exit with 0 whatever was found.")
def runtime(
    scenarios: tuple[str, ...],
    url: str | None,
    rounds: int | None,
    processes: int | None,
    seconds: float | None,
    seed: int | None,
    as_json: bool,
    no_limits: bool,
) -> None:
    """Measure the runtime: each SCENARIO that is named, or all of them."""
    seed = random.randrange(1_000_000) if seed is None else seed

    def chosen(scenario: Scenario) -> Settings:
        return Settings(
            scenario.rounds if rounds is None else rounds,
            scenario.processes if processes is None else processes,
            scenario.seconds if seconds is None else seconds,
            seed,
        )

    named = [SCENARIOS[name] for name in scenarios or SCENARIOS]
    reports = (_measured(scenario, chosen(scenario), url) for scenario in named)
    if not published(reports, as_json=as_json) and not no_limits:
        sys.exit(1)


def _measured(scenario: Scenario, settings: Settings, url: str | None) -> Report:
    async def bounded(there: str) -> Report:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await scenario.run(there, settings)

    with server(url) as there:
        return asyncio.run(bounded(there))
