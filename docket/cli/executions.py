"""`docket ls` and `docket show`: the executions on a docket, and all about one of them."""

from collections.abc import Iterator
from datetime import datetime

import click
import msgspec

from docket.cli.filters import filter_options
from docket.cli.options import docket_options, option
from docket.cli.relative_time import absolute, relative
from docket.cli.session import on_docket
from docket.cli.tables import Table, json_option, show, show_json, show_lines
from docket.clock import now
from docket.docket import Docket
from docket.listing import Attempt, ExecutionDetails, ExecutionSummary, Filter, ListedState, Page
from docket.log_text import RECORD, ends
from docket.options import DocketOptions
from docket_display.printable import in_view, on_lines

_MISSING = "There is no record of task {}: it never was, or has ended and is not kept any more"
_ENDED = {ListedState.FAILED, ListedState.CANCELLED, ListedState.COMPLETED}


@click.command("ls")
@docket_options
@filter_options
@option("--limit", type=click.IntRange(1, 1000), default=50, help="Most of a page.")
@option("--cursor", metavar="TEXT", help="Go on after the page that gave this cursor.")
@json_option
def list_executions(
    chosen: DocketOptions, wanted: Filter | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    """List executions: those that run, are ready, wait, are scheduled, failed, or have ended.

    Of those cancelled and completed the newest thousand are listed, for as long as their records
    are kept. Where few match, a page is shorter than asked for, and its cursor leads on.
    """

    async def act(docket: Docket) -> None:
        try:
            page = await docket.executions_matching(wanted or Filter(), limit, cursor)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--cursor") from error
        if as_json:
            show_json(msgspec.to_builtins(page))
        else:
            _show_page(docket.name, page)

    on_docket(chosen, act)


@click.command("show")
@docket_options
@json_option
@click.argument("key")
def show_execution(chosen: DocketOptions, as_json: bool, key: str) -> None:
    """Show all that is known of the task called KEY: its times, its attempts and their errors."""

    async def act(docket: Docket) -> None:
        details = await docket.describe(key)
        if details is None:
            raise click.ClickException(_MISSING.format(in_view(key)))
        if as_json:
            show_json(msgspec.to_builtins(details))
        else:
            show_lines(_lines(details))

    on_docket(chosen, act)


def _show_page(name: str, page: Page) -> None:
    moment = now()
    headings = ["State", "Key", "Call", "When", "Attempt", "Worker", "Error"]
    table = Table(
        [f"Executions on Docket: {name}"],
        headings,
        frozenset({"Attempt"}),
        names=frozenset({"Key", "Call", "Worker"}),
        expendable=("Attempt", "Worker", "Call", "When", "Error"),
    )
    for one in page.executions:
        error = one.error or ", ".join(f"waits for {scope}" for scope in one.waits_for)
        at = _when(one)
        table.rows.append(
            [
                one.state.value,
                one.key,
                one.call,
                "" if at is None else relative(at, moment),
                str(one.attempt),
                one.worker or "",
                error,
            ]
        )
    show(table)
    if page.cursor is not None:
        click.echo(f"There may be more: --cursor {page.cursor}")
    elif not page.executions:
        click.echo("Nothing matches.")


def _when(one: ExecutionSummary) -> datetime | None:
    """Return the time that matters: its end, its start, or the time at which it is due."""
    if one.state in _ENDED:
        return one.ended_at
    return one.started_at if one.state is ListedState.RUNNING else one.when


def _lines(details: ExecutionDetails) -> Iterator[str]:
    yield from _summary_lines(details.summary)
    for attempt in details.attempts:
        yield ""
        yield from _attempt_lines(attempt)
    if details.last_failure is not None:
        yield ""
        yield "An earlier execution of this key failed:"
        yield from (f"  {line}" for line in _summary_lines(details.last_failure))


def _summary_lines(one: ExecutionSummary) -> Iterator[str]:
    """Return what is known, a line each; what is not known is left out."""
    progress, before = one.progress, one.predecessor
    values = {
        "Key": one.key,
        "Call": one.call,
        "State": one.state.value,
        "Waits for": ", ".join(one.waits_for),
        "Due": _absolute(one.when),
        "Started": _absolute(one.started_at),
        "Ended": _absolute(one.ended_at),
        "Worker": one.worker,
        "Attempt": str(one.attempt),
        "Deaths": str(one.deaths) if one.deaths else None,
        "Progress": progress
        and f"{progress.current}/{progress.total} {progress.message or ''}".rstrip(),
        "Retry of": before
        and f"execution {before.generation}, {before.state} {_absolute(before.ended_at)}",
        "Trace": one.trace,
        "Error": one.error,
    }
    for name, value in values.items():
        if value:
            yield f"{name + ':':<10} {in_view(value)}"


def _attempt_lines(attempt: Attempt) -> Iterator[str]:
    began, ended = _absolute(attempt.started_at), _absolute(attempt.ended_at)
    where = f" on {in_view(attempt.worker)}" if attempt.worker else ""
    how = in_view(attempt.how)
    yield f"Attempt {attempt.number}: {how}{where}, {began or '?'} to {ended or '?'}"
    text = attempt.traceback or attempt.error
    if text:
        yield from (f"  {line}" for line in on_lines(ends(text, RECORD)).splitlines())


def _absolute(moment: datetime | None) -> str | None:
    return None if moment is None else absolute(moment)
