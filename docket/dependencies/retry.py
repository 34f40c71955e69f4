"""`Retry` and `ExponentialRetry`: failed tasks are tried again.

The decision is a value, `Retried`, that the executor passes to the next exchange; nothing is
scheduled here. Delays are relative, so that only the server's clock matters.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
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

#: The types of exceptions that a retry is for, or never for.
ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]


class Retry(PureFailureHandler[Any], ProvidedDependency[Any]):
    """Try a failed task again, after the same delay each time.

    In the task, the parameter's value belongs to this run: its `attempt` counts from 1, and its
    `delay` is the time until the next attempt, which the task may change.

    Args:
        attempts: the total number of attempts; None for no limit.
        delay: the time from the end of a failed attempt to the start of the next.
        on: retry only these exceptions, a type or a tuple of types; None for all.
        never_on: do not retry these, even if `on` has them. An exception group counts as these
            if it contains one of them.
        jitter: shorten each delay by a random part of it, up to this share: 0 for none, 0.5 for
            delays from half of it to the whole, 1 for delays from nothing to the whole. A delay
            that the task chooses is taken as it is.

    Raises:
        TypeError: `on` or `never_on` has something else than types of exceptions.
        ValueError: the number of attempts or the delay is negative, or `jitter` is not between 0
            and 1.
    """

    def __init__(
        self,
        attempts: int | None = 1,
        delay: timedelta = timedelta(0),
        *,
        on: ExceptionTypes | None = None,
        never_on: ExceptionTypes = (),
        jitter: float = 0.0,
    ) -> None:
        delay = _checked("delay", delay)
        if attempts is not None and whole("attempts of a retry", attempts) < 0:
            raise ValueError(f"attempts of a retry must not be negative, got {attempts}")
        self.attempts = attempts
        self.delay = delay
        self._narrow(on, never_on, jitter)
        self.attempt = 1
        #: True in the task, whose `delay` is that before the next attempt.
        self.is_of_a_run = False

    @classmethod
    def forever(
        cls,
        delay: timedelta = timedelta(0),
        *,
        on: ExceptionTypes | None = None,
        never_on: ExceptionTypes = (),
        jitter: float = 0.0,
    ) -> Self:
        """Try again without limit, after `delay` each time."""
        # The class may be a user's, whose arguments are these two.
        retry = cls(attempts=None, delay=delay)
        retry._narrow(on, never_on, jitter)
        return retry

    def provide(self, run: TaskRun) -> Self:
        of_this_run = self.copy()
        of_this_run.attempt = run.execution.attempt
        of_this_run.delay = self._chosen_delay(run.execution.attempt)
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
        if forced is None and not self._is_for(error):
            return None
        delay = None if forced is None else forced.delay
        if delay is None:
            delay = self.delay if self.is_of_a_run else self._chosen_delay(execution.attempt)
        return Retried(
            delay.total_seconds(), execution.attempt + 1, error=error if forced is None else None
        )

    def delay_after(self, attempt: int) -> timedelta:
        """Return the time between the failed attempt of this number (from 1) and the next one.

        It is the one before jitter.
        """
        return self.delay

    def _narrow(self, on: ExceptionTypes | None, never_on: ExceptionTypes, jitter: float) -> None:
        self.on = None if on is None else _exception_types("on", on)
        self.never_on = _exception_types("never_on", never_on)
        self.jitter = _share("jitter", jitter)

    def _is_for(self, error: BaseException) -> bool:
        errors = list(_with_members(error))
        if any(isinstance(each, self.never_on) for each in errors):
            return False
        return self.on is None or any(isinstance(each, self.on) for each in errors)

    def _chosen_delay(self, attempt: int) -> timedelta:
        delay = self.delay_after(attempt)
        return delay * (1 - self.jitter * random.random()) if self.jitter else delay


class ExponentialRetry(Retry):
    """Try a failed task again, doubling the delay each time.

    Args:
        attempts: the total number of attempts; None for no limit.
        minimum_delay: the delay after the first attempt.
        maximum_delay: the longest delay.
        on: retry only these exceptions; see `Retry`.
        never_on: do not retry these; see `Retry`.
        jitter: the share by which a delay may be shorter, from 0 to 1; see `Retry`.

    Raises:
        TypeError: `on` or `never_on` has something else than types of exceptions.
        ValueError: the number of attempts or a delay is negative, or `jitter` is not between 0
            and 1.
    """

    def __init__(
        self,
        attempts: int | None = 1,
        minimum_delay: timedelta = timedelta(seconds=1),
        maximum_delay: timedelta = timedelta(seconds=64),
        *,
        on: ExceptionTypes | None = None,
        never_on: ExceptionTypes = (),
        jitter: float = 0.0,
    ) -> None:
        super().__init__(attempts, minimum_delay, on=on, never_on=never_on, jitter=jitter)
        self.minimum_delay = self.delay
        self.maximum_delay = _checked("maximum_delay", maximum_delay)

    @classmethod
    def forever(
        cls,
        delay: timedelta = timedelta(seconds=1),
        maximum_delay: timedelta = timedelta(seconds=64),
        *,
        on: ExceptionTypes | None = None,
        never_on: ExceptionTypes = (),
        jitter: float = 0.0,
    ) -> Self:
        """Try again without limit, the delay doubling from `delay` to `maximum_delay`."""
        retry = cls(attempts=None, minimum_delay=delay, maximum_delay=maximum_delay)
        retry._narrow(on, never_on, jitter)
        return retry

    def delay_after(self, attempt: int) -> timedelta:
        doublings = min(max(attempt - 1, 0), _MOST_DOUBLINGS)
        seconds = self.minimum_delay.total_seconds() * 2.0**doublings
        return timedelta(seconds=min(seconds, min(self.maximum_delay, LONGEST).total_seconds()))


def _checked(name: str, delay: timedelta) -> timedelta:
    delay = duration(name, delay)
    if delay < timedelta(0):
        raise ValueError(f"{name} of a retry must not be negative, got {delay!r}")
    return delay


def _exception_types(name: str, types: object) -> tuple[type[BaseException], ...]:
    given = cast("tuple[object, ...]", types if isinstance(types, tuple) else (types,))
    for each in given:
        if not isinstance(each, type) or not issubclass(each, BaseException):
            raise TypeError(
                f"{name} of a retry must be an exception type or a tuple of them, got {each!r}"
            )
    return cast("tuple[type[BaseException], ...]", given)


def _share(name: str, share: object) -> float:
    if not isinstance(share, int | float):
        raise TypeError(f"{name} of a retry must be a number, got {share!r}")
    if not 0 <= share <= 1:
        raise ValueError(f"{name} of a retry must be between 0 and 1, got {share!r}")
    return share


def _with_members(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for member in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _with_members(member)


def _forced_retry(error: BaseException) -> ForcedRetry | None:
    # A dependency may force the retry too; its ForcedRetry then comes inside the group.
    return next((each for each in _with_members(error) if isinstance(each, ForcedRetry)), None)
