"""The errors of dependencies.

DocketError
├── CycleError                  (also ValueError)      at registration
├── DuplicateDependency         (also ValueError)      at registration
├── MissingArgument             (also LookupError)     while a task's dependencies are resolved
├── UnresolvedDependencies      (also ExceptionGroup)  the task failed for want of dependencies
├── AdmissionBlocked                                   raised by a dependency: do not run now
│   └── ConcurrencyBlocked
└── ForcedRetry                                        raised by a task that asks for its retry
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast

from docket.clock import duration
from docket.errors import DocketError

if TYPE_CHECKING:
    from docket.execution import Execution


class CycleError(DocketError, ValueError):
    """The dependencies of a task form a cycle, so none can be resolved first."""


class DuplicateDependency(DocketError, ValueError):
    """A task has two dependencies of a class that allows one.

    Args:
        kind: the name of that class.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(f"Only one {kind} dependency is allowed per task")
        self.kind = kind

    def __reduce__(self) -> tuple[type[DuplicateDependency], tuple[str]]:
        return DuplicateDependency, (self.kind,)


class MissingArgument(DocketError, LookupError):
    """A dependency needs an argument of the task that the caller did not pass."""


class UnresolvedDependencies(DocketError, ExceptionGroup[Exception]):
    """Some dependencies of a task failed, so it was not called; the group holds the causes."""


class ForcedRetry(DocketError):
    """The task asked to be retried; raised by `Retry.in_`, `.after` and `.at`.

    Args:
        delay: the time from the end of this attempt to the start of the next.
    """

    def __init__(self, delay: timedelta) -> None:
        super().__init__(delay)
        self.delay = delay

    def __str__(self) -> str:
        return f"the task asked for a retry in {self.delay}"


class AdmissionBlocked(DocketError):
    """The task may not run now; raised by a dependency while it is entered.

    For your own dependencies: the limits of this package never raise it, since they are applied
    before any dependency is entered.

    Args:
        execution: the execution that may not run.
        reason: the reason, for the log.
        handled: the dependency has already arranged what follows; this execution ends as
            cancelled, unless the dependency has replaced it.
        reschedule: run it again later; otherwise it is dropped and ends as cancelled.
        retry_delay: the delay until then; 100 ms by default.
    """

    def __init__(
        self,
        execution: Execution,
        reason: str = "admission control",
        *,
        handled: bool = False,
        reschedule: bool = True,
        retry_delay: timedelta | None = None,
    ) -> None:
        super().__init__(f"Task {execution.key!r} may not run now: {reason}")
        self.execution = execution
        self.reason = reason
        self.handled = handled
        self.reschedule = reschedule
        self.retry_delay = None if retry_delay is None else duration("retry_delay", retry_delay)


class ConcurrencyBlocked(AdmissionBlocked):
    """The maximum number of concurrent runs is reached.

    Args:
        execution: the execution that may not run.
        concurrency_key: the key that the runs are counted under.
        max_concurrent: the maximum number of concurrent runs.
    """

    def __init__(self, execution: Execution, concurrency_key: str, max_concurrent: int) -> None:
        super().__init__(execution, f"{max_concurrent} of {concurrency_key} run already")
        self.concurrency_key = concurrency_key
        self.max_concurrent = max_concurrent


def blocked_by(error: BaseException) -> AdmissionBlocked | None:
    """Return the AdmissionBlocked in an error, if there is one."""
    if isinstance(error, AdmissionBlocked):
        return error
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return next((b for b in map(blocked_by, inner) if b is not None), None)
    return None
