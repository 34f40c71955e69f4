"""The process group of a worker: the subprocesses that its tasks started.

They must not outlive it, or a redelivered task would run beside what its first run left behind.
A group is addressed only while its leader, though dead, is not reaped: until then the number
belongs to it and no other process can get it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from supervisor.system import process_table

if sys.platform != "linux":
    import psutil

#: Whether the end of a process that is not our child can be waited for.
HAS_PIDFDS: Final = hasattr(os, "pidfd_open")


def signal_group(group: int, number: signal.Signals) -> None:
    """Signal all processes of a group; nothing happens if the group is gone already."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # Permission: its last processes changed their user (sudo), and are not ours to end.
        return


def members(group: int) -> list[int]:
    """List the live processes of a group."""
    return list(_members(group))


def watch(pids: list[int]) -> list[int]:
    """Open pidfds of those that still run, readable when they end; the caller closes them.

    Empty where the system has no pidfds (HAS_PIDFDS).
    """
    if not HAS_PIDFDS:
        return []
    pidfds: list[int] = []
    for pid in pids:
        try:
            pidfds.append(os.pidfd_open(pid))
        except OSError:
            continue  # it ended meanwhile
    return pidfds


def _members(group: int) -> Iterator[int]:
    for pid in _pids():
        try:
            # One system call; a file is read only of those few that are in the group.
            if os.getpgid(pid) == group and not _is_dead(pid):
                yield pid
        except OSError:
            continue  # it ended meanwhile


if sys.platform == "linux":
    # By hand: the nursery asks too, and psutil would add a megabyte to it.

    def _pids() -> list[int]:
        return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]

    def _is_dead(pid: int) -> bool:
        """Return True for a zombie; raises OSError if it has ended."""
        try:
            return process_table.state_of(pid) in ("Z", "X")
        except PermissionError:
            return False  # it changed its user (sudo): alive, but not ours to look at

else:

    def _pids() -> list[int]:
        return psutil.pids()

    def _is_dead(pid: int) -> bool:
        """Return True for a zombie, and for what has ended."""
        try:
            return psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.AccessDenied:
            return False  # it changed its user (sudo): alive, but not ours to look at
        except psutil.NoSuchProcess:
            return True
