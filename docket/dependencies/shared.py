"""`Shared`: a value made once in each worker, for all its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Hashable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from docket.dependencies.base import TaskRun
from docket.dependencies.errors import UnresolvedDependencies
from docket.dependencies.functional import SharedFunctional
from docket.dependencies.plan import Plan
from docket.dependencies.resolution import Resolution

R = TypeVar("R")


class SharedContext:
    """The shared values of one worker: made when a task first asks for them, closed together.

    Owned by the worker and used on its loop.
    """

    def __init__(self) -> None:
        self._values: dict[Hashable, object] = {}
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def value(self, key: Hashable, plan: Plan, run: TaskRun) -> object:
        """Return the value of a key; made now, for `run`, if that is the first to ask.

        Other runs wait meanwhile. A failure affects that run alone: the next one tries again.
        """
        if key not in self._values:
            async with self._locks.setdefault(key, asyncio.Lock()):
                if key not in self._values:
                    self._values[key] = await self._open(plan, run)
        return self._values[key]

    async def _open(self, plan: Plan, run: TaskRun) -> object:
        value, opened = await _SharedResolution(
            plan, docket=run.docket, worker=run.worker, execution=run.execution
        ).open()
        self._stack.push_async_exit(opened)
        return value

    async def close(self) -> None:
        """Close all values, in reverse order. A value asked for afterwards is made again."""
        stack, self._stack = self._stack, AsyncExitStack()
        self._values.clear()
        self._locks.clear()
        await stack.aclose()


class _SharedResolution(Resolution):
    """The resolution of a shared value, which outlives the run that asks for it."""

    __slots__ = ()

    async def open(self) -> tuple[object, AsyncExitStack]:
        """Resolve the value; return it with the stack that closes all that was entered for it."""
        opened = self._stack = AsyncExitStack()
        try:
            await self._resolve()
        except BaseException as error:
            await opened.__aexit__(type(error), error, error.__traceback__)
            if isinstance(error, UnresolvedDependencies) and len(error.exceptions) == 1:
                raise error.exceptions[0] from None
            raise
        return self._values[-1], opened


@overload
def Shared(factory: Callable[..., AbstractAsyncContextManager[R, bool | None]]) -> R: ...
@overload
def Shared(factory: Callable[..., AbstractContextManager[R, bool | None]]) -> R: ...
@overload
def Shared(factory: Callable[..., AsyncGenerator[R, None]]) -> R: ...
@overload
def Shared(factory: Callable[..., Generator[R, None, None]]) -> R: ...
@overload
def Shared(factory: Callable[..., Awaitable[R]]) -> R: ...
@overload
def Shared(factory: Callable[..., R]) -> R: ...
def Shared(factory: Callable[..., Any]) -> Any:  # noqa: N802 - public API
    """Give a parameter the value of a function of your own that is called once in each worker.

    For connection pools, clients and models: made when a task first asks for it, given to every
    task of the worker, and closed (if it is a context manager) when the worker ends, in reverse
    order. The function may be of any kind that `Depends` takes, and may have dependencies, `Shared`
    ones too; those are kept open for as long.

    Args:
        factory: the function. The same function gives the same value, wherever it is asked for.

    Raises (when the task is registered):
        CycleError: it needs its own value, directly or indirectly.
        ValueError: it needs a value of one run: an argument of the task, a `Retry`, ...
    """
    return cast(Any, SharedFunctional(factory))
