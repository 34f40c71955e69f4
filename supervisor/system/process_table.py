"""Other processes as the system shows them.

By hand on Linux, since psutil would add a megabyte to a supervisor; elsewhere by psutil.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform == "linux":
    #: Numbers of the fields of /proc/PID/stat after the name: state, parent, CPU in user mode and
    #: in the kernel, time of the start.
    _STATE, _PARENT, _USER, _SYSTEM, _STARTED = 0, 1, 11, 12, 19
    _TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

    class ObservedProcess:
        """A process from now on: whatever gets its number after it is another one.

        Raises:
            OSError: here and below, if it is gone or may not be looked at.
        """

        def __init__(self, pid: int) -> None:
            self._pid = pid
            self._started = _stat(pid)[_STARTED]

        def cpu_seconds(self) -> float:
            """Return the CPU of all its threads; not of its subprocesses."""
            stat = self._own_stat()
            return (int(stat[_USER]) + int(stat[_SYSTEM])) / _TICKS_PER_SECOND

        def descriptors(self) -> int:
            """Count its open descriptors."""
            count = len(os.listdir(f"/proc/{self._pid}/fd"))  # noqa: PTH208 - only their number
            self._own_stat()  # afterwards, so that it holds for what was counted
            return count

        def _own_stat(self) -> list[bytes]:
            stat = _stat(self._pid)
            if stat[_STARTED] != self._started:
                raise ProcessLookupError(f"process {self._pid} is another one by now")
            return stat

    def state_of(pid: int) -> str:
        """Return the letter for the state of a process. Raises OSError if it is gone."""
        return _stat(pid)[_STATE].decode("ascii")

    def is_stopped(pid: int) -> bool:
        """Return True for a process that is stopped or in an uninterruptible wait right now."""
        try:
            return state_of(pid) in ("T", "D")
        except OSError:
            return False

    def parent_of(pid: int) -> int | None:
        """Return the parent of a process; None if the process is gone."""
        try:
            return int(_stat(pid)[_PARENT])
        except OSError:
            return None

    def _stat(pid: int) -> list[bytes]:
        # The name stands in brackets, and may hold more of them.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()

else:
    from collections.abc import Generator
    from contextlib import contextmanager

    import psutil

    class ObservedProcess:
        """A process from now on: whatever gets its number after it is another one.

        Raises:
            OSError: here and below, if it is gone or may not be looked at.
        """

        def __init__(self, pid: int) -> None:
            with _as_os_error():
                self._process = psutil.Process(pid)

        def cpu_seconds(self) -> float:
            """Return the CPU of all its threads; not of its subprocesses."""
            with _as_os_error():
                used = self._process.cpu_times()
                self._check()
            return used.user + used.system

        def descriptors(self) -> int:
            """Count its open descriptors."""
            with _as_os_error():
                count = self._process.num_fds()
                self._check()
            return count

        def _check(self) -> None:
            # Afterwards, so that it holds for what was read.
            if not self._process.is_running():
                raise ProcessLookupError(f"process {self._process.pid} is another one by now")

    def is_stopped(pid: int) -> bool:
        """Return True for a process that is stopped or in an uninterruptible wait right now."""
        try:
            return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_DISK_SLEEP)
        except psutil.Error:
            return False

    def parent_of(pid: int) -> int | None:
        """Return the parent of a process; None if the process is gone."""
        try:
            return psutil.Process(pid).ppid()
        except psutil.Error:
            return None

    @contextmanager
    def _as_os_error() -> Generator[None]:
        try:
            yield
        except psutil.AccessDenied as error:
            raise PermissionError(str(error)) from error
        except psutil.Error as error:
            raise ProcessLookupError(str(error)) from error
