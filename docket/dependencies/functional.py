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
    """A call of a function whose own dependencies are resolved first.

    Equal calls (the same function and bindings) are made once in each run.
    """

    def __init__(self, function: Callable[..., Any], bindings: dict[str, object]) -> None:
        self.function = function
        self.bindings = bindings
        #: The callable to use: the function, or a context manager made of a bare generator.
        self.produce = _as_context_manager(function)
        #: Determined beforehand, so that a run need not inspect the returned value.
        self.is_coroutine = inspect.iscoroutinefunction(function)

    def __repr__(self) -> str:
        return f"Depends({function_label(self.function)})"


class SharedFunctional(PlannedDependency):
    """A function that is called once in each worker; made by `Shared`."""

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
    """Return the name of a callable for messages; partials and callable objects have none."""
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
    (entered before the task and exited after it, in reverse order); a bare generator function
    counts as a context manager. Its own parameters may have dependencies too. It is called once in
    each run, however many parameters ask for it. A synchronous function runs on the event loop and
    must not block.

    The result of an `async def` is passed on as it is, even if it is a context manager: closing it
    is then up to you.

    Args:
        dependency: the function to call.
        bindings: values, or other dependencies, for parameters of the function. They override the
            defaults in its signature; calls with different bindings are different calls.

    Raises (when the task is registered):
        TypeError: the dependency is not callable, or has no parameter of a binding's name.
        CycleError: the function needs its own result, directly or indirectly.

    A failure fails the task: `Failed to resolve dependencies for parameter(s): a, b`.
    """
    return cast(Any, Functional(dependency, bindings))
