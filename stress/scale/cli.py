"""`python -m stress scale`: what each size needs, and the curve of one docket."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from stress.report import PLAIN_WIDTH, short
from stress.scale.arithmetic import Workload, most_of_a_docket, size_of
from stress.scale.costs import MEASURED, Costs, NoCosts, read_costs
from stress.scale.simulation import busiest_share, drained, simulate

RATES = (10, 100, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
PROCESSES = (1, 2, 4, 8, 16)
SHARES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)
DOCKETS = (1, 2, 4, 8, 16)
#: The owners by whom tasks are spread over dockets, and how unequal they are.
OWNERS = ((100_000, 0.0), (1_000, 0.0), (1_000, 1.0))
#: Simulated seconds of each point of a curve.
SECONDS = 1.0


@dataclass(frozen=True)
class Curve:
    """A table of figures: its title, its columns, its rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[float | str]]

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table(title=self.title, title_justify="left")
        for column in self.columns:
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(*(each if isinstance(each, str) else short(each) for each in row))
        console.print(table)


def sizes(costs: Costs, load: Workload) -> Curve:
    """Compute what each rate needs."""
    rows: list[list[float | str]] = []
    for rate in RATES:
        size = size_of(costs, replace(load, rate=rate))
        rows.append(
            [
                rate,
                size.processes,
                size.dockets,
                size.needed_by,
                size.busy * 100,
                size.memory / 1e9,
                size.connections,
                size.messages,
            ]
        )
    columns = (
        "tasks/s",
        "workers",
        "dockets",
        "by",
        "server, %",
        "GB",
        "connections",
        "messages/s",
    )
    return Curve("sizes: what a rate needs (% and connections of each server)", columns, rows)


def throughput(costs: Costs, load: Workload, seed: int) -> Curve:
    """Simulate workers that have enough to do."""
    short_tasks = replace(load, seconds=0.0)
    rows: list[list[float | str]] = []
    for processes in PROCESSES:
        found = drained(costs, short_tasks, processes, SECONDS, seed)
        rows.append([processes, found.rate, found.busy * 100, 1 / found.calls])
    columns = ("workers", "tasks/s", "server, %", "tasks/call")
    return Curve("drain: a backlog of short tasks, one docket", columns, rows)


def waits(costs: Costs, load: Workload, seed: int) -> Curve:
    """Simulate a docket below and above the rate that it carries by the arithmetic."""
    most = most_of_a_docket(costs, load)
    processes = size_of(costs, replace(load, rate=most * SHARES[-1])).processes
    rows: list[list[float | str]] = []
    for share in SHARES:
        found = simulate(costs, replace(load, rate=most * share), processes, SECONDS, seed)
        figures = [found.busy * 100, found.wait(50), found.wait(99)]
        rows.append([share * 100, most * share, *figures])
    columns = ("load, %", "tasks/s", "server, %", "wait p50, ms", "p99, ms")
    return Curve(f"waits: from add to start, one docket, {processes} workers", columns, rows)


def shares(seed: int) -> Curve:
    """Compute how many times one docket several carry, if tasks are spread by their owner."""
    rows: list[list[float | str]] = [
        [count, *(1 / busiest_share(count, *owners, seed) for owners in OWNERS)]
        for count in DOCKETS
    ]
    names = (f"{owners:,} {'unequal' if skew else 'equal'}" for owners, skew in OWNERS)
    return Curve("dockets: times the rate of one, by owners", ("dockets", *names), rows)


@click.command("scale")
@click.option(
    "--costs",
    "path",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=MEASURED,
    help="What `python -m stress.bench cost --json` printed; by default what was measured for us.",
)
@click.option(
    "--task-seconds",
    type=click.FloatRange(min=0),
    default=Workload.seconds,
    show_default=True,
    help="Duration of a task.",
)
@click.option(
    "--task-cpu-us",
    type=click.FloatRange(min=0),
    default=Workload.cpu_us,
    show_default=True,
    help="CPU that a task takes of its worker, in microseconds.",
)
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=Workload.concurrency, show_default=True
)
@click.option(
    "--adds",
    type=click.IntRange(min=1),
    default=Workload.adds,
    show_default=True,
    help="Tasks that one call adds.",
)
@click.option(
    "--kept-seconds",
    type=click.FloatRange(min=0),
    default=Workload.kept_seconds,
    show_default=True,
    help="`execution_ttl`: how long the record of a task is kept after its end.",
)
@click.option(
    "--server-gb",
    type=click.FloatRange(min=0, min_open=True),
    default=Workload.server_bytes / 1e9,
    show_default=True,
    help="Memory of one server.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything random.")
@click.option("--json", "as_json", is_flag=True, help="Print a record instead of the tables.")
def scale(path: Path, server_gb: float, seed: int, as_json: bool, **given: Any) -> None:
    """Reckon what each rate of tasks needs, and simulate where one docket ends.

    Nothing is measured: the costs come from `python -m stress.bench cost --json`.
    """
    load = Workload(
        rate=0.0,
        seconds=given["task_seconds"],
        cpu_us=given["task_cpu_us"],
        concurrency=given["concurrency"],
        adds=given["adds"],
        kept_seconds=given["kept_seconds"],
        server_bytes=server_gb * 1e9,
    )
    try:
        costs = read_costs(path)
    except NoCosts as error:
        raise click.ClickException(str(error)) from error
    curves = [
        sizes(costs, load),
        throughput(costs, load, seed),
        waits(costs, load, seed),
        shares(seed),
    ]
    if as_json:
        record = {"costs": asdict(costs), "seed": seed, "curves": [asdict(each) for each in curves]}
        click.echo(json.dumps(record, indent=2))
        return
    for curve in curves:
        curve.show(Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH))
