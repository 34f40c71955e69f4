"""Processes of a run: their signals and deaths, and the resources they hold (Linux)."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

from stress.waiting import repeat

MB = 1_000_000
#: Between two looks of a census.
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Footprint:
    """The resources of a process. Memory in MB; PSS is its share of pages that others use too."""

    descriptors: int
    threads: int
    children: int
    pss: float
    rss: float


def footprint(pid: int) -> Footprint:
    """Measure a running process. `children` includes those of its children, and zombies."""
    process = psutil.Process(pid)
    memory = process.memory_full_info()
    return Footprint(
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        children=len(process.children(recursive=True)),
        pss=memory.pss / MB,
        rss=memory.rss / MB,
    )


def pss_of(pids: Iterable[int]) -> list[float]:
    """Measure the PSS of each process, in MB."""
    return [psutil.Process(pid).memory_full_info().pss / MB for pid in pids]


def cpu_seconds(pid: int) -> float:
    """CPU seconds that a process has used so far."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def parent_of(pid: int) -> int:
    """The parent of a process: the nursery of a worker."""
    return psutil.Process(pid).ppid()


def tree(pid: int) -> list[int]:
    """The process and all of its descendants, itself first; none if it is gone."""
    try:
        root = psutil.Process(pid)
        return [pid, *(each.pid for each in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def send(pids: list[int], number: int) -> list[int]:
    """Send a signal to each process, and return those that it reached."""
    there: list[int] = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            there.append(pid)
    return there


def lives(pid: int) -> bool:
    """Return True if a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(slots=True)
class Census:
    """Every process that a run has seen, and the time of its end, in monotonic seconds."""

    seen: set[int] = field(default_factory=set[int])
    #: pid -> when it was seen to be gone, a look too late at most.
    gone: dict[int, float] = field(default_factory=dict[int, float])
    #: pid -> when it was last seen to live.
    alive: dict[int, float] = field(default_factory=dict[int, float])

    def add(self, pids: Iterable[int]) -> None:
        """Observe these processes too."""
        self.seen.update(pids)

    @property
    def living(self) -> list[int]:
        """The processes not known to be gone."""
        return [pid for pid in self.seen if pid not in self.gone]

    def look(self) -> None:
        """Note which processes are gone."""
        for pid in self.living:
            now = time.monotonic()
            if lives(pid):
                self.alive[pid] = now
            else:
                self.gone[pid] = time.monotonic()

    async def monitor(self) -> None:
        """Look again and again until cancelled."""

        async def look() -> None:
            self.look()

        await repeat(look, LOOK_SECONDS)

    def end_all(self) -> list[int]:
        """Kill every process that is left, and return those."""
        self.look()
        send(self.living, signal.SIGCONT)
        return send(self.living, signal.SIGKILL)


async def cpu_percent(pids: list[int], seconds: float) -> list[float]:
    """Measure the CPU of each process over that time, in percent of a core."""
    before = [cpu_seconds(pid) for pid in pids]
    await asyncio.sleep(seconds)
    after = [cpu_seconds(pid) for pid in pids]
    return [(late - early) / seconds * 100 for early, late in zip(before, after, strict=True)]
