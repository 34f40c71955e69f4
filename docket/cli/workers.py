"""`docket workers`: the workers of a docket."""

from collections.abc import Collection

import click

from docket.cli.options import docket_options
from docket.cli.relative_time import relative
from docket.cli.session import on_docket
from docket.cli.tables import Table, show
from docket.clock import now
from docket.docket import Docket, WorkerInfo
from docket.options import DocketOptions


@click.group()
def workers() -> None:
    """Look at the workers of a docket."""


@workers.command()
@docket_options
def ls(chosen: DocketOptions) -> None:
    """List all workers."""

    async def act(docket: Docket) -> None:
        _show(docket.name, None, await docket.workers())

    on_docket(chosen, act)


@workers.command()
@docket_options
@click.argument("task")
def for_task(chosen: DocketOptions, task: str) -> None:
    """List the workers that can run TASK."""

    async def act(docket: Docket) -> None:
        _show(docket.name, task, await docket.task_workers(task))

    on_docket(chosen, act)


def _show(docket_name: str, highlighted: str | None, found: Collection[WorkerInfo]) -> None:
    table = Table([f"Workers in Docket: {docket_name}"], ["Name", "Last Seen", "Tasks"])
    seen_from = now()
    for worker in sorted(found, key=lambda worker: worker.last_seen, reverse=True):
        tasks = sorted(worker.tasks, key=lambda name: (name != highlighted, name))
        last_seen = relative(worker.last_seen, seen_from)
        table.rows.append([worker.name, last_seen, tasks or "(none)"])
    show(table)
