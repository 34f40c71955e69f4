"""Tells the service manager how the run is going, over the socket that it named.

The one place that knows $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID. What is said is decided
in supervisor.notifications. Nothing here waits, and nothing here stops a pool: a service manager
that cannot be told is a line in the log, and is tried again.
"""

import logging
import os
import signal
import socket
from collections.abc import Mapping

from ipc.messages import Heartbeat
from supervisor.pool.state.inbox_events import BeatReceived, Event, SignalReceived, WorkerMessage
from supervisor.pool.state.pool_state import PoolState
from supervisor.systemd.messages import NotifyProtocol, service_status

log = logging.getLogger("supervisor.notify")

#: What could not be sent is tried again after this long.
RETRY_SECONDS = 1.0


class Notifier:
    """Watches a run for its service manager. Idle where there is none.

    Arguments:
        ground: the state of the run.
        environment: where the service manager left word; empty for a guest in another program,
            whose host does the talking.
        pid: of this process: a watchdog that was meant for another is left alone.
    """

    def __init__(self, pool_state: PoolState, environment: Mapping[str, str], pid: int) -> None:
        self._pool_state = pool_state
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._protocol = NotifyProtocol(_watchdog_seconds(environment, pid))
        self._socket: socket.socket | None = None
        self._unsent: list[str] = []
        self._retry_at = 0.0
        self._has_complained = False
        self._reload_asked = False

    def look(self, event: Event, now: float) -> None:
        """Say what is due after `event`, which the pool has taken in at `now`."""
        if self._address is None or _is_routine(event):
            return
        if isinstance(event, SignalReceived) and event.received.number == signal.SIGHUP:
            self._reload_asked = True
        # What was not sent goes first: the service manager counts on the order.
        if not self._send(now):
            return
        self._unsent = self._protocol.say(
            service_status(self._pool_state, now), now, reload_asked=self._reload_asked
        )
        self._reload_asked = False
        self._send(now)

    def next_due(self, otherwise: float | None) -> float | None:
        """When the next look is due: at the latest `otherwise`, if that is known."""
        # While something is unsent the next try is the next tick's: nothing new is said before.
        silent = self._address is None or bool(self._unsent)
        due = None if silent else self._protocol.next_due()
        return min((at for at in (due, otherwise) if at is not None), default=None)

    def close(self) -> None:
        """Say nothing more. Twice is fine."""
        self._address = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, now: float) -> bool:
        """Whether nothing is left unsent."""
        if self._address is None or (self._unsent and now < self._retry_at):
            return False
        while self._unsent:
            try:
                self._connection().sendto(self._unsent[0].encode(errors="replace"), self._address)
            except OSError as error:
                self._retry_at = now + RETRY_SECONDS
                self._complain(error)
                return False
            del self._unsent[0]
        return True

    def _connection(self) -> socket.socket:
        """Never waits for a service manager that is busy; Python closes it at every exec."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        return self._socket

    def _complain(self, error: OSError) -> None:
        # A full queue is no fault: the service manager is busy, and reads it when it can.
        if self._has_complained or isinstance(error, BlockingIOError):
            return
        self._has_complained = True
        log.warning(
            "cannot tell the service manager at %s how the pool is: %s; tried again every second,"
            " until then it may take the pool for not ready or stuck",
            os.fsdecode(self._address or b"").replace("\0", "@", 1),
            error,
        )


def _is_routine(event: Event) -> bool:
    """Comes twice a second from each worker and changes nothing that the next tick would miss."""
    return isinstance(event, BeatReceived) or (
        isinstance(event, WorkerMessage) and isinstance(event.message, Heartbeat)
    )


def _address(given: str) -> bytes | None:
    """The socket's address: a path, or a name in the abstract namespace after @ (sd_notify(3))."""
    if not given:
        return None
    if given[0] not in "/@" or len(given) < 2:
        log.warning(
            "NOTIFY_SOCKET is %r: neither an absolute path nor @ and a name; the service manager"
            " is told nothing",
            given,
        )
        return None
    return os.fsencode(given.replace("@", "\0", 1) if given[0] == "@" else given)


def _watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """Within how many seconds a sign of life is wanted of this process (sd_watchdog_enabled(3))."""
    given, meant_for = environment.get("WATCHDOG_USEC"), environment.get("WATCHDOG_PID")
    if given is None or (meant_for and meant_for != str(pid)):
        return None
    if not (given.isascii() and given.isdigit() and int(given)):
        log.warning("WATCHDOG_USEC is %r, not a number of microseconds; it gets no beats", given)
        return None
    return int(given) / 1_000_000
