"""The face of a docket for operators: look at executions, and act on them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from docket.audit import OperatorAct, record_act, recorded_acts
from docket.clock import aware
from docket.store.server_policy import server_policy

if TYPE_CHECKING:
    from docket.docket import Docket
    from docket.listing.acting import Actor, BulkResult
    from docket.listing.counts import Census, Counts
    from docket.listing.filters import AnyState, Filter
    from docket.listing.limits import LimitInUse, PlaceInLine
    from docket.listing.pages import Listing, MatchCount, Page
    from docket.listing.recurring import RecurringTask
    from docket.listing.summaries import ExecutionDetails, ExecutionSummary, ListedState

#: Most executions that are looked at for one page: where few match, it has fewer than asked for.
MOST_LOOKED_AT = 2_000


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
        wanted: Filter = _module("filters").Filter.of(
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
        self,
        wanted: Filter,
        limit: int = 50,
        cursor: str | None = None,
        *,
        most_looked_at: int = MOST_LOOKED_AT,
        seconds: float | None = None,
    ) -> Page:
        """List the executions that a filter means; otherwise as `executions`.

        Args:
            wanted: the filter.
            limit, cursor: as of `executions`.
            most_looked_at: the most executions to look at; where few match, the page has what was
                found among them, and a cursor.
            seconds: the time after which it looks no further, once it has looked at a thousand;
                None for no limit.
        """
        return await self._listing.page(wanted, limit, cursor, most_looked_at, seconds)

    async def count_matching(
        self,
        wanted: Filter,
        *,
        most_looked_at: int = MOST_LOOKED_AT,
        seconds: float | None = None,
    ) -> MatchCount:
        """Count the executions that a filter means, as far as `most_looked_at` and `seconds` go.

        It reads less than a listing does. The numbers by state alone are those of
        `counts_by_state`, however many there are.

        Args:
            wanted: the filter.
            most_looked_at, seconds: as of `executions_matching`.
        """
        return await self._listing.count(wanted, most_looked_at, seconds)

    async def describe(self, key: str) -> ExecutionDetails | None:
        """Return all that is known of the newest execution of a key, its attempts too.

        None if there is no record of it, and no failure of it that is kept.
        """
        return await self._listing.details(key)

    async def counts(self) -> Counts:
        """Count the executions by state, and by function.

        The numbers by function are estimated from a random sample where there are many.
        """
        return await self._census.counts()

    async def counts_by_state(self) -> dict[ListedState, int]:
        """Count the executions by state only, in one round trip, however many there are."""
        return await self._census.by_state()

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
        return await self._actor.retry(key)

    async def run_now(self, key: str) -> None:
        """Let a scheduled task run now. One that is ready already stays as it is.

        Raises:
            NoSuchExecution: there is nothing under that key.
            WrongState: it runs, has ended, or waits for a limit.
            ServerUnavailable: the server is away.
        """
        await self._actor.move(key, None)

    async def reschedule(self, key: str, when: datetime) -> None:
        """Give a task that waits another time.

        Args:
            key: its key.
            when: the time, timezone-aware; one that has passed is now.

        Raises:
            TypeError: `when` is no datetime or a naive one.
            NoSuchExecution, WrongState, ServerUnavailable: as of `run_now`.
        """
        await self._actor.move(key, aware("when", when))

    async def cancel_matching(
        self, wanted: Filter, *, progress: Callable[[BulkResult], object] | None = None
    ) -> BulkResult:
        """Cancel all executions that a filter means, in batches; as `cancel` does with one.

        What has changed meanwhile is skipped and counted.

        Args:
            wanted: the filter: `Filter.of("scheduled", function="send")`.
            progress: called with the result so far after each batch; if it is a coroutine function,
                the next batch waits for it. An error that it raises ends the act.

        Raises:
            ValueError: the filter names states that have ended.
            ServerUnavailable: the server is away; some may have been cancelled.
        """
        return await self._actor.act(_module("acting").Act.CANCEL, wanted, progress)

    async def retry_matching(
        self, wanted: Filter, *, progress: Callable[[BulkResult], object] | None = None
    ) -> BulkResult:
        """Retry all failed and cancelled executions that a filter means; as `cancel_matching`."""
        return await self._actor.act(_module("acting").Act.RETRY, wanted, progress)

    async def run_matching_now(
        self, wanted: Filter, *, progress: Callable[[BulkResult], object] | None = None
    ) -> BulkResult:
        """Let all scheduled executions that a filter means run now; as `cancel_matching`."""
        return await self._actor.act(_module("acting").Act.RUN_NOW, wanted, progress)

    async def recurring(self) -> list[RecurringTask]:
        """List the tasks that run again and again (Perpetual, Cron), by their next run.

        Automatic tasks that a live worker knows are always found; of the others those among the
        first thousand executions of each state.

        Raises:
            ServerUnavailable: the server is away.
        """
        found: list[RecurringTask] = await _module("recurring").recurring_tasks(self._docket)
        return found

    async def limits(self) -> list[LimitInUse]:
        """List the concurrency limits in use: who holds their slots, and who waits for one.

        They are found among a thousand executions that run and a thousand that wait.

        Raises:
            ServerUnavailable: the server is away.
        """
        found: list[LimitInUse] = await _module("limits").limits_in_use(self._docket)
        return found

    async def places_in_line(self, summary: ExecutionSummary) -> list[PlaceInLine]:
        """Return the place of an execution in each line of a limit that it waits in."""
        lines = _module("limits").places_in_line
        places: list[PlaceInLine] = await lines(self._docket, summary.key, summary.waits_for)
        return places

    async def eviction_policy(self) -> str | None:
        """Return the policy by which the server evicts keys, and with them tasks that wait.

        None if it evicts none (`noeviction`), or does not let this user ask.
        """
        policy = await server_policy(self._docket.connections.pipeline)
        if policy is None or policy.maxmemory_policy == "noeviction":
            return None
        return policy.maxmemory_policy

    async def record_act(
        self,
        act: str,
        target: str,
        outcome: str,
        *,
        by: str,
        origin: str,
        reason: str | None = None,
    ) -> None:
        """Append an act of an operator to the audit log, which keeps the newest ten thousand.

        Args:
            act: the act, such as "retry".
            target: the key, function or filter that it was done to.
            outcome: what became of it.
            by: who did it.
            origin: the address that it came from.
            reason: the reason that was given.

        Raises:
            ServerUnavailable: the server is away; the act may have been recorded.
        """
        await record_act(self._docket, act, target, outcome, by=by, origin=origin, reason=reason)

    async def recorded_acts(self, first: int = 0, count: int = 50) -> list[OperatorAct]:
        """List acts of operators from the audit log, the newest first.

        Args:
            first: the number of newer ones to pass over.
            count: the number to read, at most 1,000.

        Raises:
            ValueError: a number is out of bounds.
            ServerUnavailable: the server is away.
        """
        return await recorded_acts(self._docket, first, count)

    @property
    def _docket(self) -> Docket:
        return cast("Docket", self)

    @property
    def _listing(self) -> Listing:
        return cast("Listing", _module("pages").Listing(self._docket))

    @property
    def _census(self) -> Census:
        return cast("Census", _module("counts").Census(self._docket))

    @property
    def _actor(self) -> Actor:
        return cast("Actor", _module("acting").Actor(self._docket))


def _module(name: str) -> Any:
    """Import a part of docket.listing: a tenth of docket, of no use to producers and workers."""
    return importlib.import_module(f"docket.listing.{name}")
