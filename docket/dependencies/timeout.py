"""`Timeout`: tasks that run too long are cancelled and fail with TimeoutError."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import TracebackType

from docket.clock import LONGEST
from docket.dependencies.base import ScopedRuntime, TaskRun


class Timeout(ScopedRuntime["Timeout"]):
    """Limit the time that the task's own code may run (its dependencies are not counted).

    The task is cancelled at its current await and fails with `TimeoutError`, which its `Retry`
    handles like any other failure. A cancellation from elsewhere remains a cancellation.

    Args:
        base: the time limit, from the start of the task.

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
        # asyncio's own: only it can tell its cancellation from another one at the same moment.
        self._timer = await asyncio.timeout(_seconds(self.base)).__aenter__()
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
        """Restart the time limit from now.

        Raises:
            RuntimeError: the time is over already, or no task runs under it.
        """
        self._move_to(asyncio.get_running_loop().time() + _seconds(self.base))

    def extend(self, by: timedelta | None = None) -> None:
        """Give the task more time.

        Args:
            by: the extra time; by default the base again.

        Raises:
            RuntimeError: the time is over already, or no task runs under it.
        """
        self._move_to(self._deadline() + _seconds(self.base if by is None else by))

    def expired(self) -> bool:
        """Return whether the time is over."""
        return self.remaining() <= timedelta(0)

    def remaining(self) -> timedelta:
        """Return the time left; never negative."""
        seconds = self._deadline() - asyncio.get_running_loop().time()
        return timedelta(seconds=min(max(seconds, 0.0), _seconds(LONGEST)))

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


def _seconds(duration: timedelta) -> float:
    return min(duration, LONGEST).total_seconds()
