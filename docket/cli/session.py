"""Sessions with the docket of a command, with one-line errors."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import click

from docket.cli.loading import load, trust_working_directory
from docket.docket import Docket
from docket.errors import DocketError
from docket.printable import on_lines

REFUSED = (
    "The memory:// URL scheme is not supported by the CLI. The memory backend does not persist "
    "across processes: its server ends with the program that started it. Please use a persistent "
    "backend like Redis or Valkey."
)


def on_docket(
    docket_name: str,
    url: str,
    act: Callable[[Docket], Awaitable[None]],
    tasks: Sequence[str] = (),
) -> None:
    """Open the docket, act on it, close it.

    Args:
        docket_name: the name of the docket.
        url: the URL of its server.
        act: the action of the command.
        tasks: collections to register first.

    Raises:
        click.BadParameter: the server is private to another program, or tasks do not load.
        click.UsageError: the name or the URL is invalid.
        click.ClickException: the server is away, or refuses.
    """
    if url.partition(":")[0].lower() == "memory":
        raise click.BadParameter(REFUSED, param_hint="--url")
    try:
        docket = Docket(docket_name, url)
    except ValueError as error:
        raise click.UsageError(on_lines(str(error))) from error
    if tasks:
        trust_working_directory()
    for path in tasks:
        load("--tasks", path, docket.register_collection)
    try:
        asyncio.run(_act(docket, act))
    except DocketError as error:
        raise click.ClickException(on_lines(str(error))) from error


async def _act(docket: Docket, act: Callable[[Docket], Awaitable[None]]) -> None:
    async with docket:
        await act(docket)
