"""`Retry` and `ExponentialRetry`: failed tasks are tried again.

The decision is a value, `Retried`, that the executor passes to the next exchange; nothing is
scheduled here. Delays are relative, so that only the server's clock matters.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

from docket.clock import LONGEST, duration, time_until, whole
from docket.dependencies.base import ProvidedDependency, TaskRun
from docket.dependencies.errors import ForcedRetry
from docket.dependencies.handlers import PureFailureHandler
from docket.lifecycle import Retried

if TYPE_CHECKING:
    from docket.execution import Execution

#: Doubling stops here, long after any sensible maximum: 2.0 ** 1024 overflows a float.
_MOST_DOUBLINGS = 64


class Retry(PureFailureHandler[Any], ProvidedDependency[Any]):
    """Try a failed task again, after the same delay each time.

    In the task, the parameter's value belongs to this run: its `attempt` counts from 1, and its
    `delay` is the time until the next attempt, which the task may change.

    Args:
        attempts: the total number of attempts; None for no limit.
        delay: the time from the end of a failed attempt to the start of the next.

    Raises:
        ValueError: the number of attempts or the delay is negative.
    """

    def __init__(self, attempts: int | None = 1, delay: timedelta = timedelta(0)) -> None:
        delay = _checked("delay", delay)
        if attempts is not None and whole("attempts of a retry", attempts) < 0:
            raise ValueError(f"attempts of a retry must not be negative, got {attempts}")
        self.attempts = attempts
        self.delay = delay
        self.attempt = 1
        #: True in the task, whose `delay` is that before the next attempt.
        self.is_of_a_run = False

    @classmethod
    def forever(cls, delay: timedelta = timedelta(0)) -> Self:
        """Try again without limit, after `delay` each time."""
        return cls(attempts=None, delay=delay)

    def provide(self, run: TaskRun) -> Self:
        of_this_run = self.copy()
        of_this_run.attempt = run.execution.attempt
        of_this_run.delay = self.delay_after(run.execution.attempt)
        of_this_run.is_of_a_run = True
        return of_this_run

    def in_(self, delay: timedelta) -> NoReturn:
        """End this attempt here and try again after `delay`, if there is an attempt left.

        Raises:
            ForcedRetry: always; let it propagate out of the task. It becomes the task's error if
                this was the last attempt.
        """
        raise ForcedRetry(max(duration("delay", delay), timedelta(0)))

    def after(self, delay: timedelta) -> NoReturn:
        """Do the same as `in_`."""
        self.in_(delay)

    def at(self, when: datetime) -> NoReturn:
        """End this attempt here and try again at `when` (at once if that has passed)."""
        self.in_(time_until("when", when))

    def after_failure(self, execution: Execution, error: BaseException) -> Retried | None:
        if self.attempts is not None and execution.attempt >= self.attempts:
            return None
        forced = _forced_retry(error)
        delay = None if forced is None else forced.delay
        if delay is None:
            delay = self.delay if self.is_of_a_run else self.delay_after(execution.attempt)
        return Retried(
            delay.total_seconds(), execution.attempt + 1, error=error if forced is None else None
        )

    def delay_after(self, attempt: int) -> timedelta:
        """Return the time between the failed attempt of this number (from 1) and the next one."""
        return self.delay


class ExponentialRetry(Retry):
    """Try a failed task again, doubling the delay each time.

    Args:
        attempts: the total number of attempts; None for no limit.
        minimum_delay: the delay after the first attempt.
        maximum_delay: the longest delay.

    Raises:
        ValueError: the number of attempts or a delay is negative.
    """

    def __init__(
        self,
        attempts: int | None = 1,
        minimum_delay: timedelta = timedelta(seconds=1),
        maximum_delay: timedelta = timedelta(seconds=64),
    ) -> None:
        super().__init__(attempts, minimum_delay)
        self.minimum_delay = self.delay
        self.maximum_delay = _checked("maximum_delay", maximum_delay)

    @classmethod
    def forever(
        cls,
        delay: timedelta = timedelta(seconds=1),
        maximum_delay: timedelta = timedelta(seconds=64),
    ) -> Self:
        """Try again without limit, the delay doubling from `delay` to `maximum_delay`."""
        return cls(attempts=None, minimum_delay=delay, maximum_delay=maximum_delay)

    def delay_after(self, attempt: int) -> timedelta:
        doublings = min(max(attempt - 1, 0), _MOST_DOUBLINGS)
        seconds = self.minimum_delay.total_seconds() * 2.0**doublings
        return timedelta(seconds=min(seconds, min(self.maximum_delay, LONGEST).total_seconds()))


def _checked(name: str, delay: timedelta) -> timedelta:
    delay = duration(name, delay)
    if delay < timedelta(0):
        raise ValueError(f"{name} of a retry must not be negative, got {delay!r}")
    return delay


def _forced_retry(error: BaseException) -> ForcedRetry | None:
    # A dependency may force the retry too; its ForcedRetry then comes inside the group.
    if isinstance(error, ForcedRetry):
        return error
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return next((found for found in map(_forced_retry, inner) if found is not None), None)
    return None
