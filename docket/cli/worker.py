"""`docket worker`: run tasks in this process until told to stop."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sized
from functools import partial
from typing import Any

import click

from docket.cli import logs
from docket.cli.durations import DURATION
from docket.cli.loading import load, trust_working_directory
from docket.cli.options import Command, docket_options, logging_options, option, tasks_option
from docket.cli.session import made
from docket.dependencies import named_dependencies
from docket.docket import Docket
from docket.errors import DocketError
from docket.loading import load_attribute, load_function
from docket.options import DocketOptions
from docket.services.standalone import run_program
from docket.worker import Worker
from docket_display.printable import on_lines, on_one_line

try:
    from uvloop import new_event_loop
except ImportError:  # not for Windows
    from asyncio import new_event_loop

logger = logging.getLogger("docket.worker")

PORT = click.IntRange(0, 65535)


def _option(name: str, **settings: Any) -> Callable[[Command], Command]:
    """Return an option of this command, with an environment variable such as DOCKET_WORKER_NAME."""
    own = name.removeprefix("--").partition("/")[0].upper().replace("-", "_")
    return option(name, **{"variable": f"DOCKET_WORKER_{own}", **settings})


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
@_option("--healthcheck-port", type=PORT, default=None, help="Serve health checks here.")
@_option("--metrics-port", type=PORT, default=None, help="Serve metrics for Prometheus here.")
@_option(
    "--http-allow-host",
    multiple=True,
    metavar="NAME",
    help="Serve metrics under this name in the Host header too; may be given more than once.",
)
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
    variable="DOCKET_FALLBACK_TASK",
    default=None,
    metavar="MODULE:FUNCTION",
    help="Runs tasks whose name no collection has.",
)
@logging_options
def worker(
    chosen: DocketOptions,
    logging_level: str,
    logging_format: str | None,
    tasks: tuple[str, ...],
    until_finished: bool,
    healthcheck_port: int | None,
    metrics_port: int | None,
    http_allow_host: tuple[str, ...],
    **options: Any,
) -> None:
    """Run tasks in this process until told to stop (TERM or INT).

    The first signal: claim no more, finish what runs. The second: cancel it and hand it back. The
    third: do not wait for a server that is away.
    """
    logs.configure(logging_level, logging_format)
    ports = (healthcheck_port, metrics_port)
    trust_working_directory(chosen.url, has_ports=ports != (None, None))
    is_seen: bool = options["enable_internal_instrumentation"]
    docket = made(chosen, enable_internal_instrumentation=is_seen)
    make = _maker(docket, tasks=tasks, **options)
    try:
        # Cancelled by the third signal. The running tasks were requeued: this is a clean stop.
        with (
            contextlib.suppress(asyncio.CancelledError),
            asyncio.Runner(loop_factory=new_event_loop) as runner,
        ):
            runner.run(run_program(docket, (), make, until_finished, *ports, http_allow_host))
    except DocketError as error:
        raise click.ClickException(on_lines(str(error))) from error


def _maker(
    docket: Docket,
    tasks: tuple[str, ...],
    fallback_task: str | None,
    dependencies: str | None,
    **settings: Any,
) -> Callable[[], Worker]:
    """Register the tasks, and return the function that makes the worker, tried once.

    Raises:
        click.UsageError: the value of an option is invalid, or does not load.
    """
    fallback, around = None, None
    if fallback_task is not None:
        fallback = load("--fallback-task", fallback_task, load_function)
    if dependencies is not None:
        around = load("--dependencies", dependencies, named_dependencies)
    for path in tasks:
        load("--tasks", path, docket.register_collection)
    if fallback is None and tasks and all(map(_is_empty, tasks)):
        logger.warning(
            "There is no task in %s: whatever is added is unknown to this worker",
            on_one_line(" and ".join(tasks)),
        )
    make = partial(Worker, docket, **settings, fallback_task=fallback, dependencies=around)
    try:
        make()
    except ValueError as error:
        raise click.UsageError(on_lines(str(error))) from error
    return make


def _is_empty(path: str) -> bool:
    found: object = load_attribute(path)
    return isinstance(found, Sized) and len(found) == 0
