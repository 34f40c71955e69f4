"""`Shared`: something that is made once a worker, for all the tasks it runs."""

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
    """What the tasks of one worker share: made when a task first asks for it, closed together.

    Owned by the worker, and used on its loop.
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
        """What is shared under a key; made now, for `run`, if it is the first that asks.

        Those who ask meanwhile wait. A failure is that run's alone: the next one tries again.
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
        """Close what was made, the last first. What is asked for afterwards is made anew."""
        stack, self._stack = self._stack, AsyncExitStack()
        self._values.clear()
        self._locks.clear()
        await stack.aclose()


class _SharedResolution(Resolution):
    """Resolves what one shared value needs, for longer than the run that asks for it."""

    __slots__ = ()

    async def open(self) -> tuple[object, AsyncExitStack]:
        """The value, and what closes it and all that was entered for it."""
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
    """Give a parameter a value of a function of your own that is called once a worker.

    For connection pools, clients, models: made when a task first asks for it, given to every task
    of the worker, closed (if it is a context manager) when the worker ends, in reverse order. The
    function may be of any kind that `Depends` takes, and have dependencies of its own, `Shared`
    ones too; what those enter lives as long.

    Args:
        factory: the function. The same function is the same value, wherever it is asked for.

    Raises (when the task is registered):
        CycleError: it needs, over others, its own value.
        ValueError: it needs what belongs to one run: an argument of the task, a `Retry`, ...
    """
    return cast(Any, SharedFunctional(factory))
