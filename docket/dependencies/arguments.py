"""`TaskArgument` and `CallArgument`: the arguments of the task, for its dependencies."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from docket.dependencies.base import PlannedDependency, TaskRun
from docket.dependencies.errors import MissingArgument

#: Marks "no default": None is a value like any other.
MISSING: Any = object()


class Argument(PlannedDependency):
    """An argument of the task, by its name or by that of the dependency's own parameter."""

    #: The public name, for messages.
    public_name: ClassVar[str]

    def __init__(self, parameter: str | None, optional: bool, default: object) -> None:
        self.parameter = parameter
        #: The value for an argument that was not passed; with MISSING that is an error.
        self.default = default if default is not MISSING or not optional else None

    def __repr__(self) -> str:
        return f"{self.public_name}({self.parameter or ''})"


class PassedArgument(Argument):
    """An argument as the caller passed it."""

    public_name = "TaskArgument"


class EffectiveArgument(Argument):
    """An argument as the task receives it."""

    public_name = "CallArgument"


class Lookup:
    """A reader of one argument, whose position in the signature was found beforehand."""

    __slots__ = ("default", "name", "position")

    def __init__(self, name: str, position: int | None, default: object) -> None:
        self.name = name
        self.position = position
        self.default = default

    def provide(self, run: TaskRun) -> object:
        execution = run.execution
        if self.name in execution.kwargs:
            return execution.kwargs[self.name]
        if self.position is not None and self.position < len(execution.args):
            return execution.args[self.position]
        if self.default is MISSING:
            raise MissingArgument(
                f"task {execution.function_name!r} was called without the argument {self.name!r}, "
                "which a dependency of it needs: pass it, or make the dependency optional"
            )
        return self.default


def TaskArgument(parameter: str | None = None, optional: bool = False) -> Any:  # noqa: N802 - public API
    """Give a dependency an argument that the task was called with.

    Args:
        parameter: the name of the task's parameter; by default, the name of the dependency's own
            parameter.
        optional: give None when the caller did not pass it (the default in the task's signature is
            ignored: see `CallArgument`); otherwise the task fails.
    """
    return cast(Any, PassedArgument(parameter, optional, MISSING))


def CallArgument(  # noqa: N802 - public API
    parameter: str | None = None, optional: bool = False, *, default: object = MISSING
) -> Any:
    """Give a dependency the argument that the task itself receives.

    That is the argument of the caller, else the value of the dependency at that parameter of the
    task, else the default in the task's signature.

    Args:
        parameter: the name of the task's parameter; by default, the name of the dependency's own
            parameter.
        optional: give None when there is none of the three; otherwise the task fails.
        default: give this instead of None; implies `optional`.

    Raises (when the task is registered):
        CycleError: the dependency at that parameter needs this value, directly or indirectly.
    """
    return cast(Any, EffectiveArgument(parameter, optional, default))
