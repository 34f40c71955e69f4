"""The crew: everything that serves a worker around its exchanger, started and ended in order."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from docket.instrumentation.readiness import Readiness
from docket.lifecycle import Requeued, Superseded
from docket.services.canceller import Canceller
from docket.services.exchanger import Exchanger, stop
from docket.services.heartbeater import Heartbeater, HeartbeatSettings
from docket.services.runs import Consumer, Runs
from docket.services.steward import Steward
from docket.services.wakeup_listener import WakeupListener

if TYPE_CHECKING:
    from docket.docket import Docket

#: Longest wait for the bell, in seconds; see WakeupListener.
BELL_SECONDS = 2.0
#: Most that a renewal waits, in seconds: it is also how a missed cancellation is noticed.
RENEWAL_CAP_SECONDS = 15.0
#: The part of the time after which others take us for dead that we may be out of touch with the
#: server and go on with what holds slots of a limit: the rest is for it to end in.
TENURE = 0.8
#: How long the keeper may take, after an outage or a freeze, before the worker is held for it, in
#: seconds: its attempts are at most one apart.
GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What a worker's services go by.

    redelivery_timeout: when a lease that is not renewed is lost.
    bell_seconds: longest wait of the bell listener.
    stall_timeout_seconds: loop silence after which heartbeat and leases lapse.
    keeper_interval_seconds: between two beats of the keeper.
    """

    redelivery_timeout: timedelta
    bell_seconds: float
    stall_timeout_seconds: float
    keeper_interval_seconds: float


def consumer_lifetime(docket: Docket) -> timedelta:
    """How long a consumer's own keys live without a beat: longer than an outage's recovery."""
    return 10 * docket.heartbeat_interval * docket.missed_heartbeats


def shortest_lease(docket: Docket, redelivery_timeout: timedelta) -> timedelta:
    """After this long without a sign of life what a worker claimed goes to others."""
    return min(redelivery_timeout, docket.heartbeat_interval * docket.missed_heartbeats)


class ServiceGroup:
    """Canceller, steward, bell listener and keeper of one worker.

    Args:
        docket: whose worker.
        consumer: who it is to the streams.
        runs: what it runs.
        exchanger: whom they serve.
        standing: hears the keeper's beats, and whether it keeps what is claimed.
        adopt: adopts a dead consumer without blame.
        seed: schedules automatic tasks that are missing; None if this worker does not.
        settings: intervals.
    """

    def __init__(
        self,
        docket: Docket,
        consumer: Consumer,
        runs: Runs,
        exchanger: Exchanger,
        standing: Readiness,
        adopt: Callable[[str], Awaitable[object]],
        seed: Callable[[], Awaitable[None]] | None,
        settings: ServiceSettings,
    ) -> None:
        self._docket = docket
        self._consumer = consumer
        self._runs = runs
        self._exchanger = exchanger
        connections = docket.connections
        self._readiness = standing
        self._pipeline = connections.pipeline
        #: Since when the keeper alone is out of touch, by `time.monotonic()`.
        self._out_of_touch_since = math.inf
        self._seen_call: object | None = None
        self.keeper = self._make_keeper(settings)
        self._canceller = Canceller(
            connections.subscriber, docket.keys, exchanger, self.keeper.renew_soon
        )
        self._listener = WakeupListener(
            connections.bell(docket.keys), exchanger, settings.bell_seconds
        )
        #: Idle until it is appointed.
        self.steward = Steward(
            docket.transitions,
            connections.pipeline,
            connections.subscriber,
            docket.keys,
            lambda: consumer.name,
            adopt,
            heartbeat_interval=docket.heartbeat_interval,
            missed_heartbeats=docket.missed_heartbeats,
            redelivery_timeout=settings.redelivery_timeout,
            seed=seed,
        )

    def _make_keeper(self, settings: ServiceSettings) -> Heartbeater:
        docket = self._docket
        lease = settings.redelivery_timeout.total_seconds()
        heartbeat = docket.heartbeat_interval.total_seconds()
        return Heartbeater(
            docket.connections.lease_connection(docket.keys),
            self._consumer,
            self._runs,
            self._readiness,
            lambda: tuple(docket.tasks),
            HeartbeatSettings(
                interval=settings.keeper_interval_seconds,
                heartbeat=heartbeat,
                renewal=min(lease / 4, RENEWAL_CAP_SECONDS),
                stall_timeout=settings.stall_timeout_seconds,
                lifetime=consumer_lifetime(docket),
                # Never less than a heartbeat takes to be late: with one missed heartbeat allowed,
                # a worker would stop what it runs between any two.
                beat_tenure=max(TENURE * heartbeat * docket.missed_heartbeats, 1.5 * heartbeat),
                lease_tenure=TENURE * lease,
            ),
            on_lost=self._lose,
            on_cancelled=self._cancel,
            on_struck_off=self._exchanger.doubt,
            on_unkept=self._hold,
            on_kept=self._release,
            on_fault=self._exchanger.fail,
        )

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Serve while the context lasts.

        The keeper starts first and ends last: leases live until the last outcome is recorded.
        """
        async with AsyncExitStack() as stack:
            self.keeper.start()
            stack.push_async_callback(self.keeper.stop)
            services = (self._canceller.run(), self.steward.run(), self._listener.run())
            tasks = [asyncio.create_task(service) for service in services]
            stack.push_async_callback(_end, tasks)
            for task in tasks:
                task.add_done_callback(self._fail_on_fault)
            yield

    def _fail_on_fault(self, task: asyncio.Task[None]) -> None:
        # A service never ends of itself: without it the worker would go on half dead, in silence.
        error = None if task.cancelled() else task.exception()
        while isinstance(error, BaseExceptionGroup):
            # A service that is a group of tasks wraps it, and an `except` for it would miss it.
            error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
        if error is not None:
            self._exchanger.fail(error)

    def _lose(self, entries: list[bytes]) -> None:
        for entry in entries:
            run = self._runs.get(entry)
            # The keeper may see what became of it before the answer is here that says so.
            if run is not None and not run.being_admitted:
                stop(run, Superseded(), self._exchanger)

    def _hold(self, trouble: str) -> None:
        self._give_up_slots()
        now = time.monotonic()
        if not self._pipeline.is_connected or self._is_mute():
            # Nothing can be claimed, and others are out of touch as well.
            self._out_of_touch_since = now
        self._out_of_touch_since = min(self._out_of_touch_since, now)
        if now - self._out_of_touch_since > GRACE_SECONDS:
            # The keeper alone is shut out (maxclients, say): what we claimed would go to others.
            self._readiness.hold(f"its heartbeat and its leases cannot be renewed ({trouble})")
            # Who claims nothing and has nothing to hand in would never hear that it was struck off.
            self._exchanger.doubt()

    def _is_mute(self) -> bool:
        """Whether the server has said nothing to the worker's calls since the last look."""
        seen, self._seen_call = self._seen_call, self._pipeline.oldest_call
        return seen is not None and seen is self._seen_call

    def _release(self) -> None:
        self._out_of_touch_since = math.inf
        self._readiness.release()
        self._exchanger.look()

    def _give_up_slots(self) -> None:
        """Others may be given the slots of what runs here, any moment now."""
        for run in self._runs:
            if run.holds_slots:
                stop(run, Requeued(), self._exchanger)

    def _cancel(self, entries: list[bytes]) -> None:
        for entry in entries:
            self._exchanger.cancelled(entry)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
