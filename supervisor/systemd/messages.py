"""The messages to the service manager: systemd's notify protocol as decisions (pure).

`service_status` sums up the state of a run; `NotifyProtocol` compares that with its last messages
and returns the datagrams that are due. So each message is true when it is sent, whatever happened
since the last one, and a call too many sends nothing.

            nothing ──READY=1──► ready ──RELOADING=1──► reloading
               │                   │  ◄────READY=1─────    │
               └───────────────────┴──────STOPPING=1───────┴──► stopping

Source of the rules: sd_notify(3), systemd.service(5). The last of READY=1, RELOADING=1 and
STOPPING=1 in a datagram is the only one that counts, so each has a datagram of its own.
"""

import math
from enum import Enum, auto

from msgspec import Struct

from supervisor.grace_periods import ADOPTION_SECONDS, CLEANUP_SECONDS, EXIT_SECONDS
from supervisor.pool.state.nursery_registry import Phase
from supervisor.pool.state.pool_state import PoolState
from supervisor.pool.state.worker_registry import LATE_SECONDS
from supervisor.text.plurals import pluralize

#: A STATUS= that only changed its words waits for this long after the one before: a pool in
#: trouble changes them at every event.
STATUS_SECONDS = 1.0
#: The extension that a boot, a reload or a drain asks for at a time, and the interval: a supervisor
#: that hangs in one is killed that much later, and two lost datagrams do no harm.
EXTENSION_SECONDS = 20.0
EXTEND_EVERY_SECONDS = 5.0
#: The time that the steps after the deadline of a drain may take: cancelled tasks clean up, their
#: processes end, the tasks of killed ones are adopted, the nurseries end.
OVERTIME_SECONDS = CLEANUP_SECONDS + 2 * EXIT_SECONDS + ADOPTION_SECONDS
#: Most characters of a STATUS= line; a datagram of more than 4096 bytes is dropped unread.
MOST_STATUS = 500


class ServiceStatus(Struct, frozen=True):
    """The state of a run at one instant, as far as it concerns the service manager.

    Arguments:
        state: that of /status: starting, running, reloading or draining.
        status: the text of STATUS=.
        needs_time: True while a boot, a reload or a drain has no time limit, or has not reached it.
        is_healthy: False if a restart by the service manager would help.
    """

    state: str
    status: str
    needs_time: bool
    is_healthy: bool


def service_status(pool_state: PoolState, now: float) -> ServiceStatus:
    """Sum up a run at `now`, in seconds of the monotonic clock."""
    return ServiceStatus(
        pool_state.state,
        _status(pool_state, now),
        _needs_time(pool_state, now),
        _is_healthy(pool_state, now),
    )


# The text of STATUS=.


def _status(pool_state: PoolState, now: float) -> str:
    parts = [_headline(pool_state, now)]
    if pool_state.drain is not None:
        parts += [pool_state.drain.reason] if pool_state.drain.reason else []
    else:
        parts += [f"the server is away: {reason}" for reason in pool_state.waiting_for()[:1]]
        if pool_state.reload_error is not None:
            parts.append(f"the last reload failed: {pool_state.reload_error}")
    return _one_line("; ".join(parts))


def _headline(pool_state: PoolState, now: float) -> str:
    ready = (
        f"{pool_state.ready_slots(now)} of {pluralize(pool_state.registry.target, 'worker')} ready"
    )
    match pool_state.state:
        case "draining":
            workers = list(pool_state.registry.alive())
            tasks = pluralize(sum(each.in_flight for each in workers), "task")
            return f"draining: {tasks} left in {pluralize(len(workers), 'worker')}"
        case "running":
            return ready
        case state if _is_loading(pool_state):
            return f"{state}: importing the task modules, {ready}"
        case state:
            return f"{state}: {ready}"


def _one_line(text: str) -> str:
    """One line of the protocol, which a newline would end."""
    line = " ".join(text.split())
    printable = "".join(each if each.isprintable() else "?" for each in line)
    return printable if len(printable) <= MOST_STATUS else printable[: MOST_STATUS - 1] + "…"


# Extensions of time, and signs of life.


def _is_loading(pool_state: PoolState) -> bool:
    return any(each.phase is Phase.LOADING for each in pool_state.nurseries.alive())


def _needs_time(pool_state: PoolState, now: float) -> bool:
    match pool_state.state:
        case "draining":
            return _drains_in_time(pool_state, now)
        case "starting":
            return _boots_in_time(pool_state, now)
        case "reloading":
            # A reload that waits for a server that is away may last for ever: `systemctl reload`
            # is to fail in time, and the reload goes on without it.
            return _is_loading(pool_state) or not pool_state.server_is_away
        case _:
            return False


def _drains_in_time(pool_state: PoolState, now: float) -> bool:
    return pool_state.drain is not None and now <= pool_state.drain.deadline + OVERTIME_SECONDS


def _boots_in_time(pool_state: PoolState, now: float) -> bool:
    """Return True if a process is loading, or was forked and is within its time to boot.

    An import has no time limit: its process is alive, or its exit would be known.
    """
    if _is_loading(pool_state):
        return True
    timeout = pool_state.config.boot_timeout.total_seconds()
    if pool_state.ready_at is None:
        loaded_at = pool_state.nurseries.first_loaded_at
        return now <= (pool_state.started_at if loaded_at is None else loaded_at) + timeout
    return any(
        now <= (each.requested_at + timeout if each.deadline is None else each.deadline)
        for each in pool_state.registry.starting()
    )


def _backs_off(pool_state: PoolState, now: float) -> bool:
    """Return True if a slot, or the nursery, is empty until the end of its backoff."""
    if any(s.is_empty and now < s.due_at for s in pool_state.registry.slots()):
        return True
    return pool_state.nurseries.current is None and now < pool_state.nurseries.due_at


def _beats(pool_state: PoolState, now: float) -> bool:
    """Return True if some worker's loop runs; it sends heartbeats without a server too."""
    beats = (
        each.ready_at if each.heartbeat_at is None else each.heartbeat_at
        for each in pool_state.registry.alive()
    )
    return any(at is not None and now - at <= LATE_SECONDS for at in beats)


def _is_healthy(pool_state: PoolState, now: float) -> bool:
    if pool_state.drain is not None:
        return _drains_in_time(pool_state, now)
    return _beats(pool_state, now) or _boots_in_time(pool_state, now) or _backs_off(pool_state, now)


# The messages.


class LastSent(Enum):
    """The last state that was sent to the service manager."""

    NOTHING = auto()
    READY = auto()
    RELOADING = auto()
    STOPPING = auto()


class NotifyProtocol:
    """Keep the last messages, and decide on the next ones.

    Arguments:
        watchdog_seconds: the service manager expects a sign of life within this time; None: it
            expects none. One is sent at half of it.
    """

    def __init__(self, watchdog_seconds: float | None) -> None:
        self._beat_every = math.inf if watchdog_seconds is None else watchdog_seconds / 2
        self._last_sent = LastSent.NOTHING
        self._status: str | None = None
        self._status_at = self._extended_at = self._beaten_at = -math.inf
        self._is_healthy = False

    def datagrams(
        self, status: ServiceStatus, now: float, *, reload_asked: bool = False
    ) -> list[str]:
        """Return the datagrams that are due at `now`, in order.

        Arguments:
            reload_asked: SIGHUP came. It may be from the service manager, which then waits for a
                RELOADING=1 that is newer than its signal and for READY=1 after it, even if the
                signal was one too many or the reload had no chance.
        """
        changes = self._state_changes(status.state, now, reload_asked=reload_asked)
        last = changes.pop() if changes else []
        last += self._other_lines(status, now, at_once=bool(last))
        return ["\n".join(lines) for lines in (*changes, last) if lines]

    def next_due(self) -> float | None:
        """Return the time of the next sign of life; None if there is none to send."""
        if self._beat_every == math.inf or not self._is_healthy:
            return None
        return self._beaten_at + self._beat_every

    def _state_changes(self, state: str, now: float, *, reload_asked: bool) -> list[list[str]]:
        if self._last_sent is LastSent.STOPPING:
            return []
        ready, reloading = ["READY=1"], ["RELOADING=1", f"MONOTONIC_USEC={_microseconds(now)}"]
        changes: list[list[str]] = []
        match state:
            case "draining":
                self._last_sent, changes = LastSent.STOPPING, [["STOPPING=1"]]
            case "running" | "reloading":
                if self._last_sent is LastSent.NOTHING:
                    changes.append(ready)
                    self._last_sent = LastSent.READY
                if reload_asked or (
                    state == "reloading" and self._last_sent is not LastSent.RELOADING
                ):
                    changes.append(reloading)
                    self._last_sent = LastSent.RELOADING
                if state == "running" and self._last_sent is LastSent.RELOADING:
                    changes.append(ready)
                    self._last_sent = LastSent.READY
            case _:
                pass
        return changes

    def _other_lines(self, status: ServiceStatus, now: float, *, at_once: bool) -> list[str]:
        lines: list[str] = []
        is_due = at_once or now >= self._status_at + STATUS_SECONDS
        if status.status != self._status and is_due:
            lines.append(f"STATUS={status.status}")
            self._status, self._status_at = status.status, now
        if status.needs_time and (at_once or now >= self._extended_at + EXTEND_EVERY_SECONDS):
            lines.append(f"EXTEND_TIMEOUT_USEC={_microseconds(EXTENSION_SECONDS)}")
            self._extended_at = now
        self._is_healthy = status.is_healthy
        if status.is_healthy and now >= self._beaten_at + self._beat_every:
            lines.append("WATCHDOG=1")
            self._beaten_at = now
        return lines


def _microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)
