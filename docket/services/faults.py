"""The outcome of a run that failed around the body of its task: calls, handlers, our own code."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from docket.dependencies.handlers import TaskOutcome
from docket.dependencies.perpetual import Perpetual, perpetual_of
from docket.errors import DeserializationError
from docket.lifecycle import Deferred, Due, Failed, Perpetuated, Successor
from docket.services.first_seen import FirstSeen
from docket.services.unknown_tasks import DEFERRAL_SECONDS, PATIENCE_SECONDS
from docket.store.claims import Claim

if TYPE_CHECKING:
    from datetime import timedelta

    from docket.docket import Docket
    from docket.execution import Execution

logger = logging.getLogger("docket.worker")


class Faults:
    """A policy that no fault outside of the task's body ends a perpetual task.

    Arguments that cannot be read here may be those of newer code, so the run goes back for others,
    for as long as a rollout may take. After any other fault, and in the end, the next run follows.

    Args:
        docket: the docket of the tasks.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        #: Keys whose call was found unreadable.
        self._unreadable = FirstSeen()

    def outcome(
        self,
        claim: Claim,
        error: BaseException,
        duration: timedelta,
        execution: Callable[[], Execution],
    ) -> Deferred | Failed | Perpetuated:
        """Return the outcome of a run that failed with an error.

        Args:
            claim: that of the run.
            error: the error.
            duration: that of the run.
            execution: makes its execution, without arguments.
        """
        plan = self._docket.plans.get(claim.function.decode(errors="replace"))
        perpetual = None if plan is None else perpetual_of(plan)
        if perpetual is None:
            return Failed(error)
        if isinstance(error, DeserializationError):
            deferred = self._deferred(claim, error)
            if deferred is not None:
                return deferred
        due = _due_after(perpetual, execution(), TaskOutcome(duration, exception=error))
        return Perpetuated(Failed(error), Successor(due))

    def _deferred(self, claim: Claim, error: DeserializationError) -> Deferred | None:
        waited = self._unreadable.note(claim.key)
        if waited >= PATIENCE_SECONDS:
            self._unreadable.forget(claim.key)
            return None
        shortest, longest = DEFERRAL_SECONDS
        delay = min(max(waited, shortest), longest)
        logger.warning(
            "The arguments of perpetual task %r cannot be read here (%s) - left to workers that "
            "can; looked at again in %.0f s",
            claim.key.decode(errors="replace"),
            error,
            delay,
        )
        return Deferred(delay)


def _due_after(perpetual: Perpetual, execution: Execution, outcome: TaskOutcome) -> Due:
    try:
        return perpetual.as_if_made_now().due_after(execution, outcome)
    except Exception as error:
        logger.error("When %r runs again cannot be told", execution.key, exc_info=error)
        return Due.from_now(DEFERRAL_SECONDS[1])
