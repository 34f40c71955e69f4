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
from contextvars import ContextVar, copy_context
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import uncalled_for

from docket.dependencies.base import TaskRun, current_execution, reset
from docket.dependencies.caretaker import Caretaker
from docket.dependencies.plan import Plan, Step
from docket.dependencies.resolution import Resolution
from docket.injection import current_frame_variable

R = TypeVar("R")


class SharedContext(uncalled_for.SharedContext):
    """The shared values of one worker: made when a task first asks for them, closed together.

    All are entered and left in one asyncio task, in one context. Owned by the worker and used on
    its loop. While it is the current one, a `Shared` that another
    library resolves by itself has the same value.
    """

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}
        self._keys: dict[Hashable, asyncio.Lock] = {}
        self._making = asyncio.Lock()
        self._context = copy_context()
        self._caretaker = Caretaker("shared value", lambda: self._context, self._forget)
        self._opened = _StackOfOthers(self._caretaker)
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
        # That of the worker, so that a value does not keep what belongs to the first run that asks.
        self._context = copy_context()
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
                    resolution = _SharedResolution(plan, self, key, run)
                    await self._caretaker.open(next(iter(plan.around)), resolution.open)
        return self._values[key]

    async def make(self, key: Hashable, making: Callable[[], Awaitable[object]]) -> object:
        """Make the value of a key, unless another library does so at this moment."""
        async with self._making:
            if key not in self._values:
                self._values[key] = await making()
            return self._values[key]

    async def close(self) -> None:
        """Close all values, in reverse order and in bounded time; what fails is logged.

        A value asked for afterwards is made again.
        """
        self._forget()
        await self._caretaker.close()

    def _forget(self) -> None:
        self._values.clear()
        self._keys.clear()


class _StackOfOthers(AsyncExitStack):
    """The stack of values that another library resolves by itself: the caretaker enters them."""

    def __init__(self, caretaker: Caretaker) -> None:
        super().__init__()
        self._caretaker = caretaker

    async def enter_async_context(self, cm: AbstractAsyncContextManager[R, bool | None]) -> R:
        entered: list[R] = []

        async def opening() -> AsyncExitStack:
            stack = AsyncExitStack()
            entered.append(await stack.enter_async_context(cm))
            return stack

        await self._caretaker.open(_name_of(cm), opening)
        return entered[0]

    def enter_context(self, cm: AbstractContextManager[R, bool | None]) -> R:
        stack = AsyncExitStack()
        value = stack.enter_context(cm)
        self._caretaker.keep(_name_of(cm), stack)
        return value


def _name_of(context_manager: object) -> str:
    return getattr(context_manager, "func", type(context_manager)).__qualname__


#: What a value that is being made may ask for of the run that asks first.
_OF_RUN: tuple[ContextVar[Any], ...] = (current_execution, current_frame_variable)


class _SharedResolution(Resolution):
    """The resolution of a shared value, which outlives the run that asks for it."""

    __slots__ = ("_context", "_key", "_of_run")

    def __init__(self, plan: Plan, context: SharedContext, key: Hashable, run: TaskRun) -> None:
        super().__init__(plan, docket=run.docket, worker=run.worker, execution=run.execution)
        self._context = context
        self._key = key
        self._of_run = [(each, each.get(None)) for each in _OF_RUN]

    async def open(self) -> AsyncExitStack:
        """Resolve the value; return the stack that closes all that was entered for it."""
        opened = self._stack = AsyncExitStack()
        for variable, value in self._of_run:
            if value is not None:
                self._set(variable, value)
        try:
            # Other shared values first: everything is left in the reverse of the order of entering.
            for index, step in enumerate(self._plan.steps):
                if step.shared is not None:
                    await self._settle(index, step)
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
    order. All are entered and left in one asyncio task and context. A failure to close is logged;
    what takes longer than five seconds is logged with its stack, cancelled, and given up if it
    ignores that.

    The function may be of any kind that `Depends` takes, and may have dependencies, `Shared` ones
    too; those are kept open for as long.

    Args:
        factory: the function. The same function gives the same value, wherever it is asked for.

    Raises (when the task is registered):
        ValueError: it needs a value of one run: an argument of the task, a `Retry`, ...

    A function that needs its own value, directly or indirectly, fails the task with `CycleError`.
    """
    return uncalled_for.Shared(factory)
