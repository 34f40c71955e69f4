"""`docket strike` and `docket restore`."""

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

import click

from docket.cli import strike_values
from docket.cli.options import Command, docket_options
from docket.cli.session import on_docket
from docket.docket import Docket
from docket.options import DocketOptions
from docket.strike_rules import Operator

_ANY = "*"


@dataclass(frozen=True)
class Condition:
    """The condition of a strike; None means every function, or every call of it."""

    function: str | None
    parameter: str | None
    operator: Operator
    value: Hashable

    def __str__(self) -> str:
        shown = self.function or "(all tasks)"
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
    return docket_options(command)


@click.command()
@_arguments
def strike(chosen: DocketOptions, **arguments: str | None) -> None:
    """Strike tasks: they are neither scheduled nor run until they are restored.

    FUNCTION is the name of a task and PARAMETER one of its parameters, * for all; VALUE is what its
    argument is compared with: text, unless its type stands before it, as in int:5, bool:true,
    uuid.UUID:TEXT, datetime.timedelta:SECONDS. Text that has a colon is written with another before
    it. For `between` it is a pair: int:1,int:5.
    """
    _issue("Striking", Docket.strike, chosen, arguments)


@click.command()
@_arguments
def restore(chosen: DocketOptions, **arguments: str | None) -> None:
    """Take back a strike that was issued with the same arguments."""
    _issue("Restoring", Docket.restore, chosen, arguments)


def _issue(
    verb: str,
    issue: Callable[..., Awaitable[None]],
    chosen: DocketOptions,
    arguments: dict[str, str | None],
) -> None:
    condition = _condition(**arguments)

    async def act(docket: Docket) -> None:
        click.echo(f"{verb} {condition}")
        await issue(
            docket, condition.function, condition.parameter, condition.operator, condition.value
        )

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
