"""The face of a docket for operators: look at executions, and act on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, cast

from docket.clock import aware
from docket.listing.acting import Act, Actor, BulkResult
from docket.listing.counts import Census, Counts
from docket.listing.filters import AnyState, Filter
from docket.listing.pages import Listing, Page
from docket.listing.summaries import ExecutionDetails, ExecutionSummary

if TYPE_CHECKING:
    from docket.docket import Docket


class Operations:
    """The operations on a docket that need none of its code: nothing is unpickled or imported."""

    async def executions(
        self,
        state: AnyState | Iterable[AnyState] | None = None,
        *,
        function: str | None = None,
        key_prefix: str | None = None,
        worker: str | None = None,
        error: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """List executions, a page at a time.

        Those that run come first, then those that are ready, wait for a limit, are scheduled,
        failed, were cancelled and were completed. Of the last two the newest thousand are listed,
        for as long as their records are kept (`execution_ttl`). No page reads everything: where few
        match, it has fewer executions than asked for, and a cursor.

        Args:
            state: one or several of running, queued, waiting, scheduled, failed, cancelled,
                completed; all by default.
            function: the name of the task.
            key_prefix: the beginning of the key.
            worker: the name of the worker that runs it, or ran it.
            error: the type of the error, or a part of its text.
            since, until: a span of time: of scheduled ones their due time, of those that have ended
                their end, of those that run their start.
            limit: the most executions of the page, up to 1000.
            cursor: that of the page before, of the same filter.

        Raises:
            ValueError: an unknown state, a limit out of bounds, an empty span of time, or a cursor
                of another docket or filter.
            TypeError: `since` or `until` is no timezone-aware datetime.
            ServerUnavailable: the server is away.
        """
        wanted = Filter.of(
            state,
            function=function,
            key_prefix=key_prefix,
            worker=worker,
            error=error,
            since=since,
            until=until,
        )
        return await self.executions_matching(wanted, limit, cursor)

    async def executions_matching(
        self, wanted: Filter, limit: int = 50, cursor: str | None = None
    ) -> Page:
        """List the executions that a filter means; otherwise as `executions`."""
        return await Listing(self._docket).page(wanted, limit, cursor)

    async def describe(self, key: str) -> ExecutionDetails | None:
        """Return all that is known of the newest execution of a key, its attempts too.

        None if there is no record of it, and no failure of it that is kept.
        """
        return await Listing(self._docket).details(key)

    async def counts(self) -> Counts:
        """Count the executions by state, and by function.

        The numbers by function are estimated from a random sample where there are many.
        """
        return await Census(self._docket).counts()

    async def retry(self, key: str) -> ExecutionSummary | None:
        """Run an execution again that failed or was cancelled, with its stored arguments.

        It is a new execution under the same key, which knows its predecessor and its attempts. One
        that failed can be retried for as long as it is kept (`keep_failed`).

        Returns:
            The new execution; None if it has ended already and left no record.

        Raises:
            NoSuchExecution: there is nothing under that key.
            WrongState: it waits or runs, or was completed and no earlier failure is kept.
            ServerUnavailable: the server is away.
        """
        return await Actor(self._docket).retry(key)

    async def run_now(self, key: str) -> None:
        """Let a scheduled task run now. One that is ready already stays as it is.

        Raises:
            NoSuchExecution: there is nothing under that key.
            WrongState: it runs, has ended, or waits for a limit.
            ServerUnavailable: the server is away.
        """
        await Actor(self._docket).move(key, None)

    async def reschedule(self, key: str, when: datetime) -> None:
        """Give a task that waits another time.

        Args:
            key: its key.
            when: the time, timezone-aware; one that has passed is now.

        Raises:
            TypeError: `when` is no datetime or a naive one.
            NoSuchExecution, WrongState, ServerUnavailable: as of `run_now`.
        """
        await Actor(self._docket).move(key, aware("when", when))

    async def cancel_matching(
        self, wanted: Filter, *, progress: Callable[[BulkResult], object] | None = None
    ) -> BulkResult:
        """Cancel all executions that a filter means, in batches; as `cancel` does with one.

        What has changed meanwhile is skipped and counted.

        Args:
            wanted: the filter: `Filter.of("scheduled", function="send")`.
            progress: called with the result so far after each batch.

        Raises:
            ValueError: the filter names states that have ended.
            ServerUnavailable: the server is away; some may have been cancelled.
        """
        return await Actor(self._docket).act(Act.CANCEL, wanted, progress)

    async def retry_matching(
        self, wanted: Filter, *, progress: Callable[[BulkResult], object] | None = None
    ) -> BulkResult:
        """Retry all failed and cancelled executions that a filter means; as `cancel_matching`."""
        return await Actor(self._docket).act(Act.RETRY, wanted, progress)

    async def run_matching_now(
        self, wanted: Filter, *, progress: Callable[[BulkResult], object] | None = None
    ) -> BulkResult:
        """Let all scheduled executions that a filter means run now; as `cancel_matching`."""
        return await Actor(self._docket).act(Act.RUN_NOW, wanted, progress)

    @property
    def _docket(self) -> Docket:
        return cast("Docket", self)
