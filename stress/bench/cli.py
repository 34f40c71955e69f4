"""The command line of the benches."""

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine
from typing import Any

import click
from rich.console import Console

from stress.bench import floor
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
