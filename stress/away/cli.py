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


@click.command()
@click.option("--seconds", type=float, default=60.0, show_default=True, help="Of the outage.")
@click.option(
    "--way",
    "ways",
    type=click.Choice([str(each) for each in Way]),
    multiple=True,
    help="How the server goes; one after the other; all of them if none is named.",
)
@click.option("--processes", type=int, default=8, show_default=True, help="Workers of the pool.")
@click.option("--json", "as_json", is_flag=True, help="The reports as JSON.")
def away(seconds: float, ways: tuple[str, ...], processes: int, *, as_json: bool) -> None:
    """Take the server away under full load: exits with 1 if a promise was broken."""
    results = [_run(Way(each), seconds, processes) for each in ways or tuple(Way)]
    if as_json:
        click.echo(json.dumps([report.as_json(each) for each in results], indent=2))
    else:
        click.echo("\n\n".join(report.as_text(each) for each in results))
    sys.exit(1 if any(violations(each) for each in results) else 0)


def _run(way: Way, seconds: float, processes: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="away-") as folder:
        return asyncio.run(run(Settings(Path(folder), way, seconds, processes)))
