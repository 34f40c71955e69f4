"""`docket retry`, `docket run` and `docket cancel`: for keys, or for all that a filter means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import click
import msgspec
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from docket.cli.filters import filter_options
from docket.cli.options import Command, docket_options
from docket.cli.session import on_docket
from docket.cli.tables import is_terminal, json_option, show_json
from docket.docket import Docket
from docket.errors import NoSuchExecution, WrongState
from docket.listing import APPLIES_TO, LEFT_ALONE, Act, BulkResult, Filter
from docket.listing.pages import MOST_LISTED
from docket.options import DocketOptions
from docket_display.printable import in_view, on_lines


@dataclass(frozen=True)
class Verb:
    """An act in words, and the calls that do it to one and to many."""

    act: Act
    imperative: str
    past: str
    one: Callable[[Docket, str], Awaitable[object]]
    many: Callable[..., Awaitable[BulkResult]]


async def _cancel(docket: Docket, key: str) -> None:
    details = await docket.describe(key)
    if details is None:
        raise NoSuchExecution(f"There is no record of task {key!r}")
    if details.summary.state not in APPLIES_TO[Act.CANCEL]:
        raise WrongState(f"Task {key!r} has ended already: {details.summary.state.value}")
    await docket.cancel(key)


def _arguments(command: Command) -> Command:
    for argument in (
        click.argument("keys", metavar="[KEY]...", nargs=-1),
        json_option,
        click.option("--yes", is_flag=True, help="Do not ask before acting on more than one."),
    ):
        command = argument(command)
    return docket_options(filter_options(command))


def _command(name: str, verb: Verb, does: str) -> click.Command:
    """Make the command that does a verb to keys, or to all that a filter means."""
    text = f"{does}\n\nName their KEYs, or say by options which are meant."
    return click.command(name, help=text)(_arguments(partial(_act, verb)))


def _act(
    verb: Verb,
    chosen: DocketOptions,
    wanted: Filter | None,
    keys: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    if not keys and wanted is None:
        raise click.UsageError("Name tasks: by their keys, or by options such as --state")
    if keys and wanted is not None:
        raise click.UsageError("Name tasks by their keys, or by options such as --state: not both")
    failures: list[str] = []
    results: list[BulkResult] = []

    async def act(docket: Docket) -> None:
        if wanted is None:
            results.append(await _act_on_keys(verb, docket, keys, yes, failures))
        else:
            results.append(await _act_on_all(verb, docket, wanted, yes))

    try:
        on_docket(chosen, act)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        show_json(msgspec.to_builtins(results[0]))
    else:
        _say(verb, results[0])
    if failures:
        raise click.ClickException("\n".join(failures))


async def _act_on_keys(
    verb: Verb, docket: Docket, keys: tuple[str, ...], yes: bool, failures: list[str]
) -> BulkResult:
    if len(keys) > 1 and not yes:
        click.confirm(f"{verb.imperative} {len(keys)} tasks?", abort=True, err=True)
    for key in keys:
        try:
            await verb.one(docket, key)
        except (NoSuchExecution, WrongState) as error:
            failures.append(on_lines(str(error)))
    return BulkResult(len(keys), len(keys) - len(failures))


async def _act_on_all(verb: Verb, docket: Docket, wanted: Filter, yes: bool) -> BulkResult:
    wanted = verb.act.applied_to(wanted)
    if not yes:
        page = await docket.executions_matching(wanted, MOST_LISTED, None)
        number = len(page.executions)
        if number > 1 or page.cursor is not None:
            least = f"{number} or more" if page.cursor is not None else str(number)
            click.confirm(f"{verb.imperative} {least} tasks?", abort=True, err=True)
    if not is_terminal():
        return await verb.many(docket, wanted)
    columns = SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb.imperative, total=None)

        def tell(so_far: BulkResult) -> None:
            bar.update(task, completed=so_far.done, total=so_far.matched, refresh=True)

        return await verb.many(docket, wanted, progress=tell)


def _say(verb: Verb, result: BulkResult) -> None:
    click.echo(f"{verb.past} {result.done} of {result.matched}")
    for reason, number in sorted(result.skipped.items()):
        click.echo(f"  {number} left alone: they {LEFT_ALONE.get(reason, in_view(reason))}")


retry = _command(
    "retry",
    Verb(Act.RETRY, "Retry", "Retried", Docket.retry, Docket.retry_matching),
    "Run tasks again that failed or were cancelled, with their stored arguments.",
)
run = _command(
    "run",
    Verb(Act.RUN_NOW, "Run", "Let run", Docket.run_now, Docket.run_matching_now),
    "Let scheduled tasks run now, instead of at their time.",
)
cancel = _command(
    "cancel",
    Verb(Act.CANCEL, "Cancel", "Cancelled", _cancel, Docket.cancel_matching),
    "Cancel tasks that wait or run.",
)
