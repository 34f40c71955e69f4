"""`docket workers`: the workers of a docket."""

from collections.abc import Collection

import click

from docket.cli.options import docket_options
from docket.cli.relative_time import relative
from docket.cli.session import on_docket
from docket.cli.tables import Table, is_terminal, show
from docket.clock import now
from docket.docket import Docket, WorkerInfo


@click.group()
def workers() -> None:
    """Look at the workers of a docket."""


@workers.command()
@docket_options
def ls(docket_name: str, url: str) -> None:
    """List all workers."""

    async def act(docket: Docket) -> None:
        _show(f"Workers in Docket: {docket.name}", None, await docket.workers())

    on_docket(docket_name, url, act)


@workers.command()
@docket_options
@click.argument("task")
def for_task(docket_name: str, url: str, task: str) -> None:
    """List the workers that can run TASK."""

    async def act(docket: Docket) -> None:
        title = f"Workers for Task: {task}"
        _show(title, task, await docket.task_workers(task))

    on_docket(docket_name, url, act)


def _show(title: str, highlighted: str | None, found: Collection[WorkerInfo]) -> None:
    between = "\n" if is_terminal() else ", "
    table = Table([title], ["Name", "Last Seen", "Tasks"])
    seen_from = now()
    for worker in sorted(found, key=lambda worker: worker.name):
        tasks = sorted(worker.tasks, key=lambda name: (name != highlighted, name))
        table.rows.append([worker.name, relative(worker.last_seen, seen_from), between.join(tasks)])
    show(table)
