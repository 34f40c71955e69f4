"""`Depends`: any function as a dependency."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Hashable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, TypeAlias, TypeVar, cast, overload

import uncalled_for

from docket.dependencies.base import AnyDependency, is_dependency
from docket.injection import Functional, is_functional, is_shared

R = TypeVar("R")

#: The functions that `Depends` takes.
DependencyFunction: TypeAlias = uncalled_for.DependencyFactory[R]


class ValueFactory:
    """A function that a plan calls to produce a value.

    Attributes:
        produce: the callable: the function, or a context manager made of a bare generator.
        is_coroutine: determined beforehand, so that a run need not inspect the returned value.
        key: the key that its value has for dependencies which resolve others by themselves; None
            without one.
    """

    __slots__ = ("is_coroutine", "key", "produce")

    def __init__(self, function: Callable[..., Any], key: Hashable | None) -> None:
        self.produce = _as_context_manager(function)
        self.is_coroutine = inspect.iscoroutinefunction(function)
        self.key = key


def _as_context_manager(function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return asynccontextmanager(function)
    if inspect.isgeneratorfunction(function):
        return contextmanager(function)
    return function


def function_label(function: Callable[..., Any]) -> str:
    """Return the name of a callable for messages; partials and callable objects have none."""
    return getattr(function, "__name__", None) or repr(function)


def label(dependency: AnyDependency) -> str:
    """Return a dependency as it is written, for messages."""
    if is_functional(dependency) or is_shared(dependency):
        kind = type(dependency).__name__.lstrip("_")
        return f"{kind}({function_label(cast(Functional, dependency).factory)})"
    name = getattr(type(dependency), "public_name", type(dependency).__name__)
    return str(name).lstrip("_")


def bound_dependencies(dependency: Functional) -> dict[str, AnyDependency]:
    """Return those of its bindings that are dependencies."""
    return {name: value for name, value in dependency.bindings.items() if is_dependency(value)}


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
    (entered before the task and exited after it, in reverse order); in a worker, a bare generator
    function counts as a context manager. Its own parameters may have dependencies too. It is called
    once in each run, however many parameters ask for it. A synchronous function runs on the event
    loop and must not block.

    The result of an `async def` is passed on as it is, even if it is a context manager: closing it
    is then up to you.

    Args:
        dependency: the function to call.
        bindings: values, or other dependencies, for parameters of the function. They override the
            defaults in its signature; calls with different bindings are different calls.

    Raises (when the task is registered):
        TypeError: the dependency is not callable, or has no parameter of a binding's name.

    A function that needs its own result, directly or indirectly, fails the task with `CycleError`.
    Any other failure fails it with an ExceptionGroup:
    `Failed to resolve dependencies for parameter(s): a, b`.
    """
    return cast(Any, Functional(dependency, **bindings))
