"""`Shared`: a value made once in each worker, for all its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Hashable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    contextmanager,
)
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import uncalled_for

from docket.dependencies.base import TaskRun, reset
from docket.dependencies.plan import Plan, Step
from docket.dependencies.resolution import Resolution

R = TypeVar("R")


class SharedContext(uncalled_for.SharedContext):
    """The shared values of one worker: made when a task first asks for them, closed together.

    Owned by the worker and used on its loop. While it is the current one, a `Shared` that another
    library resolves by itself has the same value.
    """

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}
        self._keys: dict[Hashable, asyncio.Lock] = {}
        self._making = asyncio.Lock()
        self._opened = AsyncExitStack()
        self._current = ExitStack()

    async def __aenter__(self) -> Self:
        self._current.enter_context(self.current())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.close()
        finally:
            self._current.close()

    @contextmanager
    def current(self) -> Generator[None]:
        """Be the current one while the context lasts."""
        values, opened, making = self.resolved, self.stack, self.lock
        tokens = values.set(self._values), opened.set(self._opened), making.set(self._making)
        try:
            yield
        finally:
            for variable, token in zip((values, opened, making), tokens, strict=True):
                reset(variable, token)

    async def value(self, key: Hashable, plan: Plan, run: TaskRun) -> object:
        """Return the value of a key; made now, for `run`, if that is the first to ask.

        Other runs wait meanwhile. A failure affects that run alone: the next one tries again.
        """
        if key not in self._values:
            async with self._keys.setdefault(key, asyncio.Lock()):
                if key not in self._values:
                    await self._open(key, plan, run)
        return self._values[key]

    async def _open(self, key: Hashable, plan: Plan, run: TaskRun) -> None:
        self._opened.push_async_exit(await _SharedResolution(plan, self, key, run).open())

    async def make(self, key: Hashable, making: Callable[[], Awaitable[object]]) -> object:
        """Make the value of a key, unless another library does so at this moment."""
        async with self._making:
            if key not in self._values:
                self._values[key] = await making()
            return self._values[key]

    async def close(self) -> None:
        """Close all values, in reverse order. A value asked for afterwards is made again."""
        self._values.clear()
        self._keys.clear()
        # Closed in place, since it may be the current one.
        await self._opened.__aexit__(None, None, None)


class _SharedResolution(Resolution):
    """The resolution of a shared value, which outlives the run that asks for it."""

    __slots__ = ("_context", "_key")

    def __init__(self, plan: Plan, context: SharedContext, key: Hashable, run: TaskRun) -> None:
        super().__init__(plan, docket=run.docket, worker=run.worker, execution=run.execution)
        self._context = context
        self._key = key

    async def open(self) -> AsyncExitStack:
        """Resolve the value; return the stack that closes all that was entered for it."""
        opened = self._stack = AsyncExitStack()
        try:
            await self._resolve()
        except BaseException as error:
            await opened.__aexit__(type(error), error, error.__traceback__)
            raise
        finally:
            self._leave()
        return opened

    async def _open(self, step: Step) -> object:
        if step is not self._plan.steps[-1]:
            return await super()._open(step)
        return await self._context.make(self._key, partial(super()._open, step))

    def _enter(self) -> None:
        self._share()  # The call stays that of the run.

    def _fail(self, failures: dict[int, Exception]) -> None:
        causes = list({id(error): error for error in failures.values()}.values())
        if len(causes) == 1:
            raise causes[0]
        raise ExceptionGroup("What a shared value depends on failed", causes)


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
        ValueError: it needs a value of one run: an argument of the task, a `Retry`, ...

    A function that needs its own value, directly or indirectly, fails the task with `CycleError`.
    """
    return uncalled_for.Shared(factory)
