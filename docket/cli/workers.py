"""`docket workers`: the workers of a docket."""

from collections.abc import Collection
from typing import Any

import click
import msgspec

from docket.cli.options import docket_options
from docket.cli.relative_time import relative
from docket.cli.session import on_docket
from docket.cli.tables import Table, json_option, show, show_json
from docket.clock import now
from docket.docket import Docket, WorkerInfo
from docket.options import DocketOptions
from docket.tasks import standard_tasks

_BUILT_IN = frozenset(task.__name__ for task in standard_tasks)


@click.group()
def workers() -> None:
    """Look at the workers of a docket."""


@workers.command()
@docket_options
@json_option
def ls(chosen: DocketOptions, as_json: bool) -> None:
    """List all workers, each with its tasks but for the built-in ones.

    With --json, all of its tasks, and its process: host, pid, memory, lag and the like.
    """

    async def act(docket: Docket) -> None:
        _show(docket.name, None, await docket.workers(), as_json)

    on_docket(chosen, act)


@workers.command()
@docket_options
@json_option
@click.argument("task")
def for_task(chosen: DocketOptions, as_json: bool, task: str) -> None:
    """List the workers that can run TASK."""

    async def act(docket: Docket) -> None:
        _show(docket.name, task, await docket.task_workers(task), as_json)

    on_docket(chosen, act)


def _show(
    docket_name: str, highlighted: str | None, found: Collection[WorkerInfo], as_json: bool
) -> None:
    if as_json:
        show_json([_document(worker) for worker in sorted(found, key=lambda each: each.name)])
        return
    table = Table(
        [f"Workers in Docket: {docket_name}"],
        ["Name", "Last Seen", "Tasks"],
        names=frozenset({"Name", "Tasks"}),
    )
    seen_from = now()
    for worker in sorted(found, key=lambda worker: worker.last_seen, reverse=True):
        last_seen = relative(worker.last_seen, seen_from)
        table.rows.append([worker.name, last_seen, _tasks(worker, highlighted)])
    show(table)


def _document(worker: WorkerInfo) -> dict[str, Any]:
    return {
        "name": worker.name,
        "last_seen": worker.last_seen.isoformat(),
        "tasks": sorted(worker.tasks),
        "process": msgspec.to_builtins(worker.process),
    }


def _tasks(worker: WorkerInfo, highlighted: str | None) -> list[str]:
    """Return the names of a worker's tasks; those that every docket has, only if asked for."""
    names = worker.tasks - (_BUILT_IN - {highlighted})
    if not names:
        return ["(built-in ones only)" if worker.tasks else "(none)"]
    return sorted(names, key=lambda name: (name != highlighted, name))
