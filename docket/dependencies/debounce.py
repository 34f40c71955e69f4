"""`Debounce`: run the first of several calls, once no more have come for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from docket.dependencies.base import TaskRun
from docket.dependencies.limits import Limit, window_milliseconds
from docket.store.limits import LimitKind, LimitRequest


class Debounce(Limit[Any]):
    """Run only the first of several calls, once no further call has come for the settle time.

    Each further call ends as cancelled, and the settle time of the first starts again. A retry or
    redelivery of the run does not wait again.

    Args:
        settle: the time without a further call; 0 runs every call.
        scope: prefix of the key that runs are counted under.

    Raises:
        ValueError: the time is negative.
    """

    single = True

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
