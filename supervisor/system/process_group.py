"""The process group of a worker: the subprocesses that its tasks started.

They must not outlive it, or a redelivered task would run beside what its first run left behind.
A group is addressed only while its leader, though dead, is not reaped: until then the number
belongs to it and no other process can get it.
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
    """Signal all of a group; one that is gone already is as good as signalled."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # Permission: all that is left of it changed its user (sudo), and is not ours to end.
        return


def members(group: int) -> list[int]:
    """The live processes of a group, as far as /proc tells (none without one)."""
    return [
        int(entry.name)
        for entry in _PROC.glob("[0-9]*")
        if (stat := _read(entry / "stat")) and _is_member(stat, group)
    ]


def watch(pids: list[int]) -> list[int]:
    """Pidfds of those that still run; the caller's to close. Readable when the process ends."""
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
