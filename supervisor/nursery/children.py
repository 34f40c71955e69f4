"""The workers of a nursery from fork to reaping, and what their deaths leave behind.

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
        self._remains: dict[int, _DeadGroup] = {}

    def __len__(self) -> int:
        """Children that are not reaped."""
        return len(self._alive) + len(self._remains)

    def add(self, pid: int) -> None:
        """A worker was forked. Its group is made here as well as there: whoever is first."""
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass  # it has done so itself, or has ended already
        self._alive.add(pid)

    def kill(self, pid: int) -> bool:
        """SIGKILL one worker; False if there is none of that pid, which may be a stranger's."""
        if pid not in self._alive:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def kill_all(self) -> None:
        for pid in self._alive:
            os.kill(pid, signal.SIGKILL)

    def collect(self, now: float) -> list[Exited]:
        """Look who has died, see to what they left behind, and reap those that left nothing."""
        for pid in [pid for pid in self._alive if _has_exited(pid)]:
            self._alive.remove(pid)
            process_group.signal_group(pid, signal.SIGTERM)
            self._remains[pid] = _DeadGroup(now + process_group.GRACE_SECONDS)
        return [_reap(pid) for pid in list(self._remains) if self._is_over(pid, now)]

    def watched(self) -> list[int]:
        """Descriptors that become readable when there may be something to collect."""
        return [pidfd for remains in self._remains.values() for pidfd in remains.watched]

    def deadline(self) -> float | None:
        """When to collect at the latest."""
        return min((remains.deadline for remains in self._remains.values()), default=None)

    def forget(self) -> None:
        """In a forked child: these are its siblings."""
        for remains in self._remains.values():
            remains.close()
        self._remains.clear()
        self._alive.clear()

    def _is_over(self, pid: int, now: float) -> bool:
        remains = self._remains[pid]
        remains.close()
        if now < remains.deadline:
            members = process_group.members(pid)
            remains.watched = process_group.watch(members)
            # Without pidfds nothing tells of their ends: they are looked at again at the deadline.
            if remains.watched or (members and not process_group.HAS_PIDFDS):
                return False
        # Also when nobody was seen: a process that forks during the look may be missed.
        process_group.signal_group(pid, signal.SIGKILL)
        del self._remains[pid]
        return True


def _has_exited(pid: int) -> bool:
    """Whether this child is a zombie; it stays one."""
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
