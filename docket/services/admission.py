"""The admission of claimed tasks that have limits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from docket.clock import from_microseconds
from docket.dependencies.errors import blocked_by
from docket.dependencies.resolution import Resolution
from docket.lifecycle import Cancelled, Deferred, Outcome
from docket.services.run_log import RunLog
from docket.services.runs import Run
from docket.store.limits import Admission, LimitKind, Limits

if TYPE_CHECKING:
    from docket.worker import Worker

#: Delay of a task that a dependency of the user's has blocked, unless that sets its own.
BLOCKED_DELAY = timedelta(milliseconds=100)


class NotAdmitted:
    """A refusal, instead of an outcome: the store has recorded already what became of the task."""


class AdmissionController:
    """Ask the store to admit runs.

    Args:
        limits: the docket's limits in the store.
        worker: the worker that claimed the runs.
    """

    def __init__(self, limits: Limits, worker: Worker) -> None:
        self._limits = limits
        self._worker = worker

    async def admit(self, run: Run, resolution: Resolution, log: RunLog) -> NotAdmitted | None:
        """Admit a run: None if it may go on. Raises any error of an argument's own `__str__`."""
        requests = resolution.requests()
        if not requests:
            return None
        claim = run.claim
        # Before the answer: until the server has answered, it may hold slots.
        run.holds_slots = any(request.kind is LimitKind.SLOTS for request in requests)
        run.being_admitted = True
        try:
            admission = await self._limits.acquire(
                self._worker.consumer, (claim.key, claim.entry, claim.generation), requests
            )
        finally:
            run.being_admitted = False
        if admission.verdict == "granted":
            return None
        self._count_refusal(run, admission, log)
        return NotAdmitted()

    def _count_refusal(self, run: Run, admission: Admission, log: RunLog) -> None:
        match admission.verdict:
            case "waiting":
                log.turn_away("waits for a slot of %s", admission.scope)
            case "later":
                when = from_microseconds(admission.when * 1000).isoformat()
                log.turn_away("comes later, at %s: %s", when, admission.scope)
            case "dropped" | "cancelled":
                run.counters.cancelled += 1
                log.turn_away("was %s: %s", admission.verdict, admission.scope)
            case _:
                run.counters.superseded += 1
                log.turn_away("was superseded")


def after_block(error: BaseException) -> Outcome | None:
    """Return the outcome of a run that a dependency blocked; None if it failed otherwise."""
    blocked = blocked_by(error)
    if blocked is None:
        return None
    if blocked.handled or not blocked.reschedule:
        return Cancelled()
    delay = BLOCKED_DELAY if blocked.retry_delay is None else blocked.retry_delay
    return Deferred(delay.total_seconds())
