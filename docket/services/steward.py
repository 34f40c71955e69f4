"""The steward: the duties of one worker in a pool: promote due tasks, adopt those of dead workers,
sweep lost leases, recover what nobody would be given, report the backlog.

Two stewards at once do no harm: every step is idempotent. The steward sleeps until the next due
time, at most 5 s; the wake channel tells it when an earlier task arrives.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from docket.errors import NotPermitted, RefusedCall, ServerUnavailable
from docket.loop_calls import occurs
from docket.store.coalescing import BATCH_LIMIT
from docket.store.connection.backoff import backoff_seconds
from docket.store.connection.pipeline import Pipeline
from docket.store.connection.subscriber import Subscriber
from docket.store.heartbeats import Heartbeats
from docket.store.keys import Keys
from docket.store.transitions import Transitions

logger = logging.getLogger("docket.worker")

#: Longest time between two looks at the queue, in seconds: pub/sub may lose the wake-up.
RECHECK_SECONDS = 5.0
#: Shortest time from one promotion to the next, in seconds.
PROMOTION_SECONDS = 0.001
#: Interval of the search for missing automatic tasks, in seconds: they may have been cancelled,
#: been unreadable, or ended by a worker of a version that does not know the task as automatic.
RESEED_SECONDS = 60.0
#: Interval of the search for entries that nobody is given, in seconds: somebody else made them.
RECOVERY_SECONDS = 10.0
#: Interval of the reports of the backlog, in seconds; and after one that the server refused.
BACKLOG_SECONDS = 2.0
REFUSED_BACKLOG_SECONDS = 60.0
#: Heartbeats are read once an interval; after a gap of more intervals than this they are new.
LONGEST_GAP_HEARTBEATS = 3
#: They come with the heartbeats of the steward's own worker. The steward looks by itself where none
#: came for this many intervals,
LATE_HEARTBEATS = 1.5
#: and when a worker's timeout ends, at most this many times an interval.
LOOKS_A_HEARTBEAT = 20


class DeadWorkerDetector:
    """A detector of dead workers by heartbeats that no longer change. Pure.

    A heartbeat is compared with its earlier value as seen here, never with the clock of its writer.
    After an interruption of our own view all workers count as alive: a lost connection, or a server
    that was frozen for longer than the timeout, and with it every heartbeat.

    The age of a changed heartbeat is taken from the server's clock, which wrote both times:
    otherwise each death would be noticed up to one look later. It is trusted only back to the last
    look, since that clock may be adjusted, too.

    Args:
        patience_seconds: the time for which a heartbeat may stay unchanged.
        longest_gap_seconds: two looks that are further apart interrupt the view.
    """

    def __init__(self, patience_seconds: float, longest_gap_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._longest_gap_seconds = longest_gap_seconds
        self._looked_at = -math.inf
        self._seen: dict[bytes, tuple[int, float]] = {}
        self._view = -1

    def dead(self, beats: dict[bytes, int], server_now: int, now: float, view: int) -> list[bytes]:
        """Return the consumers whose heartbeat has not changed for longer than the timeout.

        Args:
            beats: the last heartbeat of each, in server milliseconds.
            server_now: the time at which they were read, in server milliseconds.
            now: our monotonic clock, in seconds.
            view: changes when the view was interrupted (connections lost so far).
        """
        earliest = self._looked_at
        if view != self._view or now - self._looked_at > self._longest_gap_seconds:
            self._seen, earliest = {}, now
        self._view, self._looked_at = view, now
        seen: dict[bytes, tuple[int, float]] = {}
        for name, beat in beats.items():
            before = self._seen.get(name)
            if before is not None and before[0] == beat:
                seen[name] = before
            else:
                written = now - max(0, server_now - beat) / 1000
                seen[name] = (beat, max(earliest, written))
        self._seen = seen
        return [name for name, (_, since) in seen.items() if now - since > self._patience_seconds]

    @property
    def looked_at(self) -> float:
        """The time of the last look, by the clock of `now`; minus infinity before the first."""
        return self._looked_at

    def next_deadline(self) -> float:
        """Return the earliest time, by the clock of `now`, at which a worker may count as dead."""
        earliest = min((since for _, since in self._seen.values()), default=math.inf)
        return earliest + self._patience_seconds


class Steward:
    """The duties that one worker performs for the pool, while it is appointed.

    Args:
        transitions: those of the docket.
        pipeline: the connection whose disruptions interrupt the view of other workers.
        subscriber: the subscriber, for the wake channel.
        keys: the keys of the docket.
        own_name: returns the present name of this worker's consumer.
        adopt: adopts a dead consumer without blame.
        heartbeat_interval: of the docket.
        missed_heartbeats: of the docket.
        redelivery_timeout: time after which a lease that was not renewed is lost.
        seed: schedules automatic tasks that are missing; None if this worker does not.
        report_backlog: reads the backlog and reports it; None if nobody listens.
    """

    def __init__(
        self,
        transitions: Transitions,
        pipeline: Pipeline,
        subscriber: Subscriber,
        keys: Keys,
        own_name: Callable[[], str],
        adopt: Callable[[str], Awaitable[object]],
        *,
        heartbeat_interval: timedelta,
        missed_heartbeats: int,
        redelivery_timeout: timedelta,
        seed: Callable[[], Awaitable[None]] | None = None,
        report_backlog: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._transitions = transitions
        self._pipeline = pipeline
        self._subscriber = subscriber
        self._channel = keys.wake_channel
        self._own_name = own_name
        self._adopt = adopt
        self._seed = seed
        self._report_backlog = report_backlog
        self._heartbeat_seconds = heartbeat_interval.total_seconds()
        self._redelivery_timeout = redelivery_timeout
        patience = self._heartbeat_seconds * missed_heartbeats
        self._detector = DeadWorkerDetector(
            patience, LONGEST_GAP_HEARTBEATS * self._heartbeat_seconds
        )
        self._look_not_before = -math.inf
        self._heard = asyncio.Event()
        self._unregistered: set[bytes] = set()
        self._patience_seconds = patience
        self._may_recover = True
        self._appointed = asyncio.Event()
        self._earlier = asyncio.Event()

    @property
    def is_appointed(self) -> bool:
        """Return whether it is the steward. Safe from another thread."""
        return self._appointed.is_set()

    def hear(self, heartbeats: Heartbeats) -> None:
        """Take the heartbeats of all that came with one of this worker; they save a look."""
        if self._appointed.is_set():
            self._dead(heartbeats)
            self._heard.set()

    def appoint(self, on: bool) -> None:
        """Become the steward, or stop being it."""
        if on:
            self._appointed.set()
        else:
            self._appointed.clear()
            self._earlier.set()

    async def run(self) -> None:
        """Perform the duties whenever appointed, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self._promote_due))
            group.create_task(self._repeat(self._adopt_dead))
            group.create_task(self._repeat(self._adopt_unregistered))
            group.create_task(self._repeat(self._sweep))
            group.create_task(self._repeat(self._recover))
            if self._seed is not None:
                group.create_task(self._repeat(self._reseed))
            if self._report_backlog is not None:
                group.create_task(self._repeat(self._report))

    async def _repeat(self, duty: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        while True:
            await self._appointed.wait()
            try:
                await duty()
                failures = 0
            except ServerUnavailable as error:
                failures += 1
                logger.debug("Steward: %s", error)
                await asyncio.sleep(backoff_seconds(failures))
            except NotPermitted:
                raise
            except RefusedCall as error:
                # Of one key that somebody overwrote: the other duties go on.
                failures += 1
                if failures == 1:
                    logger.error("Steward: %s. It is tried again until it works", error)
                await asyncio.sleep(backoff_seconds(failures))

    async def _promote_due(self) -> None:
        async with self._subscriber.listening(self._channel, self._on_earlier_task):
            while self._appointed.is_set():
                self._earlier.clear()
                promoted, pause = await self._transitions.promote()
                if promoted == BATCH_LIMIT:
                    continue
                seconds = RECHECK_SECONDS if pause is None else min(pause, RECHECK_SECONDS)
                if promoted:
                    # Thousands that are due in one second share calls.
                    seconds = max(seconds, PROMOTION_SECONDS)
                await occurs(self._earlier, seconds)

    def _on_earlier_task(self, _payload: bytes | None) -> None:
        self._earlier.set()

    async def _adopt_dead(self) -> None:
        """Adopt workers whose heartbeat stood still, at a look of its own, or wait until it is due.

        What is heard meanwhile puts that off: nobody is adopted by it, since a worker counts as
        dead at the end of its timeout only, when the steward looks.
        """
        late = self._detector.looked_at + LATE_HEARTBEATS * self._heartbeat_seconds
        due = min(late, max(self._look_not_before, self._detector.next_deadline()))
        if (wait := due - time.monotonic()) > 0:
            self._heard.clear()
            await occurs(self._heard, wait)
            return
        pause = self._heartbeat_seconds / LOOKS_A_HEARTBEAT
        for name in self._dead(await self._transitions.beats_at()):
            if not await self._adopt_logged(name, "its heartbeat stood still"):
                pause = self._heartbeat_seconds
        self._look_not_before = time.monotonic() + pause

    def _dead(self, heartbeats: Heartbeats) -> list[bytes]:
        server_now, beats = heartbeats
        beats.pop(self._own_name().encode(), None)
        return self._detector.dead(beats, server_now, time.monotonic(), self._pipeline.disruptions)

    async def _adopt_unregistered(self) -> None:
        """Adopt consumers that hold entries but are not registered: nothing else would.

        Only at the second sight: another adoption may be in progress at the first.
        """
        await asyncio.sleep(self._patience_seconds)
        consumers = await self._transitions.consumers()
        unregistered = consumers.pending.keys() - consumers.registered
        unregistered.discard(self._own_name().encode())
        for name in unregistered & self._unregistered:
            await self._adopt_logged(name, "it is not registered")
        self._unregistered = unregistered

    async def _adopt_logged(self, name: bytes, reason: str) -> bool:
        """Adopt a consumer and return whether that succeeded."""
        logger.warning(
            "Worker %s counts as dead (%s): its tasks go to others", name.decode(), reason
        )
        try:
            await self._adopt(name.decode())
        except NotPermitted:
            raise
        except RefusedCall as error:
            # An error with one consumer must not stop the adoption of others.
            logger.error("The tasks of worker %s cannot be adopted: %s", name.decode(), error)
            return False
        return True

    async def _reseed(self) -> None:
        """Schedule missing automatic tasks, after a pause: every worker does so at its start."""
        await asyncio.sleep(RESEED_SECONDS)
        if self._seed is not None and self._appointed.is_set():
            await self._seed()

    async def _report(self) -> None:
        """Report the backlog, then pause; a user that may not read it does everything else."""
        try:
            if self._report_backlog is not None:
                await self._report_backlog()
        except NotPermitted as error:
            logger.warning("Steward: the backlog is not reported for a minute: %s", error)
            await asyncio.sleep(REFUSED_BACKLOG_SECONDS)
        await asyncio.sleep(BACKLOG_SECONDS)

    async def _sweep(self) -> None:
        await asyncio.sleep(self._redelivery_timeout.total_seconds() / 4)
        moved = await self._transitions.sweep(self._redelivery_timeout)
        if moved:
            logger.warning("%d tasks are redelivered: their leases were not renewed", moved)
        mended = await self._transitions.limits.sweep()
        if mended:
            logger.warning("%d slots or waiters of limits had been left behind", mended)

    async def _recover(self) -> None:
        await asyncio.sleep(RECOVERY_SECONDS)
        if not self._may_recover:
            return
        try:
            moved = await self._transitions.recovery.recover()
        except NotPermitted as error:
            # A user that was made for an earlier version: nothing else depends on it.
            self._may_recover = False
            logger.warning("Tasks that were left behind in a stream are not looked for: %s", error)
            return
        if moved:
            logger.error(
                "%d tasks are delivered that nobody would have been given: somebody else changed "
                "the group or the streams of this docket, or restored some of its keys",
                moved,
            )
