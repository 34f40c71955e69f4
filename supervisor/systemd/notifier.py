"""Send the state of the run to the service manager, over the socket that it named.

The only module that reads $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID. `messages` decides on
the datagrams. Nothing here waits, and nothing here stops a pool: a service manager that cannot be
reached is a line in the log, and is tried again.
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

#: A datagram that could not be sent is tried again after this long.
RETRY_SECONDS = 1.0


class Notifier:
    """Report a run to its service manager, if there is one.

    Arguments:
        pool_state: the state of the run.
        environment: with the variables of the service manager; empty for a guest in another
            program, which reports its own state.
        pid: of this process: a watchdog that is meant for another process is ignored.
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

    def update(self, event: Event, now: float) -> None:
        """Send the datagrams that are due after `event`, which the pool has handled at `now`."""
        if self._address is None or _is_routine(event):
            return
        if isinstance(event, SignalReceived) and event.received.number == signal.SIGHUP:
            self._reload_asked = True
        # Unsent datagrams go first: the service manager relies on the order.
        if not self._send(now):
            return
        self._unsent = self._protocol.datagrams(
            service_status(self._pool_state, now), now, reload_asked=self._reload_asked
        )
        self._reload_asked = False
        self._send(now)

    def next_due(self, otherwise: float | None) -> float | None:
        """Return the time of the next update: at the latest `otherwise`, if that is known."""
        # While a datagram is unsent the next tick tries it again; no other is sent before.
        is_waiting = self._address is None or bool(self._unsent)
        due = None if is_waiting else self._protocol.next_due()
        return min((at for at in (due, otherwise) if at is not None), default=None)

    def close(self) -> None:
        """Send nothing more. Twice is fine."""
        self._address = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, now: float) -> bool:
        """Send the unsent datagrams; return whether none is left."""
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
        """A socket that never blocks, even if the service manager is busy; not inherited."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        return self._socket

    def _complain(self, error: OSError) -> None:
        # A full queue is no error: the service manager is busy, and reads it later.
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
    """Tell whether it is a heartbeat: they come twice a second, and the next tick sees them too."""
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
    """The interval of the watchdog of this process, if it has one (sd_watchdog_enabled(3))."""
    given, meant_for = environment.get("WATCHDOG_USEC"), environment.get("WATCHDOG_PID")
    if given is None or (meant_for and meant_for != str(pid)):
        return None
    if not (given.isascii() and given.isdigit() and int(given)):
        log.warning("WATCHDOG_USEC is %r, not a number of microseconds; it gets no beats", given)
        return None
    return int(given) / 1_000_000
