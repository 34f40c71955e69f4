"""`Timeout`: a task that runs too long is cancelled and fails with TimeoutError."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import TracebackType

from docket.dependencies.base import ScopedRuntime, TaskRun


class Timeout(ScopedRuntime["Timeout"]):
    """Limit how long the task's own code may run (its dependencies are not counted).

    The task is cancelled where it waits and fails with `TimeoutError`, which its `Retry` sees like
    any other failure. A cancellation that came from elsewhere stays a cancellation.

    Args:
        base: the time the task has, from its start.

    Raises:
        ValueError: the time is not positive.
    """

    def __init__(self, base: timedelta) -> None:
        if base <= timedelta(0):
            raise ValueError(f"the timeout of a task must be positive, got {base!r}")
        self.base = base
        self._timer: asyncio.Timeout | None = None

    def scope(self, run: TaskRun) -> Timeout:
        return type(self)(self.base)

    async def __aenter__(self) -> Timeout:
        # asyncio's own: it alone can tell its cancellation from one that arrives beside it.
        self._timer = await asyncio.timeout(self.base.total_seconds()).__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None:
        try:
            return await self._running().__aexit__(exc_type, exc_value, traceback)
        except TimeoutError as error:
            raise TimeoutError(f"the task ran longer than its timeout of {self.base}") from error

    def start(self) -> None:
        """Give the task its whole time again, from now.

        Raises:
            RuntimeError: the time is over already, or no task runs under it.
        """
        self._move_to(asyncio.get_running_loop().time() + self.base.total_seconds())

    def extend(self, by: timedelta | None = None) -> None:
        """Give the task more time.

        Args:
            by: how much; by default the base again.

        Raises:
            RuntimeError: the time is over already, or no task runs under it.
        """
        self._move_to(self._deadline() + (self.base if by is None else by).total_seconds())

    def expired(self) -> bool:
        """Whether the time is over."""
        return self.remaining() <= timedelta(0)

    def remaining(self) -> timedelta:
        """How much time is left; never negative."""
        seconds = self._deadline() - asyncio.get_running_loop().time()
        return timedelta(seconds=max(seconds, 0.0))

    def _running(self) -> asyncio.Timeout:
        if self._timer is None:
            raise RuntimeError(
                "this timeout has not been started: use the one that the task gets as its argument"
            )
        return self._timer

    def _deadline(self) -> float:
        when = self._running().when()
        return asyncio.get_running_loop().time() if when is None else when

    def _move_to(self, deadline: float) -> None:
        timer = self._running()
        if timer.expired():
            raise RuntimeError("the time of this task is over and it is being cancelled already")
        timer.reschedule(deadline)
