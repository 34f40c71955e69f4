"""The tasks of a docket that run again and again: automatic ones, Cron, Perpetual."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from docket.inspection import live_workers
from docket.listing.pages import Listing
from docket.listing.summaries import ExecutionSummary, ListedState

if TYPE_CHECKING:
    from docket.docket import Docket

#: Executions of a state that are looked at: the next ones that are due, and those that run.
LOOKED_AT = 1_000
#: Functions of live workers that are looked up by their name, the key of an automatic task.
MOST_FUNCTIONS = 2_000
_LIVE = (ListedState.RUNNING, ListedState.QUEUED, ListedState.WAITING, ListedState.SCHEDULED)


class RecurringTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that is followed by its next run.

    Attributes:
        execution: its present execution: the one that runs, or the next one.
        is_automatic: workers schedule it by themselves: its key is the name of its function.
        last_failure: its newest failure that is kept.
    """

    execution: ExecutionSummary
    is_automatic: bool
    last_failure: ExecutionSummary | None = None

    @property
    def last_success_at(self) -> datetime | None:
        """The end of its newest run that succeeded; None if no such run is known."""
        return self.execution.last_success_at

    @property
    def last_failure_at(self) -> datetime | None:
        """The end of its newest run that failed; None if no such run is known."""
        kept = None if self.last_failure is None else self.last_failure.ended_at
        ends = [at for at in (self.execution.last_failure_at, kept) if at is not None]
        return max(ends, default=None)

    @property
    def last_outcome(self) -> ListedState | None:
        """COMPLETED or FAILED, as its newest run ended; None if none is known to have ended."""
        success, failure = self.last_success_at, self.last_failure_at
        if success is None:
            return None if failure is None else ListedState.FAILED
        if failure is None or success >= failure:
            return ListedState.COMPLETED
        return ListedState.FAILED


async def recurring_tasks(docket: Docket) -> list[RecurringTask]:
    """List the tasks that run again and again, by their next run.

    Automatic tasks of functions that a live worker knows are always found; of the others those
    among the first thousand of each state.

    Raises:
        ServerUnavailable: the server is away.
    """
    listing = Listing(docket)
    pages, workers = await asyncio.gather(
        asyncio.gather(*(listing.perpetual(state, LOOKED_AT) for state in _LIVE)),
        live_workers(docket),
    )
    found = {each.key: each for page in pages for each in page}
    names = sorted({name for worker in workers for name in worker.tasks})[:MOST_FUNCTIONS]
    by_name = await listing.newest([name for name in names if name not in found])
    found |= {each.key: each for each in by_name if each.is_perpetual and each.state in _LIVE}
    keys = list(found)
    failures = await listing.failures(keys)
    recurring = [
        RecurringTask(
            execution=found[key],
            is_automatic=key == found[key].function,
            last_failure=failures.get(key),
        )
        for key in keys
    ]
    return sorted(recurring, key=_next_run)


def _next_run(task: RecurringTask) -> tuple[bool, float, str]:
    when = task.execution.when
    return when is None, 0.0 if when is None else when.timestamp(), task.execution.key


__all__ = ["RecurringTask", "recurring_tasks"]
