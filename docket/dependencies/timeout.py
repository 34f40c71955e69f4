"""`Timeout`: tasks that run too long are cancelled and fail with TimeoutError."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from docket.clock import LONGEST, duration
from docket.dependencies.base import ProvidedDependency, Runtime, TaskRun
from docket.loop_calls import running_loop, wait_on

if TYPE_CHECKING:
    from docket.execution import Execution


_EXPIRED = "Docket task"


class Timeout(Runtime["Timeout"], ProvidedDependency["Timeout"]):
    """Limit the time that the task's own code may run (its dependencies are not counted).

    The task is cancelled at its current await and fails with `TimeoutError`, which its `Retry`
    handles like any other failure; also if it catches that and returns. What it raises instead
    stays. A cancellation from elsewhere remains a cancellation. A thread cannot be stopped: a task
    at work in one fails once the thread has ended.

    Args:
        base: the time limit, from the start of the task.

    Raises:
        ValueError: the time is not positive.
    """

    def __init__(self, base: timedelta) -> None:
        base = duration("base", base)
        if base <= timedelta(0):
            raise ValueError(f"the timeout of a task must be positive, got {base!r}")
        self.base = base
        self._timer: asyncio.Timeout | None = None
        self._loop: asyncio.AbstractEventLoop

    def provide(self, run: TaskRun) -> Self:
        return self.copy()

    async def run(
        self,
        execution: Execution,
        function: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        # asyncio's own: only it can tell its cancellation from another one at the same moment.
        self._loop = asyncio.get_running_loop()
        self._timer = timer = asyncio.timeout(_seconds(self.base))
        cause: BaseException | None = None
        try:
            async with timer:
                result = await function(*args, **kwargs)
            if not timer.expired():
                return result
        except TimeoutError as error:
            if not timer.expired():
                raise
            cause = error.__cause__ or error
        raise TimeoutError(
            f"{_EXPIRED} {execution.key} exceeded timeout of {self.base.total_seconds()}s"
        ) from cause

    def start(self) -> None:
        """Restart the time limit from now.

        Raises:
            RuntimeError: the time is over already, or no task runs under it.
        """
        self._on_loop(lambda: self._move_to(self._loop.time() + _seconds(self.base)))

    def extend(self, by: timedelta | None = None) -> None:
        """Give the task more time.

        Args:
            by: the extra time; by default the base again.

        Raises:
            RuntimeError: the time is over already, or no task runs under it.
        """
        more = self.base if by is None else duration("by", by)
        self._on_loop(lambda: self._move_to(self._deadline() + _seconds(more)))

    def expired(self) -> bool:
        """Return whether the time is over."""
        return self.remaining() <= timedelta(0)

    def remaining(self) -> timedelta:
        """Return the time left; never negative."""
        seconds = self._deadline() - self._loop.time()
        return timedelta(seconds=min(max(seconds, 0.0), _seconds(LONGEST)))

    def _running(self) -> asyncio.Timeout:
        if self._timer is None:
            raise RuntimeError(
                "this timeout has not been started: use the one that the task gets as its argument"
            )
        return self._timer

    def _deadline(self) -> float:
        when = self._running().when()
        return self._loop.time() if when is None else when

    def _move_to(self, deadline: float) -> None:
        timer = self._running()
        if timer.expired():
            raise RuntimeError("the time of this task is over and it is being cancelled already")
        timer.reschedule(deadline)

    def _on_loop(self, move: Callable[[], None]) -> None:
        self._running()
        if running_loop() is self._loop:
            move()
        else:  # A thread of the task.
            wait_on(self._loop, _called(move))


def is_expiry(error: BaseException) -> bool:
    """Return whether an error is that of a task whose time was over."""
    return type(error) is TimeoutError and str(error).startswith(_EXPIRED)


async def _called(move: Callable[[], None]) -> None:
    move()


def _seconds(length: timedelta) -> float:
    return min(length, LONGEST).total_seconds()
