"""The options of a filter of executions."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, cast

import click

from docket.cli import durations
from docket.cli.instants import INSTANT
from docket.cli.options import Command, option
from docket.clock import now
from docket.listing import Filter, ListedState


class Moment(click.ParamType[datetime]):
    """The parameter type of a moment: a duration ago, or an instant with its time zone."""

    name = "moment"

    def convert(
        self,
        value: str | datetime,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            ago = durations.parse(value)
        except ValueError:
            return self._instant(value, param, ctx)
        return now() - min(ago, timedelta(days=36_500))

    def _instant(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            return INSTANT.convert(value, param, ctx)
        except click.BadParameter:
            self.fail(
                f"{value!r} is neither a duration such as 1h, nor an instant with its time zone, "
                "such as 2026-12-24T18:00Z",
                param,
                ctx,
            )


_MOMENT = Moment()


def filter_options(command: Command) -> Command:
    """Add the options of a filter; the command gets it as `wanted`, None if none was given."""

    @wraps(command)
    def with_filter(**values: Any) -> Any:
        given = {name: values.pop(name) for name in _OPTIONS}
        given = {name: value for name, value in given.items() if value not in (None, ())}
        try:
            wanted = Filter.of(given.pop("states", None), **given) if given else None
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        return command(wanted=wanted, **values)

    wrapped: Callable[..., Any] = with_filter
    for name, (flag, settings) in reversed(_OPTIONS.items()):
        wrapped = option(flag, name, **settings)(wrapped)
    return cast("Command", wrapped)


_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "states": (
        "--state",
        {
            "type": click.Choice([state.value for state in ListedState]),
            "multiple": True,
            "help": "Only those in this state; may be repeated.",
        },
    ),
    "function": ("--function", {"metavar": "NAME", "help": "Only those of this task."}),
    "key_prefix": ("--key-prefix", {"metavar": "TEXT", "help": "Only keys that begin so."}),
    "worker": ("--worker", {"metavar": "NAME", "help": "Only those that this worker runs or ran."}),
    "error": ("--error", {"metavar": "TEXT", "help": "Only errors of this type, or with this."}),
    "since": (
        "--since",
        {
            "type": _MOMENT,
            "metavar": "1h|INSTANT",
            "help": "Only those due, started or ended since then: a duration ago, or an instant.",
        },
    ),
    "until": (
        "--until",
        {"type": _MOMENT, "metavar": "1h|INSTANT", "help": "Only those before then."},
    ),
}
