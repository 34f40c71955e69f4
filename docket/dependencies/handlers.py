"""What follows the end of a run, as the dependencies of its task decide.

Two shapes meet here. Our own handlers return a value (`Retried`, `Successor`), which the store
applies in one step with the end of the run. Those of users, `FailureHandler` and
`CompletionHandler`, may act by themselves and say whether they did.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from docket.dependencies.base import Dependency
from docket.lifecycle import Completed, Failed, Perpetuated, Retried, Successor

if TYPE_CHECKING:
    from docket.execution import Execution

T_co = TypeVar("T_co", covariant=True)


@dataclass
class TaskOutcome:
    """How a run ended, for handlers.

    Attributes:
        duration: of the run.
        result: what the task returned, if it did.
        exception: what it raised, if it did.
    """

    duration: timedelta
    result: Any = None
    exception: BaseException | None = None


class FailureHandler(Dependency[T_co]):
    """A dependency that decides what follows a failure of its task. One a task."""

    single: ClassVar[bool] = True

    @abstractmethod
    async def handle_failure(self, execution: Execution, outcome: TaskOutcome) -> bool:
        """Do something about a failure, such as scheduling the execution anew.

        Asked, after all dependencies were left, of the value that was resolved for this run or,
        when the resolution itself failed before it came to that, of the instance in the signature.

        Returns:
            True: it is taken care of. The run ends as failed, unless the handler has replaced the
            execution; nothing is logged as an error, and no `CompletionHandler` is asked.
        """


class CompletionHandler(Dependency[T_co]):
    """A dependency that hears of the end of each run, succeeded or failed for good. One a task."""

    single: ClassVar[bool] = True

    @abstractmethod
    async def on_complete(self, execution: Execution, outcome: TaskOutcome) -> bool:
        """Do something after the run, before its end is recorded.

        Returns:
            Whether it has scheduled what follows: a completion handler that replaced the execution
            has superseded this run.
        """


class PureFailureHandler(FailureHandler[T_co]):
    """A failure handler that returns a value and has no side effects."""

    @abstractmethod
    def after_failure(self, execution: Execution, error: BaseException) -> Retried | None:
        """Decide, without side effects, whether the task runs again.

        Returns:
            The next attempt (its delay in seconds from now), or None: the failure stands.
        """

    async def handle_failure(self, execution: Execution, outcome: TaskOutcome) -> bool:
        """Whether the task runs again. A subclass may restrict it; what it permits is done."""
        error = outcome.exception
        return error is not None and self.after_failure(execution, error) is not None


class PureCompletionHandler(CompletionHandler[T_co]):
    """A completion handler that returns a value and has no side effects."""

    @abstractmethod
    def after_completion(self, execution: Execution, outcome: TaskOutcome) -> Successor | None:
        """Decide, without side effects, what follows; None: this was the last run."""

    async def on_complete(self, execution: Execution, outcome: TaskOutcome) -> bool:
        """Whether a successor follows. A subclass may restrict it; what it permits is done."""
        return self.after_completion(execution, outcome) is not None


async def end_of(
    execution: Execution,
    outcome: TaskOutcome,
    on_failure: FailureHandler[Any] | None,
    on_completion: CompletionHandler[Any] | None,
) -> Completed | Failed | Retried | Perpetuated:
    """What a run ends with, by the handlers of its task."""
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
    return ended
