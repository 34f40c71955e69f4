"""`python -m stress away`."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import click

from stress.chaos.outage import report
from stress.chaos.outage.kinds import OutageKind
from stress.chaos.outage.run import OutageResult, OutageSettings, run, violations

#: The record of a task that ended before the outage has to outlast it.
MOST_SECONDS = 600
MOST_PROCESSES = 64


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(OutageKind.KILL.least_seconds, MOST_SECONDS),
    default=60.0,
    show_default=True,
    help=f"Length of the outage; `stop` needs {OutageKind.STOP.least_seconds:.0f} to be noticed.",
)
@click.option(
    "--way",
    "ways",
    type=click.Choice([str(each) for each in OutageKind]),
    multiple=True,
    help="The kinds of outages, one after the other; by default all.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, MOST_PROCESSES),
    default=8,
    show_default=True,
    help="Workers of the pool; the load grows with them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON.")
def away(seconds: float, ways: tuple[str, ...], processes: int, *, as_json: bool) -> None:
    """Take the server away under full load. Exits with 1 if a promise was broken."""
    chosen = [OutageKind(each) for each in ways or tuple(OutageKind)]
    for kind in chosen:
        if seconds < kind.least_seconds:
            raise click.BadParameter(
                f"{seconds:g} is not enough for the way `{kind}`, which needs "
                f"{kind.least_seconds:.0f} to be noticed; name others with --way",
                param_hint="--seconds",
            )
    results = [_run(kind, seconds, processes) for kind in chosen]
    if as_json:
        click.echo(json.dumps([report.as_json(each) for each in results], indent=2))
    else:
        click.echo("\n\n".join(report.as_text(each) for each in results))
    sys.exit(1 if any(violations(each) for each in results) else 0)


def _run(kind: OutageKind, seconds: float, processes: int) -> OutageResult:
    with tempfile.TemporaryDirectory(prefix="away-") as folder:
        return asyncio.run(run(OutageSettings(Path(folder), kind, seconds, processes)))
