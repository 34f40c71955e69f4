"""Sessions with the docket of a command, with one-line errors."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import click

from docket.cli import logs
from docket.cli.loading import load, trust_working_directory
from docket.docket import Docket
from docket.errors import DocketError, RefusedCall
from docket.loading import load_function
from docket.options import DocketOptions
from docket.serialization.serializers import WriteOnly
from docket_display.printable import on_lines

REFUSED = (
    "The memory:// URL scheme is not supported by the CLI. The memory backend does not persist "
    "across processes: its server ends with the program that started it. Please use a persistent "
    "backend like Redis or Valkey."
)


def on_docket(
    chosen: DocketOptions,
    act: Callable[[Docket], Awaitable[None]],
    tasks: Sequence[str] = (),
) -> None:
    """Open the docket, act on it, close it.

    Args:
        chosen: the docket of the command. Its serializer is made to decode nothing.
        act: the action of the command.
        tasks: collections to register first.

    Raises:
        click.BadParameter: the server is private to another program, or tasks do not load.
        click.UsageError: the name or the URL is invalid.
        click.ClickException: the server is away, or refuses.
    """
    logs.configure_warnings()
    if tasks or chosen.factory:
        trust_working_directory(chosen.url)
    docket = made_to_look(chosen)
    for path in tasks:
        load("--tasks", path, docket.register_collection)
    try:
        asyncio.run(_act(docket, act))
    except (DocketError, RefusedCall) as error:
        raise click.ClickException(on_lines(str(error))) from error


def made_to_look(chosen: DocketOptions) -> Docket:
    """Make the docket of a command that looks and acts, and decodes nothing.

    Raises:
        click.BadParameter: the server is private to another program.
        click.UsageError: as of `made`.
    """
    if chosen.url.partition(":")[0].lower() == "memory":
        raise click.BadParameter(REFUSED, param_hint="--url")
    docket = made(chosen)
    docket.serializer = WriteOnly(docket.serializer)
    return docket


def made(chosen: DocketOptions, **settings: Any) -> Docket:
    """Make the docket of a command; for the arguments see DocketOptions.

    Raises:
        click.UsageError: an option is invalid, or the factory does not make a docket.
    """
    if chosen.factory is not None:
        return load("--docket-factory", chosen.factory, lambda _: chosen.make(load_function))
    try:
        return chosen.make(load_function, **settings)
    except ValueError as error:
        raise click.UsageError(on_lines(str(error))) from error


async def _act(docket: Docket, act: Callable[[Docket], Awaitable[None]]) -> None:
    async with docket:
        await act(docket)
