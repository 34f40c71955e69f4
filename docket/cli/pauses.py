"""`docket pause`, `docket resume` and `docket pauses`."""

from datetime import datetime, timedelta

import click

from docket.cli.durations import DURATION
from docket.cli.instants import INSTANT
from docket.cli.options import Command, docket_options, option
from docket.cli.relative_time import absolute
from docket.cli.remarks import remark_options
from docket.cli.session import on_docket
from docket.cli.tables import Table, json_option, show, show_json
from docket.docket import Docket, Pause
from docket.options import DocketOptions
from docket_display.printable import on_one_line

_EVERYTHING = "(all tasks)"


def _function_option(command: Command) -> Command:
    function = option(
        "--function",
        metavar="NAME",
        default=None,
        show_default="the whole docket",
        help="Name of the task.",
    )
    return docket_options(function(command))


@click.command()
@_function_option
@option("--until", type=INSTANT, default=None, help="Its end, such as 2026-12-24T18:00Z.")
@option("--for", "length", type=DURATION, default=None, help="Its length, such as 30m.")
@remark_options
def pause(
    chosen: DocketOptions,
    function: str | None,
    until: datetime | None,
    length: timedelta | None,
    reason: str | None,
    by: str | None,
) -> None:
    """Let tasks wait: no worker claims them until they are resumed. What runs goes on."""
    if until is not None and length is not None:
        raise click.UsageError("Give either --until or --for")

    async def act(docket: Docket) -> None:
        try:
            before = await docket.pause(function, until=until or length, reason=reason, by=by)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        again = "" if before is None else f"; it was paused already, {_shown_since(before)}"
        click.echo(on_one_line(f"Paused {function or _EVERYTHING}{again}"))

    on_docket(chosen, act)


@click.command()
@_function_option
def resume(chosen: DocketOptions, function: str | None) -> None:
    """Let tasks that were paused run: those that were held up first, in their order.

    The pause of the whole docket and that of a task are two: each is ended by itself.
    """

    async def act(docket: Docket) -> None:
        was_paused = await docket.resume(function)
        said = "Resumed {}" if was_paused else "{} was not paused: there is nothing to resume"
        click.echo(on_one_line(said.format(function or _EVERYTHING)))

    on_docket(chosen, act)


@click.command()
@docket_options
@json_option
def pauses(chosen: DocketOptions, as_json: bool) -> None:
    """List the pauses in effect."""

    async def act(docket: Docket) -> None:
        found = await docket.pauses()
        if as_json:
            show_json([_as_json(each) for each in found])
        else:
            show(_table(docket.name, found))

    on_docket(chosen, act)


def _table(name: str, found: list[Pause]) -> Table:
    table = Table(
        [f"Pauses in Docket: {name}"],
        ["Function", "Since", "Until", "Reason", "By"],
        names=frozenset({"Function", "By"}),
        expendable=("Since", "By", "Reason"),
    )
    for each in found:
        until = "(it is resumed)" if each.until is None else absolute(each.until)
        table.rows.append(
            [
                each.function or _EVERYTHING,
                absolute(each.since),
                until,
                each.reason or "",
                each.by or "",
            ]
        )
    return table


def _as_json(each: Pause) -> dict[str, str | None]:
    return {
        "function": each.function,
        "since": each.since.isoformat(),
        "until": None if each.until is None else each.until.isoformat(),
        "reason": each.reason,
        "by": each.by,
    }


def _shown_since(before: Pause) -> str:
    author = f" by {before.by}" if before.by else ""
    reason = f": {before.reason}" if before.reason else ""
    return f"since {absolute(before.since)}{author}{reason}"
