"""`python -m stress.bench peers`: the comparison with other task queues."""

import asyncio
import datetime
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stress.bench.peers.arena import arena
from stress.bench.peers.catalogue import PEERS, Peer
from stress.bench.peers.comparison import Course
from stress.bench.peers.environments import cache_folder
from stress.bench.peers.measurements import MEASUREMENTS, Measurement, Sizes
from stress.bench.peers.table import Comparison
from stress.report import machine

#: Of a table that goes to a file: it is not cut.
_WIDE = 260


@dataclass(frozen=True)
class Plan:
    """The order of the command line.

    Arguments:
        peers: the columns.
        measurements: those that are made.
        rounds: of every measurement that is not made once.
        sizes: of the measurements.
        cache: folder of the environments.
        interpreters: for peers that ours is too old for.
    """

    peers: Sequence[Peer]
    measurements: Sequence[Measurement]
    rounds: int
    sizes: Sizes
    cache: Path
    interpreters: Sequence[str]


async def compare(plan: Plan, progress: Progress) -> Comparison:
    """Install who takes part, take all turns, and sum up.

    TERM ends it like INT: workers are in sessions of their own, and would be left.
    """
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    bar = progress.add_task("starting", total=None)

    def report(text: str) -> None:
        progress.update(bar, description=text)

    async with arena() as shared:
        course = Course(shared, plan.sizes, plan.measurements, report)
        for peer in plan.peers:
            await course.invite(peer, plan.cache, plan.interpreters)
        turns = course.turns(plan.rounds)
        progress.update(bar, total=len(turns))
        for turn in turns:
            await course.take(turn)
            progress.advance(bar)
        conditions = _conditions(plan, await shared.version())
        return course.comparison(conditions)


def _conditions(plan: Plan, server: str) -> dict[str, object]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "date": now.isoformat(timespec="minutes"),
        "server": f"{server}, embedded, over TCP on the loopback",
        **machine(),
        "rounds": plan.rounds,
        "scale": plan.sizes.scale,
        "patience after a kill": f"{plan.sizes.kill_seconds:g} s",
    }


def _chosen(names: str | None, known: Sequence[Any], option: str) -> list[Any]:
    """Choose by names separated by commas; the beginning of a name of several words chooses too."""
    if names is None:
        return list(known)
    wanted = [each.strip() for each in names.split(",")]
    for each in wanted:
        if not any(_is_called(one.name, each) for one in known):
            have = ", ".join(one.name for one in known)
            raise click.BadParameter(f"there is no {each!r}; there are {have}", param_hint=option)
    return [one for one in known if any(_is_called(one.name, each) for each in wanted)]


def _is_called(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted} ")


@click.command("peers")
@click.option("--only", help="Columns, separated by commas; by default all.")
@click.option("--rows", help="Measurements, separated by commas; by default all.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--scale",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Factor of every number of tasks.",
)
@click.option(
    "--kill-seconds",
    type=click.FloatRange(min=1),
    default=90.0,
    show_default=True,
    help="After a kill, before a task counts as lost or waiting.",
)
@click.option(
    "--idle-seconds",
    type=click.FloatRange(min=1),
    default=10.0,
    show_default=True,
    help="Length of an observation of an idle worker.",
)
@click.option(
    "--python",
    "interpreters",
    multiple=True,
    help="An interpreter for peers that need a newer one than this; may be given again.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the environments; by default below ~/.cache.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print a record with all samples.")
def peers(
    only: str | None,
    rows: str | None,
    rounds: int,
    scale: float,
    kill_seconds: float,
    idle_seconds: float,
    interpreters: tuple[str, ...],
    cache: Path | None,
    markdown: bool,
    as_json: bool,
) -> None:
    """Compare with other task queues: the same work, on one embedded server, in turns.

    Makes an environment for each peer, from PyPI or npm, at pinned versions. Who cannot be
    installed, and what cannot be measured, is said below the table.
    """
    plan = Plan(
        _chosen(only, PEERS, "--only"),
        _chosen(rows, MEASUREMENTS, "--rows"),
        rounds,
        Sizes(scale, idle_seconds, kill_seconds),
        (cache or cache_folder()).resolve(),
        interpreters,
    )
    with Progress(
        TextColumn("{task.description:40}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        try:
            found = asyncio.run(compare(plan, progress))
        except asyncio.CancelledError:
            sys.exit(128 + signal.SIGTERM)
    if as_json:
        click.echo(json.dumps(found.record(), indent=2))
    elif markdown:
        click.echo(found.markdown())
    else:
        _show(found)


def _show(found: Comparison) -> None:
    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    console.print(found.table())
    for name, value in found.conditions.items():
        console.print(f"{name}: {value}", markup=False)
    for each in found.contestants:
        console.print(found.introduced(each), markup=False)
    for note in found.notes:
        console.print(f"not there: {note}", markup=False)
