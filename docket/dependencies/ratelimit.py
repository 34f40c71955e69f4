"""`RateLimit`: a number of runs in a sliding window; others are delayed or dropped."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from docket.clock import duration, whole
from docket.dependencies.base import TaskRun
from docket.dependencies.limits import Limit, window_milliseconds
from docket.store.limits import LimitKind, LimitRequest


class RateLimit(Limit[Any]):
    """Limit the number of runs of a task that begin within any period of a given length.

    A run over the limit is scheduled for when the window has room, behind the runs before it; or it
    is dropped and ends as cancelled. A retry or redelivery of a run is not counted again.

    Args:
        limit: the number of runs, at least 1.
        per: the length of the period.
        drop: drop runs over the limit instead of delaying them.
        scope: prefix of the key that runs are counted under.

    Raises:
        ValueError: the limit is less than 1, or the period is not positive.
    """

    def __init__(
        self, limit: int, *, per: timedelta, drop: bool = False, scope: str | None = None
    ) -> None:
        super().__init__(scope)
        if whole("The limit of a RateLimit", limit) < 1:
            raise ValueError(f"The limit of a RateLimit must be at least 1, got {limit}")
        per = duration("The period of a RateLimit", per)
        if per <= timedelta(0):
            raise ValueError(f"The period of a RateLimit must be positive, got {per!r}")
        self.limit = limit
        self.per = per
        self.drop = drop
        self._milliseconds = window_milliseconds("The period of a RateLimit", per)

    def request(self, target: str) -> LimitRequest | None:
        # Each period has a window of its own, so that 10 a second and 100 a minute can be combined.
        scope = f"{target}/{self._milliseconds}"
        kind = LimitKind.DROPPING_RATE if self.drop else LimitKind.RATE
        return LimitRequest(kind, scope, self.limit, self._milliseconds)

    def bound(self, run: TaskRun, target: str | None) -> Self:
        return self
