"""`docket watch`: follow a task until it has ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from docket.cli.options import docket_options_with_letters
from docket.cli.session import on_docket
from docket.cli.tables import is_terminal
from docket.docket import Docket
from docket.execution import Execution, ProgressEvent, StateEvent
from docket.lifecycle import TERMINAL, ExecutionState

_STYLES = {
    ExecutionState.SCHEDULED: "yellow",
    ExecutionState.QUEUED: "cyan",
    ExecutionState.RUNNING: "blue",
    ExecutionState.COMPLETED: "green",
    ExecutionState.FAILED: "red",
    ExecutionState.CANCELLED: "magenta",
}


@click.command()
@docket_options_with_letters
@click.argument("key")
def watch(docket_name: str, url: str, key: str) -> None:
    """Show the state and the progress of the task called KEY, as they change, until it has ended.

    The exit code is 1 if it failed, or if there is no such task.
    """

    on_docket(docket_name, url, lambda docket: _watch(docket, key))


async def _watch(docket: Docket, key: str) -> None:
    execution = await docket.get_execution(key)
    if execution is None:
        raise click.ClickException(f"No task {key!r} on the docket {docket.name!r}")
    if is_terminal():
        with Live(console=Console(), auto_refresh=False) as live:
            await _follow(execution, lambda: live.update(_picture(execution), refresh=True))
    else:
        await _follow(execution, Lines(execution).say)
    if execution.state is ExecutionState.FAILED:
        raise click.exceptions.Exit(1)


async def _follow(execution: Execution, show: Callable[[], None]) -> None:
    """Show the execution after each event, the last one being its end."""
    async with aclosing(execution.subscribe()) as events:
        async for event in events:
            _take_over(execution, event)
            show()
            if execution.state in TERMINAL:
                return


def _take_over(execution: Execution, event: StateEvent | ProgressEvent) -> None:
    if event["type"] == "state":
        execution.state, execution.worker = event["state"], event.get("worker")
        execution.error = event.get("error")
    else:
        progress = execution.progress
        progress.current, progress.total = event["current"], event["total"]
        progress.message = event["message"]


class Lines:
    """A printer of changes, one a line."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._said: set[str] = set()

    def say(self) -> None:
        """Print the changes."""
        for line in (_state_line(self._execution), _progress_line(self._execution)):
            if line and line not in self._said:
                self._said.add(line)
                click.echo(line)


def _state_line(execution: Execution) -> str:
    line = f"State: {execution.state.value.upper() if execution.state else 'UNKNOWN'}"
    if execution.worker:
        line += f" (worker {execution.worker})"
    if execution.error:
        line += f": {execution.error}"
    return line


def _progress_line(execution: Execution) -> str:
    progress = execution.progress
    if progress.current is None and progress.message is None:
        return ""
    line = f"Progress: {progress.current or 0}/{progress.total}"
    return f"{line} {progress.message}" if progress.message else line


def _picture(execution: Execution) -> RenderableType:
    state = execution.state
    facts = Table.grid(padding=(0, 2))
    shown = Text(state.value.upper() if state else "UNKNOWN", style=_STYLES[state] if state else "")
    rows: list[tuple[str, Text]] = [
        ("Task", Text(f"{execution.function_name} {execution.key}")),
        ("State", shown),
    ]
    if execution.worker:
        rows.append(("Worker", Text(execution.worker)))
    if execution.error:
        rows.append(("Error", Text(execution.error, style="red")))
    for name, value in rows:
        facts.add_row(Text(name, style="bold"), value)
    return Group(facts, _bar(execution))


def _bar(execution: Execution) -> Progress:
    progress = execution.progress
    bar = Progress(
        BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False)
    )
    is_complete = execution.state is ExecutionState.COMPLETED and progress.current is None
    done = progress.total if is_complete else progress.current or 0
    bar.add_task(progress.message or "", completed=done, total=progress.total)
    return bar
