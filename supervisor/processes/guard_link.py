"""The supervisor's end of the guard that ends its workers if it cannot."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Generator

from supervisor.child import orphan_guard
from supervisor.grace_periods import ORPHAN_SECONDS, PROCESS_GROUP_SECONDS
from supervisor.system.process_group import HAS_PIDFDS

log = logging.getLogger("supervisor")

#: Longest wait for the guard: to be there at the start, and to have ended at the end.
PATIENCE_SECONDS = 5.0


class GuardLink:
    """The link to the guard of one run; without a guard (no pidfds here) it does nothing."""

    def __init__(self, sock: socket.socket | None) -> None:
        self._sock = sock

    def watch(self, pid: int, pidfd: int) -> None:
        """Have the guard end this worker, and its group, some time after our own end."""
        if self._sock is None:
            return
        try:
            socket.send_fds(self._sock, [str(pid).encode()], [pidfd])
        except OSError as error:
            # Killed by somebody: the workers' own watch and the nursery are left.
            log.warning("the guard of orphaned workers is gone (%s)", error)
            self._sock.close()
            self._sock = None

    def close(self, pid: int) -> None:
        """Let the guard end, which it does once no worker is left, and wait for that."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        with sock, contextlib.suppress(OSError):
            sock.settimeout(PATIENCE_SECONDS)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(64):
                pass
            # It has closed its end, and ends. Ours only where we were a subreaper before it began.
            os.waitpid(pid, 0)


@contextlib.contextmanager
def guarded(drain_seconds: float) -> Generator[GuardLink]:
    """Start the guard of a run; to be called before this process is a subreaper."""
    if not HAS_PIDFDS:
        yield GuardLink(None)
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs:
            pid = _start(ours, theirs, drain_seconds)
    except (OSError, ValueError) as error:
        ours.close()
        log.warning("there is no guard of orphaned workers: it cannot be started (%s)", error)
        yield GuardLink(None)
        return
    ours.setblocking(False)
    link = GuardLink(ours)
    try:
        yield link
    finally:
        link.close(pid)


def _start(ours: socket.socket, theirs: socket.socket, drain_seconds: float) -> int:
    seconds = (drain_seconds + ORPHAN_SECONDS, PROCESS_GROUP_SECONDS)
    words = [orphan_guard.__file__, str(theirs.fileno()), *map(str, seconds)]
    subprocess.run(
        [sys.executable, "-I", "-S", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
        cwd="/",
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    ours.settimeout(PATIENCE_SECONDS)
    return int(ours.recv(64))
