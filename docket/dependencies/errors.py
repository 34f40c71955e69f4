"""What can go wrong with dependencies.

DocketError
├── CycleError                  (also ValueError)      at registration
├── DuplicateDependency         (also ValueError)      at registration
├── MissingArgument             (also LookupError)     while a task's dependencies are resolved
├── UnresolvedDependencies      (also ExceptionGroup)  what the task then fails with
└── ForcedRetry                                        raised by a task that asks for its retry
"""

from __future__ import annotations

from datetime import timedelta

from docket.errors import DocketError


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
