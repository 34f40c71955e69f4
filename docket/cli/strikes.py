"""`docket strike`, `docket restore` and `docket strikes`."""

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial

import click

from docket.cli import strike_values
from docket.cli.options import Command, docket_options
from docket.cli.relative_time import absolute
from docket.cli.remarks import remark_options
from docket.cli.session import on_docket
from docket.cli.tables import Table, json_option, show, show_json
from docket.docket import Docket, StrikeRecord
from docket.options import DocketOptions
from docket.strike_rules import Operator

_ANY = "*"
_EVERYTHING = "(all tasks)"
_UNREADABLE = "(a pickle, which only workers read)"


@dataclass(frozen=True)
class Condition:
    """The condition of a strike; None means every function, or every call of it."""

    function: str | None
    parameter: str | None
    operator: Operator
    value: Hashable

    def __str__(self) -> str:
        shown = self.function or _EVERYTHING
        if self.parameter is None:
            return shown
        return f"{shown} {self.parameter} {self.operator.value} {self.value!r}"


def _arguments(command: Command) -> Command:
    operators = [operator.value for operator in Operator]
    for argument in (
        click.argument("value", required=False, default=None),
        click.argument("operator", default="==", type=click.Choice(operators)),
        click.argument("parameter", default=_ANY),
        click.argument("function", default=_ANY),
    ):
        command = argument(command)
    return docket_options(remark_options(command))


@click.command()
@_arguments
def strike(
    chosen: DocketOptions, reason: str | None, by: str | None, **arguments: str | None
) -> None:
    """Strike tasks: they are neither scheduled nor run until they are restored.

    FUNCTION is the name of a task and PARAMETER one of its parameters, * for all; VALUE is what its
    argument is compared with: text, unless its type stands before it, as in int:5, bool:true,
    uuid.UUID:TEXT, datetime.timedelta:SECONDS. Text that has a colon is written with another before
    it. For `between` it is a pair: int:1,int:5.
    """
    _issue("Striking", partial(Docket.strike, reason=reason, by=by), chosen, arguments)


@click.command()
@_arguments
def restore(
    chosen: DocketOptions, reason: str | None, by: str | None, **arguments: str | None
) -> None:
    """Take back a strike that was issued with the same arguments."""
    _issue("Restoring", partial(Docket.restore, reason=reason, by=by), chosen, arguments)


@click.command()
@docket_options
@json_option
def strikes(chosen: DocketOptions, as_json: bool) -> None:
    """List the strikes in effect, the last one issued last."""

    async def act(docket: Docket) -> None:
        found = await docket.strikes()
        if as_json:
            show_json([_as_json(each) for each in found])
        else:
            show(_table(docket.name, found))

    on_docket(chosen, act)


def _table(name: str, found: list[StrikeRecord]) -> Table:
    headings = ["Function", "Condition", "Since", "Reason", "By"]
    table = Table(
        [f"Strikes in Docket: {name}"],
        headings,
        names=frozenset({"Function", "By"}),
        expendable=("Since", "By", "Reason"),
    )
    for each in found:
        condition = "(every call)"
        if each.parameter is not None:
            value = repr(each.value) if each.is_readable else _UNREADABLE
            condition = f"{each.parameter} {each.operator.value} {value}"
        table.rows.append(
            [
                each.function or _EVERYTHING,
                condition,
                absolute(each.since),
                each.reason or "",
                each.by or "",
            ]
        )
    return table


def _as_json(each: StrikeRecord) -> dict[str, object]:
    has_value = each.parameter is not None and each.is_readable
    return {
        "function": each.function,
        "parameter": each.parameter,
        "operator": each.operator.value,
        "value": repr(each.value) if has_value else None,
        "is_readable": each.is_readable,
        "since": each.since.isoformat(),
        "reason": each.reason,
        "by": each.by,
    }


def _issue(
    verb: str,
    issue: Callable[..., Awaitable[None]],
    chosen: DocketOptions,
    arguments: dict[str, str | None],
) -> None:
    condition = _condition(**arguments)

    async def act(docket: Docket) -> None:
        click.echo(f"{verb} {condition}")
        try:
            await issue(
                docket, condition.function, condition.parameter, condition.operator, condition.value
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    on_docket(chosen, act)


def _condition(
    function: str | None, parameter: str | None, operator: str | None, value: str | None
) -> Condition:
    function = None if function == _ANY else function
    parameter = None if parameter == _ANY else parameter
    if not function and not parameter:
        raise click.BadParameter("Must provide either a function and/or a parameter")
    chosen = Operator(operator)
    try:
        compared = _value(chosen, value)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="VALUE") from error
    return Condition(function, parameter, chosen, compared)


def _value(operator: Operator, text: str | None) -> Hashable:
    if operator is Operator.BETWEEN:
        return strike_values.parse_pair(text or "")
    return None if text is None else strike_values.parse(text)
