"""The heartbeater: a thread that writes heartbeats and renews the leases of the running tasks.

It is a thread so that a task that blocks the loop for some seconds loses nothing. Once the loop has
been silent for `stall_timeout_seconds`, heartbeats and renewals stop and other workers take over: a
heartbeat from a thread that hides a hung loop is worse than none.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from msgspec import Struct

from docket.errors import ServerUnavailable
from docket.services.runs import Consumer, Runs
from docket.store.connection.backoff import backoff_seconds
from docket.store.connection.lease_connection import LeaseConnection
from docket.store.heartbeats import Heartbeats
from docket.supervision import Supervision

logger = logging.getLogger("docket.worker")

#: Time limit for the first heartbeat before the worker is held, in seconds.
FIRST_BEAT_SECONDS = 2.0
#: After a silence of the whole process of this length, in seconds, its tenure is judged later:
SILENCE_SECONDS = 1.0
#: the time that the thread then has to ask the server, in seconds.
RESUMPTION_SECONDS = 1.0
#: Time between two heartbeats that tell of the process too, in seconds: people look now and then.
REPORT_SECONDS = 10.0
#: Delay before the next heartbeat after one under the name of a fenced consumer, in seconds.
RETRY_SECONDS = 0.1
NO_ANSWER = "the server has not answered"


class HeartbeatSettings(Struct, frozen=True):
    """The intervals of a heartbeater, in seconds except for `lifetime`.

    interval: between two ticks of the loop, and two beats to the supervision.
    heartbeat: between two heartbeats in Redis.
    renewal: between two renewals of the leases: well within the redelivery timeout.
    stall_timeout: loop silence after which heartbeats and renewals stop.
    lifetime: of the consumer's own keys without a heartbeat.
    beat_tenure: time for which a worker counts as alive after a heartbeat, less a margin.
    lease_tenure: time for which leases hold after a renewal, less a margin.
    """

    interval: float
    heartbeat: float
    renewal: float
    stall_timeout: float
    lifetime: timedelta
    beat_tenure: float
    lease_tenure: float


class Heartbeater:
    """A thread for heartbeats and lease renewals, and a monitor of the loop.

    Callbacks run on the loop, those that return a value in the thread.

    Args:
        connection: the thread's own connection.
        consumer: the identity of this worker.
        runs: the runs whose leases are renewed, until their outcomes are acknowledged.
        supervision: receives the beats.
        function_names: returns the names of the tasks that this worker can run.
        report: makes what a heartbeat tells of the process, called with the longest lag since.
        settings: the intervals.
        wants_beats: returns whether `on_beats` is to be called.
        on_beats: called with the heartbeats of all workers, after one of this worker.
        on_lost: called with entries that this worker no longer owns.
        on_cancelled: called with the entries of cancelled tasks.
        on_fenced: called when the consumer is no longer registered.
        on_expired: called repeatedly while heartbeat or leases may have expired; with the error of
            the last attempt.
        on_valid: called after the first heartbeat, and when they are up to date again.
        on_fault: called with the error that ended the thread.
    """

    def __init__(
        self,
        connection: LeaseConnection,
        consumer: Consumer,
        runs: Runs,
        supervision: Supervision,
        function_names: Callable[[], Sequence[str]],
        report: Callable[[float], bytes],
        settings: HeartbeatSettings,
        *,
        wants_beats: Callable[[], bool],
        on_beats: Callable[[Heartbeats], None],
        on_lost: Callable[[list[bytes]], None],
        on_cancelled: Callable[[list[bytes]], None],
        on_fenced: Callable[[], None],
        on_expired: Callable[[str], None],
        on_valid: Callable[[], None],
        on_fault: Callable[[BaseException], None],
    ) -> None:
        self._connection = connection
        self._consumer = consumer
        self._runs = runs
        self._supervision = supervision
        self._function_names = function_names
        self._report = report
        #: The consumer under whose name the process was told of last, and when.
        self._reported: tuple[str, float] = "", -math.inf
        self._settings = settings
        self._wants_beats = wants_beats
        self._on_beats = on_beats
        self._on_lost = on_lost
        self._on_cancelled = on_cancelled
        self._on_fenced = on_fenced
        self._on_expired = on_expired
        self._on_valid = on_valid
        self._on_fault = on_fault
        #: Times at which the last successful heartbeat and the last successful renewal were sent.
        self._beaten_at = self._renewed_at = self._started_at = time.monotonic()
        self._stopping = threading.Event()
        self._is_hurried = False
        #: The end of the last silence. Whether it was fenced meanwhile is the server's to say: its
        #: supervisor may have vouched for it.
        self._resumed_at = -math.inf
        #: The last state passed to on_expired or on_valid. Written on the loop only.
        self._is_expired = True
        self._has_beaten = False
        self._trouble = NO_ANSWER
        self._ended = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._loop = asyncio.get_running_loop()
        self._ticked_at = time.monotonic()
        self._tick_handle: asyncio.TimerHandle | None = None
        #: Delay of the loop's last tick, in seconds.
        self.loop_lag_seconds = 0.0
        #: The longest since the process was told of.
        self._longest_lag = 0.0

    def start(self) -> None:
        """Start the ticks on the loop, and the thread."""
        self._started_at = self._ticked_at = self._renewed_at = time.monotonic()
        self._schedule_tick()
        self._thread = threading.Thread(target=self._serve, name="docket heartbeater", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop the thread; called after the last outcome is recorded. Idempotent."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            # Not joined in an executor's thread: the tasks may occupy all of them.
            await self._ended.wait()
            thread.join()
        if self._tick_handle is not None:
            self._tick_handle.cancel()

    def renew_soon(self) -> None:
        """Renew within the interval: renewals also find the cancellations in the records."""
        self._is_hurried = True

    # On the loop --------------------------------------------------------------------------

    def _schedule_tick(self) -> None:
        due = self._loop.time() + self._settings.interval
        self._tick_handle = self._loop.call_at(due, self._tick, due)

    def _tick(self, due: float) -> None:
        self._ticked_at = time.monotonic()
        self.loop_lag_seconds = max(0.0, self._loop.time() - due)
        self._longest_lag = max(self._longest_lag, self.loop_lag_seconds)
        if self.loop_lag_seconds > SILENCE_SECONDS:
            self._resumed_at = self._ticked_at
        self._schedule_tick()
        # Not in the thread, which may be waiting for a server that does not answer.
        self._check_tenure()

    def _check_tenure(self) -> None:
        if time.monotonic() > max(self._kept_until(), self._resumed_at + RESUMPTION_SECONDS):
            self._is_expired = True
            self._on_expired(self._trouble)
        elif self._is_expired and self._has_beaten:
            self._is_expired = False
            self._on_valid()

    def _kept_until(self) -> float:
        if not self._has_beaten:
            return self._started_at + FIRST_BEAT_SECONDS
        return min(
            self._beaten_at + self._settings.beat_tenure,
            self._renewed_at + self._settings.lease_tenure,
        )

    # In the thread ------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._loop_until_stopped()
        except Exception as error:
            # Without a report the worker would work on and count as dead.
            fault = error
            self._tell(lambda: self._on_fault(fault))
        finally:
            self._connection.close()
            self._tell(self._ended.set)

    def _loop_until_stopped(self) -> None:
        beat, renew = self._beat, self._renew
        intervals = {beat: self._settings.heartbeat, renew: self._settings.renewal}
        retry_at = time.monotonic()
        due = {beat: retry_at, renew: retry_at + intervals[renew]}
        failures = 0
        while not self._stopping.wait(self._pause(max(retry_at, min(due.values())))):
            now = time.monotonic()
            silence = now - self._ticked_at
            self._supervision.beat(
                max(0.0, silence - self._settings.interval), self._blocking_key(silence)
            )
            if self._is_hurried:
                self._is_hurried, due[renew] = False, min(now, due[renew])
            # One duty a round, the most overdue first: without an answer each is tried in turn on
            # the one connection, so a duty that fails alone does not delay the other.
            duty = min(due, key=lambda each: due[each])
            if silence > self._settings.stall_timeout or now < max(retry_at, due[duty]):
                continue
            try:
                is_done = duty()
                due[duty], failures = now + (intervals[duty] if is_done else RETRY_SECONDS), 0
                if self._is_expired:
                    self._tell(self._check_tenure)
            except ServerUnavailable as error:
                # The exchanger has logged it; the next round reconnects. Soon, since after an
                # outage other workers look for heartbeats and leases that are not renewed; but
                # with jitter, so that not all workers of all pools come at once.
                logger.debug("Heartbeater: %s", error)
                self._trouble = str(error)
                failures += 1
                due[duty] = retry_at = time.monotonic() + backoff_seconds(failures)

    def _pause(self, due: float) -> float:
        # Never 0: while the loop is silent, duties stay due, and the thread must not spin.
        return min(self._settings.interval, max(due - time.monotonic(), 0.005))

    def _blocking_key(self, silence: float) -> str | None:
        if silence < 2 * self._settings.interval:
            return None
        task = asyncio.current_task(self._loop)
        return None if task is None else self._runs.key_of(task)

    def _beat(self) -> bool:
        sent_at = time.monotonic()
        consumer, report = self._consumer.name, b""
        if self._reported[0] != consumer or sent_at - self._reported[1] >= REPORT_SECONDS:
            report = self._report(self._lag_to_tell(sent_at))
        registered = self._connection.beat(
            consumer,
            self._function_names(),
            self._settings.lifetime,
            report,
            self._tell_of_beats if self._wants_beats() else None,
        )
        if registered:
            if report:
                self._reported, self._longest_lag = (consumer, sent_at), 0.0
            self._beaten_at, self._has_beaten, self._trouble = sent_at, True, NO_ANSWER
        else:
            # The consumer will get a new name, under which no heartbeat is written yet.
            self._tell(self._on_fenced)
        return registered

    def _tell_of_beats(self, heartbeats: Heartbeats) -> None:
        self._tell(lambda: self._on_beats(heartbeats))

    def _lag_to_tell(self, now: float) -> float:
        """Return the longest delay of a tick since the last report, or of the one that is due."""
        return max(self._longest_lag, now - self._ticked_at - self._settings.interval, 0.0)

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
            # The loop is closed: nothing runs there any more.
            self._stopping.set()
