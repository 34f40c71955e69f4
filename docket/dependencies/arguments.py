"""`TaskArgument` and `CallArgument`: what the task was called with, for its dependencies."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from docket.dependencies.base import PlannedDependency, TaskRun
from docket.dependencies.errors import MissingArgument

#: Stands for "no default": None is a value like any other.
MISSING: Any = object()


class Argument(PlannedDependency):
    """An argument of the task, by name, or by the name of the parameter it is given to."""

    #: What users write, for messages.
    written: ClassVar[str]

    def __init__(self, parameter: str | None, optional: bool, default: object) -> None:
        self.parameter = parameter
        #: What stands in for an argument that was not passed; MISSING makes that an error.
        self.default = default if default is not MISSING or not optional else None

    def __repr__(self) -> str:
        return f"{self.written}({self.parameter or ''})"


class PassedArgument(Argument):
    """Sees the caller's arguments and nothing else."""

    written = "TaskArgument"


class EffectiveArgument(Argument):
    """Sees the arguments that the task will really get."""

    written = "CallArgument"


class Lookup:
    """The reading of one argument, with its place in the signature found beforehand."""

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
        parameter: the name of the task's parameter; by default, the name of the parameter that
            this stands at.
        optional: give None when the caller did not pass it (its default in the task's signature is
            not looked at: see `CallArgument`); otherwise the task then fails.
    """
    return cast(Any, PassedArgument(parameter, optional, MISSING))


def CallArgument(  # noqa: N802 - public API
    parameter: str | None = None, optional: bool = False, *, default: object = MISSING
) -> Any:
    """Give a dependency the argument that the task itself gets.

    That is what the caller passed, else what the dependency at that parameter of the task resolves
    to, else the default in the task's signature.

    Args:
        parameter: the name of the task's parameter; by default, the name of the parameter that
            this stands at.
        optional: give None when there is none of the three; otherwise the task then fails.
        default: give this instead of None, and make it optional.

    Raises (when the task is registered):
        CycleError: the parameter's own dependency needs, over others, this value.
    """
    return cast(Any, EffectiveArgument(parameter, optional, default))
