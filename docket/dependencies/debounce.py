"""`Debounce`: the last one runs, once it has been quiet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, Self

from docket.dependencies.base import TaskRun
from docket.dependencies.limits import Limit, window_milliseconds
from docket.store.limits import LimitKind, LimitRequest


class Debounce(Limit[Any]):
    """Run a task once after it has been quiet: the last one, with its arguments.

    Each new one takes the place of the one before, which ends as cancelled, and waits for the time
    to pass anew. A retry of the run, or its redelivery, waits no more.

    Args:
        settle: how long it has to be quiet; 0 runs everything.
        scope: prefix of what is counted together.

    Raises:
        ValueError: the time is negative.
    """

    single: ClassVar[bool] = True

    def __init__(self, settle: timedelta, *, scope: str | None = None) -> None:
        super().__init__(scope)
        self.settle = settle
        self._milliseconds = window_milliseconds("The settle time of a Debounce", settle)

    def request(self, target: str) -> LimitRequest | None:
        return (
            LimitRequest(LimitKind.DEBOUNCE, target, self._milliseconds)
            if self._milliseconds
            else None
        )

    def bound(self, run: TaskRun, target: str | None) -> Self:
        return self
