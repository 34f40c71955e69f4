"""Options shared by several commands."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def option(*names: str, variable: str, **settings: Any) -> Callable[[Command], Command]:
    """Return an option that shows its default and its environment variable in the help."""
    settings.setdefault("show_default", True)
    return click.option(*names, envvar=variable, show_envvar=True, **settings)


def docket_options(command: Command) -> Command:
    """Add `--docket` and `--url`, the docket of the command."""
    return _docket_options(command)


def docket_options_with_letters(command: Command) -> Command:
    """Add `--docket` and `--url`, with the short forms `-d` and `-u`."""
    return _docket_options(command, "-d", "-u")


def _docket_options(command: Command, *letters: str) -> Command:
    name = option(
        "--docket",
        *letters[:1],
        "docket_name",
        variable="DOCKET_NAME",
        default="docket",
        metavar="NAME",
        help="Name of the docket.",
    )
    url = option(
        "--url",
        *letters[1:],
        variable="DOCKET_URL",
        default="redis://localhost:6379/0",
        metavar="URL",
        help="Where the docket lives.",
    )
    return name(url(command))


def logging_options(command: Command) -> Command:
    """Add `--logging-level` and `--logging-format`, for the log on stdout."""
    level = option(
        "--logging-level",
        variable="DOCKET_LOGGING_LEVEL",
        type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False),
        default="INFO",
        help="Least level that is logged.",
    )
    line_format = option(
        "--logging-format",
        variable="DOCKET_LOGGING_FORMAT",
        type=click.Choice(["rich", "plain", "json"]),
        default=None,
        show_default="rich on a terminal, else plain",
        help="Shape of a log line.",
    )
    return level(line_format(command))


def tasks_option(command: Command) -> Command:
    """Add `--tasks`, collections of task functions."""
    tasks = option(
        "--tasks",
        variable="DOCKET_TASKS",
        multiple=True,
        default=["docket.tasks:standard_tasks"],
        metavar="MODULE:COLLECTION",
        help="Collection of task functions to register; may be given more than once.",
    )
    return tasks(command)
