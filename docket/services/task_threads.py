"""The threads in which runs are at work, and the end of a run, which they put off."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from docket.services.runs import Run, ThreadWork
from docket.supervision import run_here
from docket_display.printable import on_one_line

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("docket.worker")

#: Seconds after which a thread that outlives its run is named in the log; each further time comes
#: after twice as long. Less than the time from a drain's deadline to the kill.
PATIENCE_SECONDS = 2.0
#: Frames shown of its stack, the innermost.
FRAMES = 20


class TaskExecutor(ThreadPoolExecutor):
    """A default executor of an event loop that knows for which run each call is at work.

    `asyncio.to_thread` and `loop.run_in_executor(None, ...)` use it. The cancellation of their
    caller does not end a call that has begun.

    Args:
        earlier: the executor that makes the calls, if the loop had one before.
    """

    def __init__(self, earlier: ThreadPoolExecutor | None) -> None:
        super().__init__(thread_name_prefix="asyncio")
        self._earlier = earlier

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        run = run_here.get(None)
        submit = super().submit if self._earlier is None else self._earlier.submit
        if not isinstance(run, Run):
            return submit(fn, *args, **kwargs)
        work = NotedCall(fn)
        future: Future[T] = submit(work, *args, **kwargs)
        note(run, future, work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        if self._earlier is not None:
            self._earlier.shutdown(wait, cancel_futures=cancel_futures)


class NotedCall:
    """A function that notes the thread in which it is called.

    Attributes:
        thread_id: that of the thread while the call lasts.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.thread_id: int | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.thread_id = threading.get_ident()
        try:
            return self._function(*args, **kwargs)
        finally:
            self.thread_id = None


def note(run: Run, future: Future[Any], work: ThreadWork) -> None:
    """Count a call among those of a run until its future is done."""
    run.in_threads[future] = work
    future.add_done_callback(run.in_threads.pop)


def watch_default_executor(loop: asyncio.AbstractEventLoop, *, is_ours: bool) -> None:
    """Have the calls of tasks in the loop's default executor counted with their runs.

    An application's own loop keeps the executor that it has; one that does not show it (uvloop) is
    left alone, since replacing an executor could change its size.

    Args:
        loop: the loop.
        is_ours: whether the worker owns it.
    """
    earlier = getattr(loop, "_default_executor", None)
    if isinstance(earlier, TaskExecutor):
        return
    if is_ours or hasattr(loop, "_default_executor"):
        loop.set_default_executor(TaskExecutor(earlier))


async def outlast(run: Run, log_attributes: Mapping[str, object]) -> None:
    """Wait until no thread is at work for a run, whoever cancels that.

    Nothing can end a thread. Were the run recorded before, the task could be at work twice, and
    more threads at work than the worker has slots.

    Args:
        run: the run.
        log_attributes: those of the worker's records.
    """
    loop, patience = asyncio.get_running_loop(), PATIENCE_SECONDS
    while calls := list(run.in_threads):
        ended = asyncio.Event()
        for call in calls:
            call.add_done_callback(partial(_set_from_thread, loop, ended))
        try:
            async with asyncio.timeout(patience):
                await ended.wait()
        except TimeoutError:
            _name(run, log_attributes)
            patience *= 2
        except asyncio.CancelledError:
            continue  # It is cancelled already, or has failed.


def _set_from_thread(loop: asyncio.AbstractEventLoop, event: asyncio.Event, _: Future[Any]) -> None:
    try:
        loop.call_soon_threadsafe(event.set)
    except RuntimeError:
        return  # The loop is closed: nobody waits any more.


def _name(run: Run, log_attributes: Mapping[str, object]) -> None:
    frames = sys._current_frames()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    for work in list(run.in_threads.values()):
        frame = frames.get(work.thread_id or 0)
        stack = "" if frame is None else "".join(traceback.format_stack(frame, FRAMES))
        logger.warning(
            "Task %s has ended, but a thread of it goes on, which nothing can stop: its slot and "
            "its lease are kept until the thread ends. Thread %s, most recent call last:\n%s",
            on_one_line(run.claim.key.decode(errors="replace")),
            work.thread_id,
            stack,
            extra=dict(log_attributes),
        )
