"""Calls to an event loop from the threads beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

P = ParamSpec("P")
T = TypeVar("T")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that this thread runs, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def occurs(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for an event, so many seconds at most or without limit; return whether it occurred."""
    try:
        # Not wait_for: before Python 3.12 it swallows a cancellation that coincides with the event.
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def wait_on(loop: asyncio.AbstractEventLoop, call: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop, and wait for its end in this thread, which runs another or none.

    Raises:
        RuntimeError: the loop is closed; the coroutine was not begun.
    """
    try:
        future = asyncio.run_coroutine_threadsafe(call, loop)
    except RuntimeError:
        call.close()
        raise
    return future.result()


class Done(Coroutine[Any, Any, None]):
    """A coroutine that is done: awaiting it is fine, and so is leaving it."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()

    def send(self, value: Any, /) -> Any:
        raise StopIteration

    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any:
        raise (typ() if isinstance(typ, type) else typ)

    def close(self) -> None:
        """Close it, which there is nothing to do for."""


class OnLoop(Protocol):
    """An object whose methods run on one loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        ...


O_contra = TypeVar("O_contra", bound=OnLoop, contravariant=True)


class ReportingMethod(Protocol[P]):
    """A method that is awaited; in a thread without a loop the call itself waits for its end."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, None] | Done: ...


class reports(Generic[O_contra, P]):  # noqa: N801 - a decorator
    """Let an async method be called without await in a thread without a loop.

    On the class it stays the async function that it is, for who inspects or mocks the class.
    """

    def __init__(
        self, method: Callable[Concatenate[O_contra, P], Coroutine[Any, Any, None]]
    ) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: O_contra, owner: type) -> ReportingMethod[P]: ...

    def __get__(self, instance: O_contra | None, owner: type) -> Any:
        return self._method if instance is None else partial(self._call, instance)

    def _call(
        self, instance: O_contra, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, None] | Done:
        if running_loop() is not None:
            return self._method(instance, *args, **kwargs)
        loop = instance.loop  # First: of a docket that is closed there is none.
        wait_on(loop, self._method(instance, *args, **kwargs))
        return Done()
