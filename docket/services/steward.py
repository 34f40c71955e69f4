"""The steward: what a pool needs done once: promote due tasks, notice the dead, sweep lost leases.

Two at once do no harm: every step is idempotent. It sleeps until exactly the next due time; the
wake channel tells it when an earlier one arrives.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from docket.errors import NotPermitted, RefusedCall, ServerUnavailable
from docket.store.coalescing import BATCH_LIMIT
from docket.store.connection.endpoint import backoff_seconds
from docket.store.connection.pipeline import Pipeline
from docket.store.connection.subscriber import Subscriber
from docket.store.keys import Keys
from docket.store.transitions import Transitions

logger = logging.getLogger("docket.worker")

#: Looks at the queue at least this often, in seconds: pub/sub may lose the wake-up.
RECHECK_SECONDS = 5.0
#: Looks so often for automatic tasks that are missing, in seconds: cancelled, failed to be read, or
#: gone with the record of a run that a worker of another version ended.
RESEED_SECONDS = 60.0
#: Beats are looked at once a heartbeat interval; looks further apart than so many saw nothing.
LONGEST_GAP_HEARTBEATS = 3
#: And when somebody's patience ends, at most so many times a heartbeat interval.
LOOKS_A_HEARTBEAT = 20


class DeadWorkerDetector:
    """Who is dead, judged by beats that do not change: pure, the caller brings values and clock.

    A beat is compared with itself as seen from here, never with the clock of its writer. After an
    interruption of our own view nobody is dead yet: a lost connection, or a server that stood still
    for longer than the patience, and with it every beat.

    When a beat that is new since the last look was written is told by its age by the server's
    clock, which both times are of: else every death would be noticed up to a look later. It is
    believed only as far as back to the last look, for that clock may be set, too.

    Args:
        patience_seconds: how long a beat may stand still.
        longest_gap_seconds: two looks that are further apart interrupt the view.
    """

    def __init__(self, patience_seconds: float, longest_gap_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._longest_gap_seconds = longest_gap_seconds
        self._looked_at = -math.inf
        self._seen: dict[bytes, tuple[int, float]] = {}
        self._view = -1

    def dead(self, beats: dict[bytes, int], server_now: int, now: float, view: int) -> list[bytes]:
        """The consumers whose beat stood still for longer than the patience.

        Args:
            beats: the last beat of each, in server milliseconds.
            server_now: when they were read, in server milliseconds.
            now: a monotonic clock of ours, in seconds.
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

    def next_end_of_patience(self) -> float:
        """When the next one is dead that does not beat, by the clock of `now`; inf for nobody."""
        earliest = min((since for _, since in self._seen.values()), default=math.inf)
        return earliest + self._patience_seconds


class Steward:
    """Does what is needed once a pool, while it is appointed.

    Args:
        records: of the docket.
        pipeline: whose disruptions interrupt our view of others.
        subscriber: for the wake channel.
        keys: of the docket.
        own_name: of this worker's consumer, at the time of asking.
        adopt: adopts a dead consumer without blame.
        heartbeat_interval, missed_heartbeats: of the docket.
        redelivery_timeout: after which a lease that was not renewed is lost.
        seed: schedules automatic tasks that are missing; None if this worker does not.
    """

    def __init__(
        self,
        records: Transitions,
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
    ) -> None:
        self._records = records
        self._pipeline = pipeline
        self._subscriber = subscriber
        self._channel = keys.wake_channel
        self._own_name = own_name
        self._adopt = adopt
        self._seed = seed
        self._heartbeat_seconds = heartbeat_interval.total_seconds()
        self._redelivery_timeout = redelivery_timeout
        patience = self._heartbeat_seconds * missed_heartbeats
        self._watch = DeadWorkerDetector(patience, LONGEST_GAP_HEARTBEATS * self._heartbeat_seconds)
        self._strangers: set[bytes] = set()
        self._patience_seconds = patience
        self._appointed = asyncio.Event()
        self._earlier = asyncio.Event()

    def appoint(self, on: bool) -> None:
        """Begin or cease to be the steward."""
        if on:
            self._appointed.set()
        else:
            self._appointed.clear()
            self._earlier.set()

    async def run(self) -> None:
        """Serve whenever appointed, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self._promote_due))
            group.create_task(self._repeat(self._bury_dead))
            group.create_task(self._repeat(self._bury_unregistered))
            group.create_task(self._repeat(self._sweep))
            if self._seed is not None:
                group.create_task(self._repeat(self._reseed))

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

    async def _promote_due(self) -> None:
        async with self._subscriber.listening(self._channel, self._hear_earlier):
            while self._appointed.is_set():
                self._earlier.clear()
                now, promoted, due = await self._records.promote()
                if promoted == BATCH_LIMIT:
                    continue
                pause = RECHECK_SECONDS if due is None else (due - now) / 1000
                if pause > 0:
                    await self._sleep(min(pause, RECHECK_SECONDS))

    async def _sleep(self, seconds: float) -> None:
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the event.
            async with asyncio.timeout(seconds):
                await self._earlier.wait()
        except TimeoutError:
            pass

    def _hear_earlier(self, _payload: bytes | None) -> None:
        self._earlier.set()

    async def _bury_dead(self) -> None:
        server_now, beats = await self._records.beats_at()
        own = self._own_name().encode()
        beats.pop(own, None)
        now = time.monotonic()
        pause = self._heartbeat_seconds / LOOKS_A_HEARTBEAT
        for name in self._watch.dead(beats, server_now, now, self._pipeline.disruptions):
            if not await self._adopt_logged(name, "its heartbeat stood still"):
                pause = self._heartbeat_seconds
        until_next = self._watch.next_end_of_patience() - time.monotonic()
        await asyncio.sleep(min(self._heartbeat_seconds, max(pause, until_next)))

    async def _bury_unregistered(self) -> None:
        """Consumers that hold entries and are not registered: nobody else will ever come for them.

        Not at first sight: an adoption by somebody else may be under way.
        """
        await asyncio.sleep(self._patience_seconds)
        consumers = await self._records.group_consumers()
        registered = await self._records.beats()
        own = self._own_name().encode()
        strangers = {name for name in consumers if name not in registered and name != own}
        for name in strangers & self._strangers:
            await self._adopt_logged(name, "it is not registered")
        self._strangers = strangers

    async def _adopt_logged(self, name: bytes, reason: str) -> bool:
        """Whether it is done."""
        logger.warning(
            "Worker %s counts as dead (%s): its tasks go to others", name.decode(), reason
        )
        try:
            await self._adopt(name.decode())
        except NotPermitted:
            raise
        except RefusedCall as error:
            # What the server refuses of one consumer is no reason to look after nothing else.
            logger.error("The tasks of worker %s cannot be adopted: %s", name.decode(), error)
            return False
        return True

    async def _reseed(self) -> None:
        """After a pause: every worker seeds at its start."""
        await asyncio.sleep(RESEED_SECONDS)
        if self._seed is not None and self._appointed.is_set():
            await self._seed()

    async def _sweep(self) -> None:
        await asyncio.sleep(self._redelivery_timeout.total_seconds() / 4)
        moved = await self._records.sweep(self._redelivery_timeout)
        if moved:
            logger.warning("%d tasks are redelivered: their leases were not renewed", moved)
        mended = await self._records.limits.sweep()
        if mended:
            logger.warning("%d slots or waiters of limits had been left behind", mended)
