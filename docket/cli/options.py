"""Options shared by several commands."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from docket.cli.durations import DURATION
from docket.options import DECIDED_BY_FACTORY, DocketOptions

Command = TypeVar("Command", bound=Callable[..., Any])


class Option(click.Option):
    """An option for which an empty string counts as not given, as in the environment."""

    def consume_value(
        self, ctx: click.Context, opts: Mapping[str, Any]
    ) -> tuple[Any, ParameterSource]:
        given = dict(opts)
        value = given.pop(self.name, None)
        if isinstance(value, list):  # of an option that may be given more than once
            value = [each for each in cast("list[object]", value) if each != ""]
        if value not in (None, "", []):
            given[self.name] = value
        return super().consume_value(ctx, given)


def option(
    *names: str, variable: str | Sequence[str] | None = None, **settings: Any
) -> Callable[[Command], Command]:
    """Return an option that shows its default and its environment variables in the help.

    Args:
        names: those of click.
        variable: the environment variable, or several of which the first that is not empty counts.
        settings: any others of click.
    """
    settings.setdefault("show_default", True)
    return click.option(*names, cls=Option, envvar=variable, show_envvar=True, **settings)


def docket_options(command: Command) -> Command:
    """Add the options of the docket; the command gets them as `chosen`, a DocketOptions."""
    return _docket_options(command)


def dockets_options(command: Command) -> Command:
    """Add the same, where `--docket` may be repeated; `chosen` is a tuple of DocketOptions."""
    return _docket_options(command, is_repeatable=True)


def docket_options_of_watch(command: Command) -> Command:
    """Add the same, some with short forms, and with pydocket's variable for the URL."""
    return _docket_options(command, "-d", "-u", variable=["DOCKET_REDIS_URL", "DOCKET_URL"])


def _docket_options(
    command: Command,
    *letters: str,
    variable: str | Sequence[str] = "DOCKET_URL",
    is_repeatable: bool = False,
) -> Command:
    name = option(
        "--docket",
        *letters[:1],
        "docket_name",
        variable="DOCKET_NAME",
        default=["docket"] if is_repeatable else "docket",
        multiple=is_repeatable,
        metavar="NAME",
        help="Name of the docket" + ("; may be given more than once." if is_repeatable else "."),
    )
    url = option(
        "--url",
        *letters[1:],
        variable=variable,
        default="redis://localhost:6379/0",
        metavar="URL",
        help="Where the docket lives.",
    )

    @wraps(command)
    def with_options(docket_name: str | tuple[str, ...], url: str, **values: Any) -> Any:
        settings = {each: values.pop(each) for each in (*DECIDED_BY_FACTORY, "factory")}
        if isinstance(docket_name, str):
            chosen = DocketOptions(name=docket_name, url=url, **settings)
        else:
            chosen = tuple(DocketOptions(name=n, url=url, **settings) for n in docket_name)
        return command(chosen=chosen, **values)

    for add in _SETTINGS:
        with_options = add(with_options)
    return name(url(cast("Command", with_options)))


_serializer = option(
    "--serializer",
    variable="DOCKET_SERIALIZER",
    type=click.Choice(["pickle", "msgpack"]),
    default=None,
    show_default="pickle",
    help="Serializer of the docket.",
)
_execution_ttl = option(
    "--execution-ttl",
    variable="DOCKET_EXECUTION_TTL",
    type=DURATION,
    default=None,
    show_default="15m",
    help="How long the record of an ended task is kept.",
)
_keep_failed = option(
    "--keep-failed",
    variable="DOCKET_KEEP_FAILED",
    type=DURATION,
    default=None,
    show_default="7d",
    help="How long failed tasks are kept, to be looked at and retried.",
)
_keep_failed_most = option(
    "--keep-failed-most",
    variable="DOCKET_KEEP_FAILED_MOST",
    type=click.IntRange(min=1),
    default=None,
    show_default="10000",
    help="The most failed tasks that are kept; the oldest give way.",
)
_heartbeat_interval = option(
    "--heartbeat-interval",
    variable="DOCKET_HEARTBEAT_INTERVAL",
    type=DURATION,
    default=None,
    show_default="2s",
    help="How often workers send a heartbeat.",
)
_missed_heartbeats = option(
    "--missed-heartbeats",
    variable="DOCKET_MISSED_HEARTBEATS",
    type=click.IntRange(min=1),
    default=None,
    show_default="5",
    help="After how many missed ones a worker counts as dead.",
)
_factory = option(
    "--docket-factory",
    "factory",
    variable="DOCKET_FACTORY",
    default=None,
    metavar="MODULE:CALLABLE",
    help="Makes the docket of whatever settings: called with name= and url=, it returns a Docket.",
)

#: The options of a docket beside its name and URL, from the last in the help to the first.
_SETTINGS = (
    *(_factory, _missed_heartbeats, _heartbeat_interval),
    *(_keep_failed_most, _keep_failed, _execution_ttl, _serializer),
)


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
