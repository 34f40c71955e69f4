"""`python -m stress chaos`."""

import asyncio
import contextlib
import json
import sys
import tempfile
from pathlib import Path

import click

from stress.chaos import report
from stress.chaos.plan import Topology
from stress.chaos.run import ChaosSettings, run

#: A week. More than these is a mistake.
MOST_MINUTES = 7 * 24 * 60
MOST_PROCESSES = 64
MOST_RATE = 10_000


def _empty(_context: click.Context, _option: click.Parameter, folder: Path | None) -> Path | None:
    """Refuse a folder with files: those of an earlier run would be checked with this one."""
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise click.BadParameter(f"{folder} is not empty")
    return folder


@click.command()
@click.option(
    "--minutes",
    type=click.FloatRange(0, MOST_MINUTES, min_open=True),
    default=5.0,
    show_default=True,
    help="Of faults.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Draws the plan of faults.")
@click.option("--hosts", type=click.IntRange(1, 4), default=2, show_default=True)
@click.option(
    "--processes",
    type=click.IntRange(1, MOST_PROCESSES),
    default=3,
    show_default=True,
    help="Workers of each host.",
)
@click.option(
    "--topology",
    type=click.Choice([str(each) for each in Topology]),
    default=str(Topology.ONE),
    show_default=True,
    help="One server behind a network that breaks, or servers that fail over.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, MOST_RATE, min_open=True),
    default=40.0,
    show_default=True,
    help="Adds in a second.",
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    callback=_empty,
    help="A new or empty folder in which histories and logs are kept; without it they are removed.",
)
def chaos(
    minutes: float,
    seed: int,
    hosts: int,
    processes: int,
    rate: float,
    topology: str,
    *,
    as_json: bool,
    keep: Path | None,
) -> None:
    """Inject faults into everything that the runtime uses, and check that nothing is lost.

    Exits with 1 if a promise was broken, or if nothing was put to the test.
    """
    with contextlib.ExitStack() as stack:
        if keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        else:
            folder = keep
            folder.mkdir(parents=True, exist_ok=True)
        settings = ChaosSettings(
            folder, seed, minutes * 60, hosts, processes, rate, topology=Topology(topology)
        )
        outcome = asyncio.run(run(settings, lambda line: click.echo(line, err=True)))
    if as_json:
        click.echo(json.dumps(report.as_json(outcome), indent=2))
    else:
        click.echo(report.as_text(outcome))
    sys.exit(0 if report.has_passed(outcome) else 1)
