"""The command line of the benches."""

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine
from typing import Any

import click
from rich.console import Console

from stress.bench import drain, enqueue, floor, idle, kill, latency, memory, schedule
from stress.bench.report import Report
from stress.bench.server import server

Measured = Callable[..., Coroutine[Any, Any, Report]]


@click.group()
def bench() -> None:
    """Measure; every figure is the median of the rounds."""


def command(name: str, *options: Callable[..., Any], rounds: int = 5) -> Callable[..., Any]:
    """Make a command of a function that measures on a URL and returns its Report.

    Args:
        name: of the command.
        options: of this bench, beside those that all have.
        rounds: how often it measures unless told otherwise.
    """
    shared = (
        click.option("--url", help="A server that runs; by default the embedded one is started."),
        click.option("--rounds", default=rounds, show_default=True, type=click.IntRange(min=1)),
        click.option("--json", "as_json", is_flag=True, help="Print a record, not a table."),
    )

    def decorate(measured: Measured) -> click.Command:
        made: Any = functools.wraps(measured)(functools.partial(_run, measured))
        for option in reversed((*options, *shared)):
            made = option(made)
        return bench.command(name)(made)

    return decorate


def _run(measured: Measured, url: str | None, as_json: bool, **arguments: Any) -> None:
    with server(url) as there:
        report = asyncio.run(measured(there, **arguments))
    if as_json:
        click.echo(json.dumps(report.record(), indent=2))
    else:
        report.show(Console())


def count_option(default: int, what: str) -> Callable[..., Any]:
    return click.option(
        "--count", default=default, show_default=True, type=click.IntRange(min=1), help=what
    )


def seconds_option(default: float, what: str) -> Callable[..., Any]:
    positive = click.FloatRange(min=0, min_open=True)
    return click.option("--seconds", default=default, show_default=True, type=positive, help=what)


def processes_option(default: int) -> Callable[..., Any]:
    return click.option(
        "--processes",
        default=default,
        show_default=True,
        type=click.IntRange(min=1),
        help="Workers of the pool.",
    )


concurrency_option = click.option(
    "--concurrency",
    "concurrencies",
    multiple=True,
    default=(10, 100),
    show_default=True,
    type=click.IntRange(min=1),
    help="Of the worker; may be given more than once.",
)


@command("floor", count_option(20_000, "Tasks a round."), concurrency_option)
async def floor_command(url: str, **arguments: Any) -> Report:
    """The least a Python worker could do with the same state kept."""
    return await floor.run(url, **arguments)


@command("drain", count_option(20_000, "Tasks a round."), concurrency_option)
async def drain_command(url: str, **arguments: Any) -> Report:
    """How fast one worker process empties a backlog, beside the floor."""
    return await drain.run(url, **arguments)


@command("enqueue", count_option(1_000, "Adds at once."))
async def enqueue_command(url: str, **arguments: Any) -> Report:
    """What concurrent adds cost, beside adds that are awaited one by one."""
    return await enqueue.run(url, **arguments)


@command("latency", count_option(400, "Tasks a round."))
async def latency_command(url: str, **arguments: Any) -> Report:
    """From an add to the start in the idle worker of another process."""
    return await latency.run(url, **arguments)


@command("schedule", count_option(1_000, "Tasks a round."), seconds_option(5, "Span of due times."))
async def schedule_command(url: str, **arguments: Any) -> Report:
    """How late tasks start that are due at random instants."""
    return await schedule.run(url, **arguments)


@command("kill", count_option(400, "Tasks a round."), rounds=10)
async def kill_command(url: str, **arguments: Any) -> Report:
    """SIGKILL to one of two busy workers: when its tasks start again, when it is replaced."""
    return await kill.run(url, **arguments)


@command("idle", processes_option(2), seconds_option(10, "Length of a round."))
async def idle_command(url: str, **arguments: Any) -> Report:
    """What a pool with nothing to do costs."""
    return await idle.run(url, **arguments)


@command("memory", processes_option(8))
async def memory_command(url: str, **arguments: Any) -> Report:
    """What preloaded workers without tasks cost in memory."""
    return await memory.run(url, **arguments)
