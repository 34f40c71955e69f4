"""`Cooldown`: the first one runs, the rest of its window is dropped."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from docket.dependencies.base import TaskRun
from docket.dependencies.limits import Limit, window_milliseconds
from docket.store.limits import LimitKind, LimitRequest


class Cooldown(Limit[Any]):
    """Run a task once, and drop what follows within a window: it ends as cancelled.

    The window begins when the run does. A retry of that run, or its redelivery, is not dropped.

    Args:
        window: how long nothing else runs; 0 drops nothing.
        scope: prefix of what is counted together.

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
