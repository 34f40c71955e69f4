"""The calls of plain functions in threads of anyio's.

Only a worker that has such a task imports this module, since it costs 50 ms and 0.85 MB.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from docket.lifecycle import Requeued
from docket.services.runs import Run
from docket.services.task_threads import NotedCall, note, outlast


class FunctionThreads:
    """The threads of one worker. Made on its running loop.

    Args:
        slots: returns the worker's concurrency, which is the most threads at once.
        log_attributes: those of the worker's records.
    """

    def __init__(self, slots: Callable[[], int], log_attributes: Mapping[str, object]) -> None:
        self._slots = slots
        self._limiter = anyio.CapacityLimiter(slots())
        self._log_attributes = log_attributes

    async def call(
        self, run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> object:
        """Call a plain function in a thread, and await what it returns if that is awaitable.

        A cancellation is kept back until the thread has ended: the dependencies of the task are in
        use there, and the task is not over. The thread may ask for it, by
        `anyio.from_thread.check_cancelled`. A result is kept if only a drain cut the run: it need
        not be run again.
        """
        result: Future[Any] = Future()
        work = NotedCall(partial(function, *args, **kwargs))
        note(run, result, work)
        scope = anyio.CancelScope()
        # A task of its own: anyio leaves its thread alone when its caller is cancelled by asyncio.
        carrier = asyncio.create_task(self._carry(scope, result, work))
        cancelled_before = run.task.cancelling() if run.task is not None else 0
        try:
            await asyncio.wait([carrier])
        except asyncio.CancelledError:
            scope.cancel()
            await outlast(run, self._log_attributes)
            if not _is_worth_keeping(run, result):
                raise
            while run.task is not None and run.task.cancelling() > cancelled_before:
                run.task.uncancel()
        if not result.done():  # All asyncio tasks are cancelled, `carrier` first.
            await outlast(run, self._log_attributes)
            raise asyncio.CancelledError
        if result.cancelled():
            carrier.result()  # No thread could be started.
            raise asyncio.CancelledError
        returned = result.result()
        return await returned if inspect.isawaitable(returned) else returned

    async def _carry(self, scope: anyio.CancelScope, result: Future[Any], work: NotedCall) -> None:
        if self._limiter.total_tokens != self._slots():
            self._limiter.total_tokens = self._slots()
        try:
            with scope:
                await anyio.to_thread.run_sync(_fulfil, result, work, limiter=self._limiter)
        finally:
            result.cancel()  # It is not done if it never began.


def _fulfil(result: Future[Any] | None, work: NotedCall) -> None:
    """Call in a thread; any error becomes that of the future, since SystemExit ends a loop."""
    assert result is not None
    if result.set_running_or_notify_cancel():
        try:
            returned = work()
        except BaseException as error:
            result.set_exception(error)
            result = None  # The error holds this frame: no circle.
        else:
            result.set_result(returned)


def _is_worth_keeping(run: Run, result: Future[Any]) -> bool:
    if not isinstance(run.ending, Requeued) or result.cancelled() or result.exception():
        return False
    returned = result.result()
    if inspect.iscoroutine(returned):
        returned.close()
    return not inspect.isawaitable(returned)
