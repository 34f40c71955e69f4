"""The keeper: one thread that says the worker lives and keeps the leases of what it runs.

A thread, so that a task that blocks the loop for some seconds loses nothing. But not blindly: when
the loop has been silent for `stall_timeout_seconds`, heartbeats and renewals stop, and others take
over. A heartbeat from a thread that hides a hung loop is worse than none.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from docket.errors import ServerUnavailable
from docket.services.runs import Consumer, Runs
from docket.store.connection.endpoint import backoff_seconds
from docket.store.connection.lease_connection import LeaseConnection
from docket.supervision import Supervision

logger = logging.getLogger("docket.worker")

#: How long the first heartbeat may take before somebody is told, in seconds.
FIRST_BEAT_SECONDS = 2.0
#: From a heartbeat under a name that was struck off to the next one, in seconds.
RETRY_SECONDS = 0.1
NO_ANSWER = "the server has not answered"


@dataclass(frozen=True, slots=True)
class HeartbeatSettings:
    """Intervals of a keeper, in seconds unless said otherwise.

    interval: how often the loop ticks and the supervision hears a beat.
    heartbeat: how often the heartbeat in Redis is written.
    renewal: how often leases are renewed: well within the redelivery timeout.
    stall_timeout: loop silence after which the worker is not kept alive any more.
    lifetime (timedelta): of the consumer's own keys without a beat.
    beat_tenure: how long after its last heartbeat a worker counts as alive, with a margin.
    lease_tenure: how long after their last renewal leases hold, with a margin.
    """

    interval: float
    heartbeat: float
    renewal: float
    stall_timeout: float
    lifetime: timedelta
    beat_tenure: float
    lease_tenure: float


class Heartbeater:
    """Heartbeat, leases, and the pulse of the loop.

    Args:
        connection: the thread's own.
        consumer: who we are.
        runs: whose leases are renewed, until their outcomes are acknowledged.
        supervision: hears the beats.
        function_names: what this worker can run.
        settings: the intervals.
        on_lost: called on the loop with entries that are not ours any more.
        on_cancelled: called on the loop with entries that someone cancelled.
        on_struck_off: called on the loop when the consumer is not registered any more.
        on_unkept: called on the loop, again and again, while others may take us for dead, or our
            leases for lost, and we cannot tell; with what the last attempt failed of.
        on_kept: called on the loop after the first heartbeat, and when they cannot any more.
        on_fault: called on the loop with the error that ended the thread.
    """

    def __init__(
        self,
        connection: LeaseConnection,
        consumer: Consumer,
        runs: Runs,
        supervision: Supervision,
        function_names: Callable[[], Sequence[str]],
        settings: HeartbeatSettings,
        *,
        on_lost: Callable[[list[bytes]], None],
        on_cancelled: Callable[[list[bytes]], None],
        on_struck_off: Callable[[], None],
        on_unkept: Callable[[str], None],
        on_kept: Callable[[], None],
        on_fault: Callable[[BaseException], None],
    ) -> None:
        self._connection = connection
        self._consumer = consumer
        self._runs = runs
        self._supervision = supervision
        self._function_names = function_names
        self._settings = settings
        self._on_lost = on_lost
        self._on_cancelled = on_cancelled
        self._on_struck_off = on_struck_off
        self._on_unkept = on_unkept
        self._on_kept = on_kept
        self._on_fault = on_fault
        #: When the last heartbeat and the last renewal that succeeded were sent.
        self._beaten_at = self._renewed_at = self._started_at = time.monotonic()
        self._stopping = threading.Event()
        self._is_hurried = False
        #: Whether somebody may take us for dead, as far as was told. Only the loop writes it.
        self._is_unkept = True
        self._has_beaten = False
        self._trouble = NO_ANSWER
        self._ended = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._loop = asyncio.get_running_loop()
        self._ticked_at = time.monotonic()
        self._tick_handle: asyncio.TimerHandle | None = None
        #: How late the loop's last tick was, in seconds.
        self.loop_lag_seconds = 0.0

    def start(self) -> None:
        """Begin to tick, and start the thread."""
        self._started_at = self._ticked_at = self._renewed_at = time.monotonic()
        self._schedule_tick()
        self._thread = threading.Thread(target=self._keep, name="docket keeper", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the thread, after the last outcome is recorded; twice is fine."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            # Not by an executor's thread: the tasks may have all of those, and keep them.
            await self._ended.wait()
            thread.join()
        if self._tick_handle is not None:
            self._tick_handle.cancel()

    def renew_soon(self) -> None:
        """Renew within the interval: a renewal is also how a cancellation is seen in the record."""
        self._is_hurried = True

    # On the loop --------------------------------------------------------------------------

    def _schedule_tick(self) -> None:
        due = self._loop.time() + self._settings.interval
        self._tick_handle = self._loop.call_at(due, self._tick, due)

    def _tick(self, due: float) -> None:
        self._ticked_at = time.monotonic()
        self.loop_lag_seconds = max(0.0, self._loop.time() - due)
        self._schedule_tick()
        # Here and not in the thread, which may be waiting for a server that does not answer.
        self._judge()

    def _judge(self) -> None:
        if time.monotonic() > self._kept_until():
            self._is_unkept = True
            self._on_unkept(self._trouble)
        elif self._is_unkept and self._has_beaten:
            self._is_unkept = False
            self._on_kept()

    def _kept_until(self) -> float:
        if not self._has_beaten:
            return self._started_at + FIRST_BEAT_SECONDS
        return min(
            self._beaten_at + self._settings.beat_tenure,
            self._renewed_at + self._settings.lease_tenure,
        )

    # In the thread ------------------------------------------------------------------------

    def _keep(self) -> None:
        try:
            self._go_round()
        except Exception as error:
            # In silence the worker would work on, and be taken for dead.
            fault = error
            self._tell(lambda: self._on_fault(fault))
        finally:
            self._connection.close()
            self._tell(self._ended.set)

    def _go_round(self) -> None:
        beat, renew = self._beat, self._renew
        intervals = {beat: self._settings.heartbeat, renew: self._settings.renewal}
        retry_at = time.monotonic()
        due = {beat: retry_at, renew: retry_at + intervals[renew]}
        failures = 0
        while not self._stopping.wait(self._pause(max(retry_at, min(due.values())))):
            now = time.monotonic()
            silence = now - self._ticked_at
            self._supervision.beat(
                max(0.0, silence - self._settings.interval), self._culprit(silence)
            )
            if self._is_hurried:
                self._is_hurried, due[renew] = False, min(now, due[renew])
            # One a round, what waits longest first: while nobody answers each is tried in turn, on
            # one connection, and what alone is refused holds up nothing else.
            duty = min(due, key=lambda each: due[each])
            if silence > self._settings.stall_timeout or now < max(retry_at, due[duty]):
                continue
            try:
                is_done = duty()
                due[duty], failures = now + (intervals[duty] if is_done else RETRY_SECONDS), 0
                if self._is_unkept:
                    self._tell(self._judge)
            except ServerUnavailable as error:
                # The exchanger has said it already; the next round connects anew. Soon: after an
                # outage others judge whose heartbeat and leases are written again. But not all
                # workers of all pools in step.
                logger.debug("Heartbeater: %s", error)
                self._trouble = str(error)
                failures += 1
                due[duty] = retry_at = time.monotonic() + backoff_seconds(failures)

    def _pause(self, due: float) -> float:
        # Never 0: while the loop is silent nothing that is due is done, and this must not spin.
        return min(self._settings.interval, max(due - time.monotonic(), 0.005))

    def _culprit(self, silence: float) -> str | None:
        if silence < 2 * self._settings.interval:
            return None
        task = asyncio.current_task(self._loop)
        return None if task is None else self._runs.key_of(task)

    def _beat(self) -> bool:
        sent_at = time.monotonic()
        registered = self._connection.beat(
            self._consumer.name, self._function_names(), self._settings.lifetime
        )
        if registered:
            self._beaten_at, self._has_beaten, self._trouble = sent_at, True, NO_ANSWER
        else:
            # Soon the consumer has another name, and under that one nothing is written yet.
            self._tell(self._on_struck_off)
        return registered

    def _renew(self) -> bool:
        sent_at, leases = time.monotonic(), self._runs.leases()
        lost, cancelled = list[bytes](), list[bytes]()
        if leases:
            lost, cancelled = self._connection.renew(self._consumer.name, leases)
        self._renewed_at = sent_at
        if lost:
            self._tell(lambda: self._on_lost(lost))
        if cancelled:
            self._tell(lambda: self._on_cancelled(cancelled))
        return True

    def _tell(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop is closed: nobody is left to hear it, and nothing runs there any more.
            self._stopping.set()
