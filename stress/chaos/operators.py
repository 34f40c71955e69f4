"""Acts of operators on the docket under test: pauses, retries, and others, by key or filter."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from docket import Docket
from docket.errors import NoSuchExecution, WrongState
from docket.listing import BulkResult, Filter
from docket.store.acts import ACTS as MOST_IN_A_CALL
from stress.chaos.monitor import EndCollector
from stress.chaos.plan import Kind
from stress.chaos.record import InjectedFault
from stress.waiting import UNANSWERED, insist

#: Functions that are paused, in turn.
PAUSED = ("plain", "limited", "chain", "retry", "relay", "rated", "tick", "payload")
#: Kinds whose failures are retried, and fail again; each retry of them is counted.
RETRIED = frozenset({"failing", "late"})
#: The kind of which everything may be cancelled, and what was is retried.
CANCELLED = "cancelled"
#: Kinds that are scheduled for later.
SCHEDULED = ("plain", "replaced")
#: Executions that are acted on one by one before the rest is by a filter.
SINGLE = 5

#: Bulk acts, by a filter.
_Bulk = Callable[..., Awaitable[BulkResult]]


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that held in that span of monotonic seconds. function: None for the whole docket."""

    function: str | None
    since: float
    until: float


class Operators:
    """Operators at work.

    Arguments:
        docket: the docket, past all proxies.
        ends: is told to look again at what is retried.
    """

    def __init__(self, docket: Docket, ends: EndCollector) -> None:
        self._docket, self._ends = docket, ends
        # One pause at a time: the end of one would end another of the same function.
        self._pausing = asyncio.Lock()
        self.pauses: list[Pause] = []
        #: Retries of RETRIED that are known to have been made, and those that may have been.
        self.retries, self.doubtful_retries = 0, 0
        self.acts: dict[Kind, Callable[[InjectedFault], Awaitable[None]]] = {
            Kind.ACT_PAUSE: self._pause_a_function,
            Kind.ACT_PAUSE_ALL: lambda act: self._pause(None, act),
            Kind.ACT_RUN_NOW: self._run_now,
            Kind.ACT_RETRY: self._retry,
            Kind.ACT_CANCEL: self._cancel,
        }

    # Pauses.

    async def _pause_a_function(self, act: InjectedFault) -> None:
        await self._pause(PAUSED[int(act.fault.draw * len(PAUSED))], act)

    async def _pause(self, function: str | None, act: InjectedFault) -> None:
        lasts = act.fault.lasts
        ends_by_itself = act.fault.draw < 0.3
        until = timedelta(seconds=lasts) if ends_by_itself else None
        async with self._pausing:
            asked = time.monotonic()
            await insist(lambda: self._docket.pause(function, until=until, by="chaos"))
            since = time.monotonic()
            # Of one that was asked for again, the end counts from the last time that it was.
            await asyncio.sleep(lasts)
            ends = asked + lasts if ends_by_itself else time.monotonic()
            self.pauses.append(Pause(function, since, ends))
            await insist(lambda: self._docket.resume(function))

    # Acts on executions.

    async def _run_now(self, _act: InjectedFault) -> None:
        soon = timedelta(milliseconds=200)
        for function in SCHEDULED:
            wanted = Filter.of("scheduled", function=function)
            for number, key in enumerate(await self._some(wanted)):
                docket, when = self._docket, datetime.now(UTC) + soon
                act = partial(docket.reschedule, when=when) if number % 2 else docket.run_now
                await self._one(partial(act, key))
            await self._all(self._docket.run_matching_now, wanted)

    async def _cancel(self, _act: InjectedFault) -> None:
        live = ("running", "queued", "waiting", "scheduled")
        await self._all(self._docket.cancel_matching, Filter.of(live, function=CANCELLED))

    async def _retry(self, _act: InjectedFault) -> None:
        for function in sorted(RETRIED):
            wanted = Filter.of("failed", function=function)
            for key in await self._some(wanted):
                made, doubtful = await self._one(partial(self._docket.retry, key))
                self.retries += made
                self.doubtful_retries += doubtful
            made, doubtful = await self._all(self._docket.retry_matching, wanted)
            self.retries += made
            self.doubtful_retries += doubtful
        await self._all(self._docket.retry_matching, Filter.of("cancelled", function=CANCELLED))
        await self._ends.doubt(RETRIED | {CANCELLED})

    async def _some(self, wanted: Filter) -> Sequence[str]:
        page = await insist(lambda: self._docket.executions_matching(wanted, SINGLE))
        return [each.key for each in page.executions]

    async def _one(self, act: Callable[[], Awaitable[object]]) -> tuple[int, int]:
        """Act on one, and return how often that was done, and how often it may have been."""
        try:
            await act()
        except (NoSuchExecution, WrongState):
            return 0, 0  # It has changed since it was listed.
        except UNANSWERED:
            return 0, 1
        return 1, 0

    async def _all(self, act: _Bulk, wanted: Filter) -> tuple[int, int]:
        """Act on all that a filter means, and return as `_one`."""
        told = [BulkResult()]
        with contextlib.suppress(*UNANSWERED):
            return (await act(wanted, progress=told.append)).done, 0
        return told[-1].done, MOST_IN_A_CALL
