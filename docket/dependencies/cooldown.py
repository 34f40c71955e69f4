"""`Cooldown`: run the first call, and drop the rest of its window."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from docket.dependencies.base import TaskRun
from docket.dependencies.limits import Limit, window_milliseconds
from docket.store.limits import LimitKind, LimitRequest


class Cooldown(Limit[Any]):
    """Run a task once and drop further calls within a window; they end as cancelled.

    The window begins with the run. A retry or redelivery of that run is not dropped.

    Args:
        window: the time in which further calls are dropped; 0 drops nothing.
        scope: prefix of the key that runs are counted under.

    Raises:
        ValueError: the window is negative.
    """

    def __init__(self, window: timedelta, *, scope: str | None = None) -> None:
        super().__init__(scope)
        self.window = window
        self._milliseconds = window_milliseconds("The window of a Cooldown", window)

    def request(self, target: str) -> LimitRequest | None:
        return (
            LimitRequest(LimitKind.COOLDOWN, target, self._milliseconds)
            if self._milliseconds
            else None
        )

    def bound(self, run: TaskRun, target: str | None) -> Self:
        return self
