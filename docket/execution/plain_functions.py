"""The tasks that are called in a thread: those that nothing shows to return an awaitable."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, get_origin

from docket.annotations import evaluated_return


def is_plain(function: Callable[..., Any]) -> bool:
    """Return whether a task is called in a thread, since its call may block.

    It is not if the call is known to return an awaitable: a coroutine function, a partial, callable
    object or decorator (`functools.wraps`) of one, or what is annotated to return one. Those are
    called on the event loop, since their first lines may use it (`asyncio.create_task`) or set
    context variables for what follows; they block no more than any coroutine does.
    """
    return not any(_returns_awaitable(called) for called in _layers(function))


def _layers(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield a callable and those that it stands for, outermost first."""
    called: Any = function
    while callable(called):
        yield called
        if isinstance(called, partial):
            called = called.func
        elif hasattr(called, "__wrapped__"):
            called = getattr(called, "__wrapped__")  # noqa: B009 - not known to the type
        elif inspect.isroutine(called) or inspect.isclass(called):
            return
        else:
            called = type(called).__call__


def _returns_awaitable(function: Callable[..., Any]) -> bool:
    if inspect.iscoroutinefunction(function):
        return True
    annotation = evaluated_return(function)
    annotation = get_origin(annotation) or annotation
    return inspect.isclass(annotation) and issubclass(annotation, Awaitable)
