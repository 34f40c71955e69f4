"""Handlers: dependencies that decide what follows the end of a run.

There are two kinds. Our own handlers return a value (`Retried`, `Successor`), which the store
applies in one step with the end of the run. Those of users, `FailureHandler` and
`CompletionHandler`, may act by themselves and return whether they did.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from docket.dependencies.base import Dependency
from docket.lifecycle import Completed, Failed, Perpetuated, Retried, Successor

if TYPE_CHECKING:
    from docket.execution import Execution

T_co = TypeVar("T_co", covariant=True)


@dataclass
class TaskOutcome:
    """The end of a run, as handlers see it.

    Attributes:
        duration: the duration of the run.
        result: the value that the task returned, if it did.
        exception: the exception that it raised, if it did.
    """

    duration: timedelta
    result: Any = None
    exception: BaseException | None = None


class FailureHandler(Dependency[T_co]):
    """A dependency that decides what follows a failure of its task. A task may have one."""

    single = True

    @abstractmethod
    async def handle_failure(self, execution: Execution, outcome: TaskOutcome) -> bool:
        """Handle a failure, for example by scheduling the execution again.

        Called after all dependencies were exited, on the value that was resolved for this run, or
        on the instance in the signature if the resolution failed before reaching it.

        Returns:
            True if the failure was handled. The run then ends as failed, unless the handler has
            replaced the execution; no error is logged and no `CompletionHandler` is called.
        """


class CompletionHandler(Dependency[T_co]):
    """A dependency called when a run has succeeded or failed for good. A task may have one."""

    single = True

    @abstractmethod
    async def on_complete(self, execution: Execution, outcome: TaskOutcome) -> bool:
        """Act after the run, before its end is recorded.

        Returns:
            True if it has scheduled a successor: a handler that replaced the execution has
            superseded this run. The worker then leaves the log of the end to the handler.
        """


class PureFailureHandler(FailureHandler[T_co]):
    """A failure handler that returns a value and has no side effects."""

    @abstractmethod
    def after_failure(self, execution: Execution, error: BaseException) -> Retried | None:
        """Decide, without side effects, whether the task runs again.

        Returns:
            The next attempt (with its delay in seconds from now), or None if the failure is final.
        """

    async def handle_failure(self, execution: Execution, outcome: TaskOutcome) -> bool:
        """Return whether the task runs again; a subclass may override this to restrict it."""
        error = outcome.exception
        return error is not None and self.after_failure(execution, error) is not None


class PureCompletionHandler(CompletionHandler[T_co]):
    """A completion handler that returns a value and has no side effects."""

    @abstractmethod
    def after_completion(self, execution: Execution, outcome: TaskOutcome) -> Successor | None:
        """Decide, without side effects, what follows; None makes this the last run."""

    async def on_complete(self, execution: Execution, outcome: TaskOutcome) -> bool:
        """Return whether a successor follows; a subclass may override this to restrict it."""
        return self.after_completion(execution, outcome) is not None


async def end_of(
    execution: Execution,
    outcome: TaskOutcome,
    on_failure: FailureHandler[Any] | None,
    on_completion: CompletionHandler[Any] | None,
) -> Completed | Failed | Retried | Perpetuated:
    """Return the outcome of a run, as the handlers of its task decide."""
    error = outcome.exception
    if error is not None and on_failure is not None:
        handled = await on_failure.handle_failure(execution, outcome)
        if handled and isinstance(on_failure, PureFailureHandler):
            again = on_failure.after_failure(execution, error)
            if again is not None:
                return again
        if handled:
            return Failed(error, handled=True)
    ended = Completed(outcome.result) if error is None else Failed(error)
    if on_completion is None or not await on_completion.on_complete(execution, outcome):
        return ended
    if isinstance(on_completion, PureCompletionHandler):
        successor = on_completion.after_completion(execution, outcome)
        if successor is not None:
            return Perpetuated(ended, successor)
    return msgspec.structs.replace(ended, handled=True)
