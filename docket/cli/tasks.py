"""`docket tasks`: add one of docket's built-in tasks to a docket, to check that it works."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import click

from docket.cli.durations import DURATION
from docket.cli.options import Command, docket_options, option
from docket.cli.session import on_docket
from docket.clock import now
from docket.docket import Docket
from docket.execution import Execution
from docket.options import DocketOptions
from docket.tasks import fail as fail_task
from docket.tasks import sleep as sleep_task
from docket.tasks import trace as trace_task


def _options(command: Command) -> Command:
    delay = option(
        "--delay",
        type=DURATION,
        default="0s",
        help="How long the task waits until it is due.",
    )
    return delay(docket_options(command))


@click.group()
def tasks() -> None:
    """Run docket's built-in tasks."""


@tasks.command()
@_options
@click.argument("message", default="Howdy!")
def trace(chosen: DocketOptions, delay: timedelta, message: str) -> None:
    """Add a task that logs MESSAGE."""
    _add(chosen, delay, "trace", lambda docket, at: docket.add(trace_task, at)(message))


@tasks.command()
@_options
@click.argument("message", default="Howdy!")
def fail(chosen: DocketOptions, delay: timedelta, message: str) -> None:
    """Add a task that fails with MESSAGE."""
    _add(chosen, delay, "fail", lambda docket, at: docket.add(fail_task, at)(message))


@tasks.command()
@_options
@click.argument("seconds", default=1.0, type=click.FloatRange(min=0))
def sleep(chosen: DocketOptions, delay: timedelta, seconds: float) -> None:
    """Add a task that sleeps for SECONDS."""
    _add(chosen, delay, "sleep", lambda docket, at: docket.add(sleep_task, at)(seconds))


def _add(
    chosen: DocketOptions,
    delay: timedelta,
    shown: str,
    add: Callable[[Docket, Any], Awaitable[Execution]],
) -> None:
    async def act(docket: Docket) -> None:
        execution = await add(docket, now() + delay if delay else None)
        click.echo(f"Added {shown} task {execution.key!r} to the docket {docket.name!r}")

    on_docket(chosen, act)
