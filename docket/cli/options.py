"""Options shared by several commands."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def docket_options(command: Command) -> Command:
    """Add `--docket` and `--url`, the docket of the command."""
    return _docket_options(command)


def docket_options_with_letters(command: Command) -> Command:
    """Add `--docket` and `--url`, with the short forms `-d` and `-u`."""
    return _docket_options(command, "-d", "-u")


def _docket_options(command: Command, *letters: str) -> Command:
    name = click.option(
        "--docket",
        *letters[:1],
        "docket_name",
        envvar="DOCKET_NAME",
        default="docket",
        metavar="NAME",
        show_default=True,
        show_envvar=True,
        help="Name of the docket.",
    )
    url = click.option(
        "--url",
        *letters[1:],
        envvar="DOCKET_URL",
        default="redis://localhost:6379/0",
        metavar="URL",
        show_default=True,
        show_envvar=True,
        help="Where the docket lives.",
    )
    return name(url(command))


def logging_options(command: Command) -> Command:
    """Add `--logging-level` and `--logging-format`, for the log on stderr."""
    level = click.option(
        "--logging-level",
        envvar="DOCKET_LOGGING_LEVEL",
        type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False),
        default="INFO",
        show_default=True,
        show_envvar=True,
        help="Least level that is logged.",
    )
    shape = click.option(
        "--logging-format",
        envvar="DOCKET_LOGGING_FORMAT",
        type=click.Choice(["rich", "plain", "json"]),
        default=None,
        show_default="rich on a terminal, else plain",
        show_envvar=True,
        help="Shape of a log line.",
    )
    return level(shape(command))


def tasks_option(command: Command) -> Command:
    """Add `--tasks`, collections of task functions."""
    return click.option(
        "--tasks",
        envvar="DOCKET_TASKS",
        multiple=True,
        default=["docket.tasks:standard_tasks"],
        metavar="MODULE:COLLECTION",
        show_default=True,
        show_envvar=True,
        help="Collection of task functions to register; may be given more than once.",
    )(command)
