"""The program that ends the workers of a supervisor that is gone, whatever keeps them.

A worker sees the end of its supervisor by a thread, and C code that holds the GIL keeps that thread
from running; the nursery, which would kill it, may have been killed too. So a process of its own
holds a pidfd of each worker and waits for the supervisor's end of a socket to close.

Run as a file by an interpreter without site (a few megabytes, ten milliseconds), so it imports
nothing but the standard library: `python -I -S orphan_guard.py SOCKET SECONDS GRACE`. SECONDS is
the time that orphans have, GRACE that of their subprocesses from TERM to KILL.
"""

import os
import select
import signal
import socket
import sys
import time

#: Sent to a service's group by terminals and service managers: they are for the supervisor.
_IGNORED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


class OrphanGuard:
    """Watch workers until they, and the supervisor, are gone.

    Arguments:
        sock: a SOCK_SEQPACKET whose other end is the supervisor's alone. It sends the pid and the
            pidfd of each worker.
        orphan_seconds: from the end of the supervisor to the kill of its workers.
        grace_seconds: from TERM to KILL for the subprocesses of one that has ended.
    """

    def __init__(self, sock: socket.socket, orphan_seconds: float, grace_seconds: float) -> None:
        self._sock = sock
        self._orphan_seconds = orphan_seconds
        self._grace_seconds = grace_seconds
        #: pidfd -> pid of each worker that lives.
        self._workers: dict[int, int] = {}
        #: When the orphans are killed; None while there is a supervisor.
        self._orphans_end: float | None = None
        #: Process groups of dead orphans, and when what is left in them is killed.
        self._groups: dict[int, float] = {}

    def run(self) -> None:
        """Return when there is nothing left to watch."""
        while self._orphans_end is None or self._workers or self._groups:
            poller = select.poll()
            for fd in self._workers:
                poller.register(fd, select.POLLIN)
            if self._orphans_end is None:
                poller.register(self._sock, select.POLLIN)
            ready = [fd for fd, _ in poller.poll(self._milliseconds_to_wait())]
            # The supervisor's end first: a worker that ended with it, or because of it, is an
            # orphan, and both may be seen at once when this process had no CPU.
            if self._sock.fileno() in ready:
                self._receive()
            for fd in ready:
                if fd in self._workers:
                    self._ended(fd)
            self._kill_what_is_due(time.monotonic())

    def _milliseconds_to_wait(self) -> float | None:
        due = list(self._groups.values())
        if self._orphans_end is not None and self._workers:
            due.append(self._orphans_end)
        return max(0.0, min(due) - time.monotonic()) * 1000 + 1 if due else None

    def _receive(self) -> None:
        try:
            message, fds, _, _ = socket.recv_fds(self._sock, 64, 1)
        except OSError:
            message, fds = b"", []
        if message:
            for fd in fds:
                self._workers[fd] = int(message)
        else:
            self._orphans_end = time.monotonic() + self._orphan_seconds

    def _ended(self, fd: int) -> None:
        pid = self._workers.pop(fd)
        os.close(fd)
        if self._orphans_end is not None:
            # With a supervisor, or a nursery, its group is theirs to end; twice does no harm.
            _signal_group(pid, signal.SIGTERM)
            self._groups[pid] = time.monotonic() + self._grace_seconds

    def _kill_what_is_due(self, now: float) -> None:
        if self._orphans_end is not None and now >= self._orphans_end:
            for fd in self._workers:
                try:
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._orphans_end = now + self._orphan_seconds  # their ends are seen by the pidfds
        for pid in [pid for pid, due in self._groups.items() if now >= due]:
            del self._groups[pid]
            _signal_group(pid, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except OSError:
        return  # it is gone, or has changed its user


def main(arguments: list[str]) -> None:
    """Leave the family of the starter, say so, and watch."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    # Nobody's child, as the guard of an embedded server: what ends or counts the supervisor's
    # processes does not mean this one.
    if os.fork():
        return
    os.setsid()
    with socket.socket(fileno=int(arguments[0])) as sock:
        sock.send(str(os.getpid()).encode())
        OrphanGuard(sock, float(arguments[1]), float(arguments[2])).run()


if __name__ == "__main__":
    main(sys.argv[1:])
