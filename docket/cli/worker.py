"""`docket worker`: run tasks in this process until told to stop."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import uvloop

from docket.cli import logs
from docket.cli.durations import DURATION
from docket.cli.loading import load, trust_working_directory
from docket.cli.options import docket_options, logging_options, tasks_option
from docket.dependencies import named_dependencies
from docket.docket import Docket
from docket.errors import DocketError
from docket.loading import load_function
from docket.worker import Worker

Command = TypeVar("Command", bound=Callable[..., Any])


def _option(name: str, **settings: Any) -> Callable[[Command], Command]:
    """An option of this command, which has a variable of its name: [DOCKET_WORKER_NAME]."""
    variable = name.removeprefix("--").partition("/")[0].upper().replace("-", "_")
    settings.setdefault("envvar", f"DOCKET_WORKER_{variable}")
    return click.option(name, show_default=True, show_envvar=True, **settings)


@dataclass(frozen=True)
class Assignment:
    """What the worker is to run, and until when."""

    docket_name: str
    url: str
    tasks: tuple[str, ...]
    fallback_task: str | None
    until_finished: bool


@click.command()
@docket_options
@tasks_option
@_option("--name", default=None, help="Name of the worker; by default hostname#pid.")
@_option("--concurrency", type=click.IntRange(min=1), default=10, help="Most tasks at once.")
@_option(
    "--redelivery-timeout",
    type=DURATION,
    default="5m",
    help="A task whose worker is not heard of for so long goes to another one.",
)
@_option("--reconnection-delay", type=DURATION, default="5s", help="Accepted for compatibility.")
@_option(
    "--minimum-check-interval",
    type=DURATION,
    default="100ms",
    help="How often --until-finished looks whether other workers are done.",
)
@_option(
    "--scheduling-resolution", type=DURATION, default="250ms", help="Accepted for compatibility."
)
@_option(
    "--schedule-automatic-tasks/--no-schedule-automatic-tasks",
    default=True,
    help="Seed automatic perpetual tasks.",
)
@_option(
    "--enable-internal-instrumentation/--no-enable-internal-instrumentation",
    default=False,
    help="Trace internal calls too.",
)
@_option("--until-finished", is_flag=True, help="End when the docket has no task left.")
@_option(
    "--message-batch", type=click.IntRange(min=1), default=1000, help="Most tasks claimed at once."
)
@_option(
    "--dependencies",
    default=None,
    metavar="MODULE:MEMBER",
    help="Dependencies around every task: a mapping by name, or a sequence.",
)
@_option(
    "--fallback-task",
    envvar="DOCKET_FALLBACK_TASK",
    default=None,
    metavar="MODULE:FUNCTION",
    help="Runs tasks whose name no collection has.",
)
@logging_options
def worker(
    docket_name: str,
    url: str,
    tasks: tuple[str, ...],
    fallback_task: str | None,
    until_finished: bool,
    logging_level: str,
    logging_format: str | None,
    **options: Any,
) -> None:
    """Run tasks in this process until told to stop (TERM or INT).

    The first signal: claim no more, finish what runs. The second: cancel it and hand it back. The
    third: do not wait for a server that is away.
    """
    logs.configure(logging_level, logging_format)
    trust_working_directory()
    assignment = Assignment(docket_name, url, tasks, fallback_task, until_finished)
    try:
        # Cancelled: by the third signal. What ran was handed back, so this is a clean stop.
        with (
            contextlib.suppress(asyncio.CancelledError),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(_work(assignment, options))
    except DocketError as error:
        raise click.ClickException(str(error)) from error


async def _work(assignment: Assignment, options: dict[str, Any]) -> None:
    docket = _docket(assignment)
    if assignment.fallback_task is not None:
        options["fallback_task"] = load("--fallback-task", assignment.fallback_task, load_function)
    if options["dependencies"] is not None:
        options["dependencies"] = load(
            "--dependencies", options["dependencies"], named_dependencies
        )
    for path in assignment.tasks:
        load("--tasks", path, docket.register_collection)
    async with docket, _worker(docket, options) as worker:
        signals = Signals(worker)
        signals.listen()
        if assignment.until_finished:
            await worker.run_until_finished()
        else:
            await worker.run_forever()


def _docket(assignment: Assignment) -> Docket:
    try:
        return Docket(name=assignment.docket_name, url=assignment.url)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _worker(docket: Docket, options: dict[str, Any]) -> Worker:
    try:
        return Worker(docket, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


class Signals:
    """Tells a worker to stop: each signal more urgently than the one before.

    Args:
        worker: runs in the current asyncio task, which the third signal cancels.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._running = asyncio.current_task()
        self._received = 0

    def listen(self) -> None:
        """Handle TERM and INT on this loop from here on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    def stop(self) -> None:
        """One more signal has come."""
        self._received += 1
        if self._received == 1:
            self._worker.drain()
        elif self._received == 2:
            self._worker.drain(0.0)
        elif self._running is not None:
            self._running.cancel()
