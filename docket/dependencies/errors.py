"""What can go wrong with dependencies.

DocketError
├── CycleError                  (also ValueError)      at registration
├── DuplicateDependency         (also ValueError)      at registration
├── MissingArgument             (also LookupError)     while a task's dependencies are resolved
├── UnresolvedDependencies      (also ExceptionGroup)  what the task then fails with
├── AdmissionBlocked                                   raised by a dependency: not now
│   └── ConcurrencyBlocked
└── ForcedRetry                                        raised by a task that asks for its retry
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from docket.errors import DocketError

if TYPE_CHECKING:
    from docket.execution import Execution


class CycleError(DocketError, ValueError):
    """The dependencies of a task need each other in a circle, so none can come first."""


class DuplicateDependency(DocketError, ValueError):
    """A task has two dependencies of a class of which it may have one.

    Args:
        kind: the name of that class.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(f"Only one {kind} dependency is allowed per task")
        self.kind = kind

    def __reduce__(self) -> tuple[type[DuplicateDependency], tuple[str]]:
        return DuplicateDependency, (self.kind,)


class MissingArgument(DocketError, LookupError):
    """A dependency wants an argument of the task that the caller did not pass."""


class UnresolvedDependencies(DocketError, ExceptionGroup[Exception]):
    """Some dependencies of a task failed, so the task was not called; the causes are inside."""


class ForcedRetry(DocketError):
    """Raised by `Retry.in_`, `.after` and `.at`: the task ends here and is tried again.

    Args:
        delay: time from the end of this attempt to the next one.
    """

    def __init__(self, delay: timedelta) -> None:
        super().__init__(delay)
        self.delay = delay

    def __str__(self) -> str:
        return f"the task asked for a retry in {self.delay}"


class AdmissionBlocked(DocketError):
    """Raised by a dependency while it is entered: its task may not run now.

    The limits of this package never raise it: they are settled before any dependency is entered.
    It is for dependencies of your own.

    Args:
        execution: what may not run.
        reason: why, for the log.
        handled: the dependency has seen to it that the task runs (or not) later; this execution
            ends as cancelled, unless the dependency has replaced it.
        reschedule: run it again later; otherwise it is dropped and ends as cancelled.
        retry_delay: how much later; 100 ms by default.
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
        self.retry_delay = retry_delay


class ConcurrencyBlocked(AdmissionBlocked):
    """As many run as may run at once.

    Args:
        execution: what may not run.
        concurrency_key: what is counted.
        max_concurrent: how many may run.
    """

    def __init__(self, execution: Execution, concurrency_key: str, max_concurrent: int) -> None:
        super().__init__(execution, f"{max_concurrent} of {concurrency_key} run already")
        self.concurrency_key = concurrency_key
        self.max_concurrent = max_concurrent
