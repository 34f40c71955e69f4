"""The report of a worker's process, which its heartbeater sends for those who look at workers."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from docket.clock import from_microseconds
from docket.installation import installed_version
from docket.supervision import PoolMember
from docket.worker_process import WorkerProcess

_STATM = Path("/proc/self/statm")


class ProcessReport:
    """The report of this process, made anew at each call. It is called on the heartbeater's thread.

    Args:
        concurrency: returns the number of tasks that the worker can run at once.
        member: the place of the worker in the pool of a runtime; None without one.
    """

    def __init__(self, concurrency: Callable[[], int], member: PoolMember | None) -> None:
        self._concurrency = concurrency
        self._member = member
        self._started_at: int | None = None
        self._host = socket.gethostname()
        self._version = installed_version()

    def began(self, at: int) -> None:
        """Note the time of the registration, in server milliseconds; the first one counts."""
        if self._started_at is None:
            self._started_at = at

    def made(self, lag_seconds: float) -> bytes:
        """Make the report; b"" before the worker is registered.

        Args:
            lag_seconds: the longest delay of the loop since the last report.
        """
        if self._started_at is None:
            return b""
        member = self._member
        return WorkerProcess(
            host=self._host,
            pid=os.getpid(),
            started_at=from_microseconds(self._started_at * 1000),
            lag_seconds=lag_seconds,
            concurrency=self._concurrency(),
            rss_bytes=_resident_bytes(),
            version=self._version,
            supervisor_pid=None if member is None else member.supervisor_pid or None,
            generation=None if member is None else member.generation,
        ).written()


def _resident_bytes() -> int | None:
    """Read the resident memory: 15 us where there is a /proc; elsewhere it is not known."""
    if not hasattr(os, "sysconf"):  # on Windows
        return None
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


__all__ = ["PoolMember", "ProcessReport"]
