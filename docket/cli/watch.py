"""`docket watch`: follow a task until it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import aclosing
from datetime import datetime

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from docket.cli.options import docket_options_of_watch
from docket.cli.session import on_docket
from docket.cli.tables import is_terminal, terminal
from docket.docket import Docket
from docket.execution import Execution, ProgressEvent, StateEvent
from docket.lifecycle import TERMINAL, ExecutionState
from docket.options import DocketOptions
from docket_display.printable import in_view

_STYLES = {
    ExecutionState.SCHEDULED: "yellow",
    ExecutionState.QUEUED: "cyan",
    ExecutionState.RUNNING: "blue",
    ExecutionState.COMPLETED: "green",
    ExecutionState.FAILED: "red",
    ExecutionState.CANCELLED: "magenta",
}

_ENDS = {
    ExecutionState.COMPLETED: "✓ Task completed successfully",
    ExecutionState.FAILED: "✗ Task failed",
    ExecutionState.CANCELLED: "✗ Task cancelled",
}


@click.command()
@docket_options_of_watch
@click.option("--exit-code", is_flag=True, help="End with 1 if the task failed or is not there.")
@click.argument("key")
def watch(chosen: DocketOptions, exit_code: bool, key: str) -> None:
    """Show the state and the progress of the task called KEY, as they change, until it has ended.

    The exit code is 0 whatever became of the task, unless --exit-code is given.
    """
    states: list[ExecutionState | None] = []

    async def act(docket: Docket) -> None:
        states.append(await _watch(docket, key))

    on_docket(chosen, act)
    if exit_code and states[0] in (None, ExecutionState.FAILED):
        raise click.exceptions.Exit(1)


async def _watch(docket: Docket, key: str) -> ExecutionState | None:
    """Follow the task to its end, and return its state then; None if there is no such task."""
    execution = await docket.get_execution(key)
    if execution is None:
        click.echo(f"Error: Task with key '{in_view(key)}' not found or function not registered")
        return None
    if is_terminal():
        with Live(console=terminal(), auto_refresh=False) as live:
            await _follow(execution, lambda: live.update(_picture(execution), refresh=True))
    else:
        await _follow(execution, Lines(execution).say)
    return execution.state


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
        execution.state = event["state"]
        # The last worker stays shown while the task waits for another attempt.
        execution.worker = event.get("worker") or execution.worker
        execution.error = event.get("error")
    else:
        progress = execution.progress
        progress.current, progress.total = event["current"], event["total"]
        progress.message = event["message"]
        reported_at = event["updated_at"]
        progress.updated_at = datetime.fromisoformat(reported_at) if reported_at else None


class Lines:
    """A printer of changes, one a line."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._said: set[str] = set()

    def say(self) -> None:
        """Print the changes."""
        facts = [f"{name}: {in_view(value)}" for name, value, _ in _facts(self._execution)]
        end = _end(self._execution)
        for line in (*facts, _progress_line(self._execution), end):
            if line and line not in self._said:
                self._said.add(line)
                click.echo(line)


def _facts(execution: Execution) -> Iterator[tuple[str, str, str]]:
    """Yield what is known of the execution: names, values and their styles."""
    yield "Task", execution.key, ""
    yield "Docket", execution.docket.name, ""
    yield "Function", execution.function_name, ""
    state = execution.state or ExecutionState.SCHEDULED
    yield "State", state.value.upper(), _STYLES[state]
    if execution.worker:
        yield "Worker", execution.worker, ""
    if execution.error:
        yield "Error", execution.error, "red"


def _progress_line(execution: Execution) -> str:
    progress = execution.progress
    if progress.updated_at is None:
        return ""
    line = f"Progress: {progress.current or 0}/{progress.total}"
    return f"{line} {in_view(progress.message)}" if progress.message else line


def _end(execution: Execution) -> str:
    return _ENDS.get(execution.state, "") if execution.state else ""


def _picture(execution: Execution) -> RenderableType:
    # As Text, since a key or an error may contain rich markup.
    facts = [Text(f"{name}: {in_view(value)}", style) for name, value, style in _facts(execution)]
    end = [Text(_end(execution), _STYLES[execution.state])] if execution.state in _ENDS else []
    return Group(*facts, _bar(execution), *end)


def _bar(execution: Execution) -> Progress:
    progress = execution.progress
    bar = Progress(
        BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False)
    )
    is_complete = execution.state is ExecutionState.COMPLETED and progress.current is None
    done = progress.total if is_complete else progress.current or 0
    bar.add_task(in_view(progress.message or ""), completed=done, total=progress.total)
    return bar
