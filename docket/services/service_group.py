"""The services of one worker around its exchanger, started and stopped in order."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from docket.instrumentation.readiness import Readiness
from docket.lifecycle import Requeued, Superseded
from docket.services.canceller import Canceller
from docket.services.exchanger import Exchanger, stop
from docket.services.heartbeater import Heartbeater, HeartbeatSettings
from docket.services.process_report import ProcessReport
from docket.services.runs import Consumer, Runs
from docket.services.statistics_reporter import StatisticsReporter
from docket.services.steward import Steward
from docket.services.wakeup_listener import WakeupListener

if TYPE_CHECKING:
    from docket.docket import Docket

#: Longest wait for a wake-up, in seconds; see WakeupListener.
WAKEUP_SECONDS = 2.0
#: Longest interval between renewals, in seconds: renewals also find missed cancellations.
RENEWAL_CAP_SECONDS = 15.0
#: The fraction of the time until this worker counts as dead, or its leases as lost, for which runs
#: that hold slots of a limit may go on without contact to the server; they end in the rest.
TENURE = 0.8
#: Time that the heartbeater has after an outage or a freeze before the worker is held, in seconds:
#: its attempts are at most one second apart.
GRACE_SECONDS = 2.0


class ServiceSettings(Struct, frozen=True):
    """The settings of a worker's services.

    redelivery_timeout: time after which a lease that is not renewed is lost.
    wakeup_seconds: longest wait of the wake-up listener.
    stall_timeout_seconds: loop silence after which heartbeat and leases lapse.
    keeper_interval_seconds: between two beats to the supervision.
    report: what heartbeats tell of the process.
    """

    redelivery_timeout: timedelta
    wakeup_seconds: float
    stall_timeout_seconds: float
    keeper_interval_seconds: float
    report: ProcessReport


def consumer_lifetime(docket: Docket) -> timedelta:
    """Return the lifetime of a consumer's keys without a heartbeat, longer than most outages."""
    return 10 * docket.heartbeat_interval * docket.missed_heartbeats


def shortest_lease(docket: Docket, redelivery_timeout: timedelta) -> timedelta:
    """Return the time without a sign of life after which a worker's tasks go to others."""
    return min(redelivery_timeout, docket.heartbeat_interval * docket.missed_heartbeats)


class ServiceGroup:
    """The canceller, steward, wake-up listener and heartbeater of one worker.

    Args:
        docket: the worker's docket.
        consumer: the worker's identity in the streams.
        runs: the worker's runs.
        exchanger: the worker's exchanger.
        readiness: receives the beats, and holds the worker while its leases may be lost.
        adopt: adopts a dead consumer without blame.
        seed: schedules automatic tasks that are missing; None if this worker does not.
        settings: the settings.
        statistics_reporter: hands in what the worker counts; None if no statistics are kept.
        report_backlog: reads the backlog and reports it; None if nobody listens.
    """

    def __init__(
        self,
        docket: Docket,
        consumer: Consumer,
        runs: Runs,
        exchanger: Exchanger,
        readiness: Readiness,
        adopt: Callable[[str], Awaitable[object]],
        seed: Callable[[], Awaitable[None]] | None,
        settings: ServiceSettings,
        statistics_reporter: StatisticsReporter | None = None,
        report_backlog: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._docket = docket
        self._consumer = consumer
        self._runs = runs
        self._exchanger = exchanger
        connections = docket.connections
        self._readiness = readiness
        #: What heartbeats tell of the process.
        self.report = settings.report
        self._pipeline = connections.pipeline
        self._statistics_reporter = statistics_reporter
        #: The time since which only the heartbeater is out of touch, by `time.monotonic()`.
        self._out_of_touch_since = math.inf
        self._seen_call: object | None = None
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
            report_backlog=report_backlog,
        )
        self.heartbeater = self._make_heartbeater(settings)
        self._canceller = Canceller(
            connections.subscriber, docket.keys, exchanger, self.heartbeater.renew_soon
        )
        self._listener = WakeupListener(
            connections.wakeup_connection(docket.keys), exchanger, settings.wakeup_seconds
        )

    def _make_heartbeater(self, settings: ServiceSettings) -> Heartbeater:
        docket = self._docket
        lease = settings.redelivery_timeout.total_seconds()
        heartbeat = docket.heartbeat_interval.total_seconds()
        return Heartbeater(
            docket.connections.lease_connection(docket.keys),
            self._consumer,
            self._runs,
            self._readiness,
            lambda: tuple(docket.tasks),
            self.report.made,
            HeartbeatSettings(
                interval=settings.keeper_interval_seconds,
                heartbeat=heartbeat,
                renewal=min(lease / 4, RENEWAL_CAP_SECONDS),
                stall_timeout=settings.stall_timeout_seconds,
                lifetime=consumer_lifetime(docket),
                # At least until a heartbeat is late: with one missed heartbeat allowed, a worker
                # would otherwise stop its runs between any two.
                beat_tenure=max(TENURE * heartbeat * docket.missed_heartbeats, 1.5 * heartbeat),
                lease_tenure=TENURE * lease,
            ),
            wants_beats=lambda: self.steward.is_appointed,
            on_beats=self.steward.hear,
            on_lost=self._lose,
            on_cancelled=self._cancel,
            on_fenced=self._exchanger.check_registration,
            on_expired=self._hold,
            on_valid=self._release,
            on_fault=self._exchanger.fail,
        )

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Run the services while the context lasts.

        The heartbeater starts first and stops last: leases are renewed until the last outcome is
        recorded.
        """
        async with AsyncExitStack() as stack:
            # A worker whose slots are all taken makes no call, and would not notice an outage.
            self._pipeline.on_disruption.add(self._exchanger.check_registration)
            stack.callback(self._pipeline.on_disruption.discard, self._exchanger.check_registration)
            self.heartbeater.start()
            stack.push_async_callback(self.heartbeater.stop)
            services = [self._canceller.run(), self.steward.run(), self._listener.run()]
            if self._statistics_reporter is not None:
                stack.push_async_callback(self._statistics_reporter.report_last)
                services.append(self._statistics_reporter.run())
            tasks = [asyncio.create_task(service) for service in services]
            stack.push_async_callback(_end, tasks)
            for task in tasks:
                task.add_done_callback(self._fail_on_fault)
            yield

    def _fail_on_fault(self, task: asyncio.Task[None]) -> None:
        # A service never ends by itself: without it the worker would go on, silently incomplete.
        error = None if task.cancelled() else task.exception()
        while isinstance(error, BaseExceptionGroup):
            # A service that is a task group wraps its error, which an `except` would then miss.
            error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
        if error is not None:
            self._exchanger.fail(error)

    def _lose(self, entries: list[bytes]) -> None:
        for entry in entries:
            run = self._runs.get(entry)
            # The heartbeater may see the result of an admission before its reply arrives here.
            if run is not None and not run.being_admitted:
                stop(run, Superseded(), self._exchanger)

    def _hold(self, trouble: str) -> None:
        self._give_up_slots()
        now = time.monotonic()
        if not self._pipeline.is_connected or self._server_is_silent():
            # Nothing can be claimed, and other workers are probably out of touch as well.
            self._out_of_touch_since = now
        self._out_of_touch_since = min(self._out_of_touch_since, now)
        if now - self._out_of_touch_since > GRACE_SECONDS:
            # Only the heartbeater is shut out (by maxclients, say): claimed tasks would go to
            # other workers.
            self._readiness.hold(f"its heartbeat and its leases cannot be renewed ({trouble})")
            # A worker that claims nothing and reports nothing would not find out that it is fenced.
            self._exchanger.check_registration()

    def _server_is_silent(self) -> bool:
        """Return whether the server has answered none of the worker's calls since the last look."""
        seen, self._seen_call = self._seen_call, self._pipeline.oldest_call
        return seen is not None and seen is self._seen_call

    def _release(self) -> None:
        self._out_of_touch_since = math.inf
        self._readiness.release()
        self._exchanger.exchange_soon()

    def _give_up_slots(self) -> None:
        """Stop the runs that hold slots: other workers may be given these slots at any moment."""
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
