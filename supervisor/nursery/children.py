"""The workers of a nursery from fork to reaping, and the processes that they leave behind.

A child that exits stays unreaped until its process group has ended: TERM at once, KILL after a
grace. Nothing here waits: the nursery polls the descriptors and the deadline that this one names.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field
from typing import Final

from ipc.messages import Exited
from supervisor import grace_periods
from supervisor.system import process_group

#: ru_maxrss is in kilobytes, but in bytes on macOS.
_RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024


@dataclass
class _DeadGroup:
    """The group of a dead worker whose subprocesses were asked to end."""

    deadline: float
    watched: list[int] = field(default_factory=list[int])

    def close(self) -> None:
        for pidfd in self.watched:
            os.close(pidfd)
        self.watched.clear()


class Children:
    """The children of this process. `now` arguments are time.monotonic()."""

    def __init__(self) -> None:
        self._alive: set[int] = set()
        self._dead_groups: dict[int, _DeadGroup] = {}

    def __len__(self) -> int:
        """The number of children that are not reaped."""
        return len(self._alive) + len(self._dead_groups)

    def add(self, pid: int) -> None:
        """Add a forked worker. Its group is made here and there: the first to run does it."""
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass  # the child was first, or has ended already
        self._alive.add(pid)

    def kill(self, pid: int) -> bool:
        """SIGKILL one worker; False if no worker has that pid, which may be another process's."""
        if pid not in self._alive:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def kill_all(self) -> None:
        for pid in self._alive:
            os.kill(pid, signal.SIGKILL)

    def collect(self, now: float) -> list[Exited]:
        """Find the dead, end the processes that they left behind, and reap those without any."""
        for pid in [pid for pid in self._alive if _has_exited(pid)]:
            self._alive.remove(pid)
            process_group.signal_group(pid, signal.SIGTERM)
            self._dead_groups[pid] = _DeadGroup(now + grace_periods.PROCESS_GROUP_SECONDS)
        return [_reap(pid) for pid in list(self._dead_groups) if self._is_over(pid, now)]

    def watched(self) -> list[int]:
        """Descriptors that become readable when there may be something to collect."""
        return [pidfd for group in self._dead_groups.values() for pidfd in group.watched]

    def deadline(self) -> float | None:
        """The latest time for the next `collect`."""
        return min((group.deadline for group in self._dead_groups.values()), default=None)

    def forget(self) -> None:
        """Drop all of them, in a forked child: these are its siblings."""
        for group in self._dead_groups.values():
            group.close()
        self._dead_groups.clear()
        self._alive.clear()

    def _is_over(self, pid: int, now: float) -> bool:
        group = self._dead_groups[pid]
        group.close()
        if now < group.deadline:
            members = process_group.members(pid)
            group.watched = process_group.watch(members)
            # Without pidfds nothing reports their ends: they are looked at again at the deadline.
            if group.watched or (members and not process_group.HAS_PIDFDS):
                return False
        # Also when no process was seen: one that forks during the look may be missed.
        process_group.signal_group(pid, signal.SIGKILL)
        del self._dead_groups[pid]
        return True


def _has_exited(pid: int) -> bool:
    """Return True if this child is a zombie; it stays one."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reap(pid: int) -> Exited:
    _, status, usage = os.wait4(pid, 0)
    return Exited(
        pid,
        status,
        user_seconds=usage.ru_utime,
        system_seconds=usage.ru_stime,
        max_rss_bytes=usage.ru_maxrss * _RSS_UNIT,
    )
