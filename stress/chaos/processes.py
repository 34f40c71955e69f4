"""Processes of a run: who they are, when they died, and that none is left (Linux)."""

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field

import psutil

#: How often it is looked who still lives.
LOOK_SECONDS = 0.05


def tree(pid: int) -> list[int]:
    """The process and all of its descendants, itself first; none if it is gone."""
    try:
        root = psutil.Process(pid)
        return [pid, *(each.pid for each in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def send(pids: list[int], number: int) -> list[int]:
    """Send a signal to each; those that were there."""
    there: list[int] = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            there.append(pid)
    return there


def lives(pid: int) -> bool:
    """Whether it runs: a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(slots=True)
class Census:
    """Every process that a run has seen, and when each was gone. Times are monotonic seconds."""

    #: pid -> when it was first seen.
    seen: dict[int, float] = field(default_factory=dict[int, float])
    #: pid -> when it was seen to be gone, a look too late at most.
    gone: dict[int, float] = field(default_factory=dict[int, float])

    #: pid -> when it was last seen to live.
    alive: dict[int, float] = field(default_factory=dict[int, float])

    def add(self, pids: list[int]) -> None:
        """Watch these too."""
        now = time.monotonic()
        for pid in pids:
            if pid not in self.seen:
                self.seen[pid] = now

    @property
    def living(self) -> list[int]:
        """Those not known to be gone."""
        return [pid for pid in self.seen if pid not in self.gone]

    def look(self) -> None:
        """Note who is gone."""
        for pid in self.living:
            now = time.monotonic()
            if lives(pid):
                self.alive[pid] = now
            else:
                self.gone[pid] = time.monotonic()

    async def watch(self) -> None:
        """Look for as long as nobody cancels it."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def end_all(self) -> list[int]:
        """Kill whoever is left; who that was."""
        self.look()
        send(self.living, signal.SIGCONT)
        return send(self.living, signal.SIGKILL)
