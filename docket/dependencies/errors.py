"""The errors of dependencies.

DocketError
├── DuplicateDependency         (also ValueError)  at registration
├── AdmissionBlocked                               raised by a dependency: do not run now
│   └── ConcurrencyBlocked
└── ForcedRetry                                    raised by a task that asks for its retry

A task whose dependencies form a circle fails with `uncalled_for.CycleError`, one whose dependencies
fail with an ExceptionGroup: see `unresolved`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from docket.clock import duration
from docket.errors import DocketError

if TYPE_CHECKING:
    from docket.execution import Execution


class DuplicateDependency(DocketError, ValueError):
    """A task has two dependencies of a class that allows one.

    Args:
        message: the rule, and what breaks it.
        kind: the name of that class.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message, kind)
        self.kind = kind

    def __str__(self) -> str:
        return str(self.args[0])


def unresolved(causes: Mapping[str, Exception]) -> ExceptionGroup[Exception]:
    """Make the error of a task whose dependencies failed, so that it was not called.

    Args:
        causes: by parameter.
    """
    # The builtin class itself: the name of a subclass would stand in tracebacks and records.
    return ExceptionGroup(
        f"Failed to resolve dependencies for parameter(s): {', '.join(causes)}",
        list(causes.values()),
    )


class ForcedRetry(DocketError):
    """The task asks to be retried; raised by `Retry.in_`, `.after` and `.at`, or by hand.

    Args:
        delay: the time from the end of this attempt to the start of the next; by default that of
            the task's `Retry`.
    """

    def __init__(self, delay: timedelta | None = None) -> None:
        super().__init__(delay)
        self.delay = delay

    def __str__(self) -> str:
        return ""


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
        super().__init__(f"Task {execution.key} blocked by {reason}")
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
        super().__init__(
            execution, f"concurrency limit ({max_concurrent} max) on {concurrency_key}"
        )
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
