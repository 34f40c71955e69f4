"""`Depends`: any function as a dependency."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, TypeVar, cast, overload

from docket.dependencies.base import PlannedDependency

R = TypeVar("R")


class Functional(PlannedDependency):
    """A call of a function, each of whose dependencies is resolved first.

    Equal calls (the same function, the same bindings) are made once a run.
    """

    def __init__(self, function: Callable[..., Any], bindings: dict[str, object]) -> None:
        self.function = function
        self.bindings = bindings
        #: What to call: the function, or, if it is a bare generator, a context manager made of it.
        self.produce = _as_context_manager(function)
        #: Known beforehand, so that a run need not look at what came back.
        self.is_coroutine = inspect.iscoroutinefunction(function)

    def __repr__(self) -> str:
        return f"Depends({function_label(self.function)})"


class SharedFunctional(PlannedDependency):
    """A function that is called once a worker; made by `Shared`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.functional = Functional(function, {})

    def __repr__(self) -> str:
        return f"Shared({function_label(self.functional.function)})"


def _as_context_manager(function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return asynccontextmanager(function)
    if inspect.isgeneratorfunction(function):
        return contextmanager(function)
    return function


def function_label(function: Callable[..., Any]) -> str:
    """The name of a callable for messages: partials and callable objects have none of their own."""
    return getattr(function, "__name__", None) or repr(function)


@overload
def Depends(
    dependency: Callable[..., AbstractAsyncContextManager[R, bool | None]], **bindings: object
) -> R: ...
@overload
def Depends(
    dependency: Callable[..., AbstractContextManager[R, bool | None]], **bindings: object
) -> R: ...
@overload
def Depends(dependency: Callable[..., AsyncGenerator[R, None]], **bindings: object) -> R: ...
@overload
def Depends(dependency: Callable[..., Generator[R, None, None]], **bindings: object) -> R: ...
@overload
def Depends(dependency: Callable[..., Awaitable[R]], **bindings: object) -> R: ...
@overload
def Depends(dependency: Callable[..., R], **bindings: object) -> R: ...
def Depends(dependency: Callable[..., Any], **bindings: object) -> Any:  # noqa: N802 - public API
    """Give a parameter the value of a function of your own.

    The function may be synchronous or asynchronous, or return a context manager of either kind
    (which is entered before the task and left after it, in reverse order); a bare generator
    function counts as a context manager. Its own parameters may have dependencies too. It is called
    once a run, however many ask for it. Synchronous ones run on the event loop: no blocking I/O.

    What an `async def` returns is handed over as it is, even if it could be entered: who closes it
    is then the function's own affair.

    Args:
        dependency: the function to call.
        bindings: values, or other dependencies, for parameters of the function. They come before
            the defaults in its signature; calls with different bindings are different calls.

    Raises (when the task is registered):
        TypeError: the dependency is not callable, or has no parameter of a binding's name.
        CycleError: the function needs, over others, its own result.

    A failure fails the task: `Failed to resolve dependencies for parameter(s): a, b`.
    """
    return cast(Any, Functional(dependency, bindings))
