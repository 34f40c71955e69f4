"""`TaskArgument` and `CallArgument`: the arguments of the task, for its dependencies."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import uncalled_for

from docket.dependencies.base import TaskRun
from docket.injection import Argument

if TYPE_CHECKING:
    from docket.execution import Execution

#: Marks "no default": None is a value like any other.
MISSING: Any = inspect.Parameter.empty


class PassedArgument(Argument):
    """An argument as the caller passed it."""

    #: The name for messages: that of the function which makes it.
    public_name = "TaskArgument"

    async def __aenter__(self) -> Any:
        """Look it up in the current frame, for a resolution that is not ours."""
        frame, name = uncalled_for.current_frame(), self.parameter
        if name in frame.provided:
            return frame.provided[name]
        if self.optional:
            return None
        raise unnamed() if name is None or name in frame.resolving else KeyError(name)


def is_argument(dependency: object) -> bool:
    """Return whether `TaskArgument` or `CallArgument` made it."""
    return type(dependency) in {PassedArgument, Argument}


def unnamed() -> ValueError:
    """Make the error of a `TaskArgument()` that stands at a parameter of the task itself."""
    return ValueError("No parameter name specified")


class Lookup:
    """A reader of one argument, whose position in the signature was found beforehand.

    Args:
        name: its name.
        position: its position; None if it is passed by name only.
        default: the value if it was not passed; with MISSING that is an error.
        error: makes that error.
    """

    __slots__ = ("default", "error", "name", "position")

    def __init__(
        self,
        name: str,
        position: int | None,
        default: object = MISSING,
        error: Callable[[], Exception] = LookupError,
    ) -> None:
        self.name = name
        self.position = position
        self.default = default
        self.error = error

    def is_passed(self, execution: Execution) -> bool:
        """Return whether a call passes it."""
        if self.name in execution.kwargs:
            return True
        return self.position is not None and self.position < len(execution.args)

    def provide(self, run: TaskRun) -> object:
        """Return it; raise the error if it was not passed and has no default."""
        execution = run.execution
        if self.name in execution.kwargs:
            return execution.kwargs[self.name]
        if self.position is not None and self.position < len(execution.args):
            return execution.args[self.position]
        if self.default is MISSING:
            raise self.error()
        return self.default


def TaskArgument(parameter: str | None = None, optional: bool = False) -> Any:  # noqa: N802 - public API
    """Give a dependency an argument that the task was called with.

    Args:
        parameter: the name of the task's parameter; by default, the name of the dependency's own
            parameter.
        optional: give None when the caller did not pass it (the default in the task's signature is
            ignored: see `CallArgument`); otherwise the task fails, for a KeyError.
    """
    return cast(Any, PassedArgument(parameter, optional))


def CallArgument(  # noqa: N802 - public API
    parameter: str | None = None, optional: bool = False, *, default: object = MISSING
) -> Any:
    """Give a dependency the argument that the task itself receives.

    That is the argument of the caller, else the value of the dependency at that parameter of the
    task, else the default in the task's signature. A circle of such references fails the task with
    `CycleError`.

    Args:
        parameter: the name of the task's parameter; by default, the name of the dependency's own
            parameter.
        optional: give None when there is none of the three; otherwise the task fails, for a
            LookupError.
        default: give this when there is none of the three; not together with `optional`.

    Raises:
        TypeError: `optional` and `default` are both given.
    """
    return cast(Any, Argument(parameter, optional, default))
