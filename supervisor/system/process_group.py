"""The process group of a worker: the subprocesses that its tasks started.

They must not outlive it, or a redelivered task would run beside what its first run left behind.
A group is addressed only while its leader, though dead, is not reaped: until then the number
belongs to it and nobody else can get it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

_PROC = Path("/proc")

# In /proc/PID/stat, counted after the command's name: state, parent, process group.
_STATE, _GROUP = 0, 2
_DEAD = frozenset("ZX")


def signal_group(group: int, number: signal.Signals) -> None:
    """Signal all processes of a group; nothing happens if the group is gone already."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # Permission: its last processes changed their user (sudo), and are not ours to end.
        return


def members(group: int) -> list[int]:
    """List the live processes of a group by /proc; none on a system without one."""
    return [
        int(entry.name)
        for entry in _PROC.glob("[0-9]*")
        if (stat := _read(entry / "stat")) and _is_member(stat, group)
    ]


def watch(pids: list[int]) -> list[int]:
    """Open pidfds of those that still run, readable when they end; the caller closes them."""
    pidfds: list[int] = []
    for pid in pids:
        try:
            pidfds.append(os.pidfd_open(pid))
        except OSError:
            continue  # it ended meanwhile
    return pidfds


def _is_member(stat: str, group: int) -> bool:
    # The command's name stands in parentheses and may itself hold blanks and parentheses.
    fields = stat.rpartition(")")[2].split()
    return int(fields[_GROUP]) == group and fields[_STATE] not in _DEAD


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # it ended meanwhile
