"""`docket snapshot`: the tasks on a docket at this moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from docket.cli.options import docket_options, tasks_option
from docket.cli.relative_time import absolute, relative
from docket.cli.session import on_docket
from docket.cli.tables import Table, is_terminal, show
from docket.docket import Docket, DocketSnapshot
from docket.options import DocketOptions


@click.command()
@docket_options
@tasks_option
@click.option("--stats", is_flag=True, help="Show how many tasks there are of each function.")
def snapshot(chosen: DocketOptions, tasks: tuple[str, ...], stats: bool) -> None:
    """Show what waits and what runs on the docket."""

    async def act(docket: Docket) -> None:
        taken = await docket.snapshot()
        show(_overview(docket.name, taken))
        if stats and taken.total_tasks:
            click.echo()
            show(_statistics(taken))

    on_docket(chosen, act, tasks)


def _overview(name: str, taken: DocketSnapshot) -> Table:
    title = [
        f"Docket: {name!r}",
        f"as of {absolute(taken.taken)}",
        f"{_workers(len(taken.workers))}, {len(taken.running)}/{taken.total_tasks} running",
    ]
    table = Table(
        title,
        ["When", "Function", "Key", "Worker", "Started"],
        names=frozenset({"Function", "Key", "Worker"}),
        expendable=("Started", "Worker", "Function"),
    )
    for running in sorted(taken.running, key=lambda running: running.started):
        when = relative(running.when, taken.taken)
        started = relative(running.started, taken.taken)
        table.rows.append([when, running.function_name, running.key, running.worker or "", started])
    for waiting in sorted(taken.future, key=lambda waiting: waiting.when):
        when = relative(waiting.when, taken.taken)
        table.rows.append([when, waiting.function_name, waiting.key, "", ""])
    return table


def _workers(number: int) -> str:
    # Programs that read a pipe have always found `1 workers` there.
    return "1 worker" if number == 1 and is_terminal() else f"{number} workers"


@dataclass
class _Count:
    """The tasks of one function: the number running, and the due times of those waiting."""

    running: int
    waiting: list[datetime]

    @property
    def total(self) -> int:
        return self.running + len(self.waiting)


def _statistics(taken: DocketSnapshot) -> Table:
    headings = ["Function", "Total", "Running", "Queued", "Oldest Queued", "Latest Queued"]
    table = Table(
        ["Task Count Statistics by Function"],
        headings,
        frozenset(headings[1:]),
        names=frozenset({"Function"}),
        expendable=("Latest Queued", "Oldest Queued"),
    )
    for name, count in _counts(taken):
        oldest = latest = ""
        if count.waiting:
            oldest = relative(min(count.waiting), taken.taken)
            latest = relative(max(count.waiting), taken.taken)
        numbers = (str(count.total), str(count.running), str(len(count.waiting)))
        table.rows.append([name, *numbers, oldest, latest])
    return table


def _counts(taken: DocketSnapshot) -> Sequence[tuple[str, _Count]]:
    """Return the counts by function, the largest first."""
    counts: dict[str, _Count] = {}
    for running in taken.running:
        counts.setdefault(running.function_name, _Count(0, [])).running += 1
    for waiting in taken.future:
        counts.setdefault(waiting.function_name, _Count(0, [])).waiting.append(waiting.when)
    return sorted(counts.items(), key=lambda item: (-item[1].total, item[0]))
