"""The care of what outlives a task: context managers entered and left in one asyncio task."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from contextvars import Context
from traceback import StackSummary

from docket.errors import DocketError
from docket.stacks import frames

logger = logging.getLogger("docket.worker")

#: Time for all that ends with a worker, in seconds; then what has not ended is cancelled. Less than
#: a service manager waits before it kills: containers have ten seconds.
TEARDOWN_SECONDS = 5.0
#: Time that each has to end once it was cancelled, and all of them together, in seconds.
CANCELLED_SECONDS, ALL_CANCELLED_SECONDS = 0.5, 1.5


class _Request:
    """An opening that a run waits for."""

    def __init__(self, name: str, opening: Callable[[], Awaitable[AsyncExitStack]]) -> None:
        self.name = name
        self.opening = opening
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Caretaker:
    """An asyncio task that enters context managers when asked, and leaves all in reverse order.

    One task and one context for all, as scopes of anyio and tokens of context variables need it.
    The task begins with the first opening and ends with `close`.

    Args:
        kind: what it cares for, for the log.
        context: returns the context of its task.
        on_broken: called when one of them has cancelled the task (a task group one of whose tasks
            failed, say): all of them are left at that moment.
    """

    def __init__(
        self, kind: str, context: Callable[[], Context], on_broken: Callable[[], object]
    ) -> None:
        self._kind = kind
        self._context = context
        self._on_broken = on_broken
        self._requests: deque[_Request] = deque()
        self._attention = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._opened: list[tuple[str, AsyncExitStack]] = []
        self._opening: _Request | None = None
        self._leaving: tuple[str, AsyncExitStack] | None = None
        self._end: BaseException | None = None
        self._is_closing = False
        self._was_cut_short = False

    async def open(self, name: str, opening: Callable[[], Awaitable[AsyncExitStack]]) -> None:
        """Enter something in the caretaker's task; what `opening` returns is left at the end.

        If the caller is cancelled, so is the opening.

        Raises:
            BaseException: that of the opening.
        """
        if self._task is not None and asyncio.current_task() is self._task:
            self._opened.append((name, await opening()))  # One needs another.
            return
        request = _Request(name, opening)
        self._requests.append(request)
        self._begin()
        try:
            await request.opened
        finally:
            if not request.opened.done() or request.opened.cancelled():
                self._withdraw(request)
            else:
                request.opened.exception()  # Retrieved, also by a run that was cancelled meanwhile.

    def keep(self, name: str, opened: AsyncExitStack) -> None:
        """Leave at the end what was entered elsewhere, by code that cannot wait."""
        self._opened.append((name, opened))
        self._begin()

    def _begin(self) -> None:
        if self._task is None:
            self._attention = asyncio.Event()
            self._is_closing = self._was_cut_short = False
            self._task = asyncio.get_running_loop().create_task(
                self._care(), name=f"docket {self._kind}", context=self._context()
            )
        self._attention.set()

    def _withdraw(self, request: _Request) -> None:
        if request in self._requests:
            self._requests.remove(request)
        elif request is self._opening and self._task is not None:
            self._task.cancel()

    async def close(self, error: BaseException | None = None) -> None:
        """Leave everything, in reverse order, in bounded time.

        What one of them raises is logged. What takes too long is logged with its stack and
        cancelled, and given up if it ignores that. If the caller is cancelled, the time is over.

        Args:
            error: the one to leave them with.
        """
        task = self._task
        if task is None:
            return
        self._end, self._is_closing = error, True
        self._attention.set()
        try:
            await asyncio.wait([task], timeout=TEARDOWN_SECONDS)
        finally:
            if not task.done():
                await self._cut_short(task)
            if self._task is task:
                self._task = None

    async def _cut_short(self, task: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + ALL_CANCELLED_SECONDS
        stuck: object = self
        while not task.done() and self._leaving is not stuck and loop.time() < until:
            stuck = self._leaving
            logger.warning(
                "%s does not end; it is cancelled. It is here, most recent call last:\n%s",
                self._described(),
                "".join(StackSummary.from_list(frames(task.get_coro())).format()).rstrip(),
            )
            self._was_cut_short = True
            task.cancel()
            ends = loop.time() + CANCELLED_SECONDS
            while not task.done() and self._leaving is stuck and loop.time() < ends:
                await asyncio.wait([task], timeout=CANCELLED_SECONDS / 20)
        if not task.done():
            logger.error("%s ignores its cancellation: it is given up", self._described())
            # By asyncio's documented way for its extenders: the end of the loop would wait for it.
            asyncio._unregister_task(task)  # noqa: SLF001

    def _described(self) -> str:
        return f"The end of {self._kind} {self._leaving[0]!r}" if self._leaving else self._kind

    # In the task --------------------------------------------------------------------------

    async def _care(self) -> None:
        try:
            while not self._is_closing:
                await self._attention.wait()
                self._attention.clear()
                while self._requests:
                    await self._serve(self._requests.popleft())
        except asyncio.CancelledError as error:
            self._end = error
            if not self._is_closing:
                logger.warning(
                    "The asyncio task that holds each %s was cancelled, by one of them or with the "
                    "whole loop: all of them end",
                    self._kind,
                )
                self._on_broken()
        await self._leave_all()
        self._task = None
        if self._requests:
            self._begin()

    async def _serve(self, request: _Request) -> None:
        self._opening = request
        try:
            opened = await request.opening()
        except GeneratorExit:
            raise  # As in _leave_all.
        except BaseException as error:
            if not request.opened.done():
                request.opened.set_exception(self._cause(request, error))
            elif _uncancelled():
                return  # Its run was cancelled.
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
        else:
            self._opened.append((request.name, opened))
            if not request.opened.done():
                request.opened.set_result(None)
            else:
                _uncancelled()  # Its run was cancelled, and it has ignored that.
        finally:
            self._opening = None

    def _cause(self, request: _Request, error: BaseException) -> BaseException:
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            return DocketError(
                f"{self._kind} {request.name!r} was not opened: all of them ended at that moment, "
                "see the log"
            )
        return error

    async def _leave_all(self) -> None:
        end = self._end
        while self._opened:
            self._leaving = _, opened = self._opened.pop()
            try:
                await opened.__aexit__(type(end) if end else None, end, end and end.__traceback__)
            except GeneratorExit:
                raise  # It was given up, and its loop has ended since.
            except BaseException as error:
                # User code, after the last task: it may raise anything, and ends nothing else.
                was_cancelled = self._was_cut_short and _uncancelled()
                if error is end or (was_cancelled and isinstance(error, asyncio.CancelledError)):
                    continue
                logger.error("%s failed", self._described(), exc_info=error)
                if isinstance(end, asyncio.CancelledError):
                    end = None  # This was the one that had cancelled the task.
        self._leaving, self._end = None, None


async def entered(context_manager: AbstractAsyncContextManager[object]) -> AsyncExitStack:
    """Enter a context manager; return what leaves it."""
    stack = AsyncExitStack()
    await stack.enter_async_context(context_manager)
    return stack


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _uncancelled() -> bool:
    """Take back a cancellation of the current task; False if there was none."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return False
    task.uncancel()
    return True
