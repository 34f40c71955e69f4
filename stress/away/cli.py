"""`python -m stress away`."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import click

from stress.away import report
from stress.away.run import Result, Settings, run, violations
from stress.away.ways import Way

#: The record of a task that ended before the outage has to last until the end of it.
MOST_SECONDS = 600
MOST_PROCESSES = 64


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(Way.KILL.least_seconds, MOST_SECONDS),
    default=60.0,
    show_default=True,
    help=f"Of the outage; `stop` needs {Way.STOP.least_seconds:.0f} to be noticed.",
)
@click.option(
    "--way",
    "ways",
    type=click.Choice([str(each) for each in Way]),
    multiple=True,
    help="How the server goes; one after the other; all of them if none is named.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, MOST_PROCESSES),
    default=8,
    show_default=True,
    help="Workers of the pool; the load is as many times that of one.",
)
@click.option("--json", "as_json", is_flag=True, help="The reports as JSON.")
def away(seconds: float, ways: tuple[str, ...], processes: int, *, as_json: bool) -> None:
    """Take the server away under full load: exits with 1 if a promise was broken."""
    chosen = [Way(each) for each in ways or tuple(Way)]
    for way in chosen:
        if seconds < way.least_seconds:
            raise click.BadParameter(
                f"{seconds:g} is not enough for the way `{way}`, which needs "
                f"{way.least_seconds:.0f} to be noticed; name others with --way",
                param_hint="--seconds",
            )
    results = [_run(way, seconds, processes) for way in chosen]
    if as_json:
        click.echo(json.dumps([report.as_json(each) for each in results], indent=2))
    else:
        click.echo("\n\n".join(report.as_text(each) for each in results))
    sys.exit(1 if any(violations(each) for each in results) else 0)


def _run(way: Way, seconds: float, processes: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="away-") as folder:
        return asyncio.run(run(Settings(Path(folder), way, seconds, processes)))
