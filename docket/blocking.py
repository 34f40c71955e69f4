"""A docket for code without an event loop: Flask, Django, scripts, plain threads.

Each call runs on a loop in another thread, and its caller waits for it: on the loop of a docket
that is open, or else on one of our own, which is started by the first call.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import CancelledError, Future
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from docket.errors import ConnectionClosed, DocketError, WrongEventLoop
from docket.loop_calls import running_loop

if TYPE_CHECKING:
    from docket.calls import TaskCall
    from docket.docket import Docket
    from docket.execution import (
        Disposition,
        Execution,
        ExecutionProgress,
        ExecutionState,
        TaskFunction,
    )

__all__ = ["SyncDocket", "SyncExecution"]

P = ParamSpec("P")
T = TypeVar("T")


class SyncExecution:
    """An execution, for code without an event loop.

    Attributes:
        execution: the execution itself, whose attributes may be read.
    """

    def __init__(self, docket: SyncDocket, execution: Execution) -> None:
        self._docket = docket
        self.execution = execution

    def __repr__(self) -> str:
        return f"<Sync {self.execution!r}>"

    @property
    def key(self) -> str:
        """Its key."""
        return self.execution.key

    @property
    def state(self) -> ExecutionState | None:
        """Its state when it was last read."""
        return self.execution.state

    @property
    def disposition(self) -> Disposition:
        """The outcome of the call that added it; see `Execution.disposition`."""
        return self.execution.disposition

    @property
    def attempt(self) -> int:
        """The number of its attempt, from 1, when it was last read."""
        return self.execution.attempt

    @property
    def error(self) -> str | None:
        """The text of its failure, if it had failed when it was last read."""
        return self.execution.error

    @property
    def progress(self) -> ExecutionProgress:
        """Its progress: `current`, `total` and `message` when it was last read."""
        return self.execution.progress

    def sync(self) -> None:
        """Read its record; see `Execution.sync`."""
        self._docket.wait_for(self.execution.sync)

    def get_result(
        self, *, timeout: timedelta | None = None, deadline: datetime | None = None
    ) -> Any:
        """Wait until it has ended, and return what the task returned; see `Execution.get_result`.

        Args:
            timeout: the longest time to wait; None waits for as long as it takes.
            deadline: the latest time to wait until; not together with `timeout`.
        """
        return self._docket.wait_for(
            lambda: self.execution.get_result(timeout=timeout, deadline=deadline)
        )


class SyncDocket:
    """The calls of a docket that wait in the calling thread. Any number of threads may share it.

    Example:
        orders = Docket(name="orders", url="redis://localhost:6379/0").sync()
        orders.add(send_invoice)("order-17")

    Unless the docket is open already, the first call opens it, on a loop in a thread of its own:
    after `close`, at the end of `with`, or at the end of the process it is closed. It does not
    survive a fork: make the first call afterwards.

    Args:
        docket: the docket.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        self._lock = threading.Lock()
        self._thread: _LoopThread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @overload
    def add(
        self,
        function: Callable[P, object],
        when: datetime | None = None,
        key: str | None = None,
    ) -> Callable[P, SyncExecution]: ...

    @overload
    def add(
        self, function: str, when: datetime | None = None, key: str | None = None
    ) -> Callable[..., SyncExecution]: ...

    def add(
        self, function: TaskFunction | str, when: datetime | None = None, key: str | None = None
    ) -> Callable[..., SyncExecution]:
        """Add a task; see `Docket.add`.

        Args:
            function: the task, or the name of a registered one.
            when: its due time; now by default.
            key: a name for it.
        """
        return self._scheduling(self._docket.add(function, when, key))

    @overload
    def replace(
        self, function: Callable[P, object], when: datetime | None, key: str
    ) -> Callable[P, SyncExecution]: ...

    @overload
    def replace(
        self, function: str, when: datetime | None, key: str
    ) -> Callable[..., SyncExecution]: ...

    def replace(
        self, function: TaskFunction | str, when: datetime | None, key: str
    ) -> Callable[..., SyncExecution]:
        """Replace what waits under a key; see `Docket.replace`.

        Args:
            function: the task, or the name of a registered one.
            when: its due time; None for now.
            key: the key.
        """
        return self._scheduling(self._docket.replace(function, when, key))

    @overload
    def call(
        self,
        function: Callable[P, object],
        when: datetime | None = None,
        key: str | None = None,
    ) -> Callable[P, TaskCall]: ...

    @overload
    def call(
        self, function: str, when: datetime | None = None, key: str | None = None
    ) -> Callable[..., TaskCall]: ...

    def call(
        self, function: TaskFunction | str, when: datetime | None = None, key: str | None = None
    ) -> Callable[..., TaskCall]:
        """Make a call of a task for `add_many`; nothing is scheduled yet. See `Docket.call`.

        Args:
            function: the task, or the name of a registered one.
            when: its due time; now by default.
            key: a name for it.
        """
        return self._docket.call(function, when, key)

    def add_many(
        self, calls: Iterable[TaskCall], *, chunk_size: int | None = 1000
    ) -> list[SyncExecution]:
        """Add many tasks in few round trips; see `Docket.add_many`.

        Args:
            calls: made by `call`.
            chunk_size: the number of calls to take and schedule at a time; None takes all.
        """
        executions = self.wait_for(lambda: self._docket.add_many(calls, chunk_size=chunk_size))
        return [SyncExecution(self, execution) for execution in executions]

    def cancel(self, key: str) -> None:
        """Cancel the execution of a key; see `Docket.cancel`."""
        self.wait_for(lambda: self._docket.cancel(key))

    def get_execution(self, key: str) -> SyncExecution | None:
        """Return the execution of a key as it is now, or None if there is no record of it."""
        found = self.wait_for(lambda: self._docket.get_execution(key))
        return None if found is None else SyncExecution(self, found)

    def close(self) -> None:
        """Close the docket, if a call here has opened it. Idempotent."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            # Registered by each opening: the interpreter would keep every docket that was closed.
            atexit.unregister(self.close)
            thread.stop(self._docket)

    def wait_for(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run a call on the docket's loop and wait for its end in this thread.

        Args:
            call: makes the awaitable, on that loop: `lambda: docket.snapshot()`.

        Raises:
            WrongEventLoop: this thread runs that loop, which would wait for itself.
            DocketError: it was opened before a fork, in the parent.
        """
        return _run_on(self._loop(), call)

    def _scheduling(
        self, schedule: Callable[..., Awaitable[Execution]]
    ) -> Callable[..., SyncExecution]:
        def call(*args: Any, **kwargs: Any) -> SyncExecution:
            return SyncExecution(self, self.wait_for(lambda: schedule(*args, **kwargs)))

        return call

    def _loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._thread is None and not self._docket.is_open:
                self._thread = _LoopThread(self._docket)
                # Before the threads of the interpreter's end.
                atexit.register(self.close)
            if self._thread is not None:
                return self._thread.loop
        return self._docket.connections.pipeline.owner.loop


class _LoopThread:
    """A loop in a thread of its own, in which a docket is open."""

    def __init__(self, docket: Docket) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"docket {docket.name}", daemon=True
        )
        self._thread.start()
        try:
            _run_on(self._loop, docket.__aenter__)
        except BaseException:
            self._end()
            raise

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop. Raises DocketError in a fork, where its thread does not exist."""
        if os.getpid() != self._pid:
            raise DocketError(
                "This docket was opened before a fork, and its thread stayed in the parent: make "
                "the first call after the fork, or close() before it"
            )
        return self._loop

    def stop(self, docket: Docket) -> None:
        """Close the docket, end the thread."""
        if os.getpid() == self._pid and self._thread.is_alive():
            _run_on(self._loop, lambda: docket.__aexit__(None, None, None))
            self._end()

    def _end(self) -> None:
        _run_on(self._loop, self._loop.shutdown_asyncgens)
        _run_on(self._loop, self._loop.shutdown_default_executor)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _run_on(loop: asyncio.AbstractEventLoop, call: Callable[[], Awaitable[T]]) -> T:
    if running_loop() is loop:
        raise WrongEventLoop(
            "A blocking call in the thread of the docket's own event loop would wait for itself: "
            "await the same call of the Docket"
        )
    result: Future[T] = Future()
    tasks: list[asyncio.Task[None]] = []

    async def run() -> None:
        try:
            result.set_result(await call())
        except asyncio.CancelledError:
            result.cancel()
            raise
        except BaseException as error:
            result.set_exception(error)

    # With the caller's context variables: spans are linked, and what tasks are given is found.
    context = contextvars.copy_context()
    try:
        loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(run())), context=context)
    except RuntimeError as error:
        raise ConnectionClosed("The event loop of the docket has ended") from error
    try:
        return result.result()
    except CancelledError as error:
        raise ConnectionClosed("The docket was closed during a call") from error
    except BaseException:
        # Ctrl-C in this thread: what nobody waits for any more does not go on.
        if not result.done():
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
        raise
