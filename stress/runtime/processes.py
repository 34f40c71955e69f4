"""What a process holds and has used, as the kernel counts it."""

from collections.abc import Iterable
from dataclasses import dataclass

import psutil

MB = 1_000_000


@dataclass(frozen=True)
class Footprint:
    """What one process holds now. Memory in MB; PSS is its share of pages that others use too."""

    descriptors: int
    threads: int
    children: int
    pss: float
    rss: float


def footprint(pid: int) -> Footprint:
    """Of a process that runs. `children` includes those of its children, and zombies."""
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
    """The PSS of each, in MB."""
    return [psutil.Process(pid).memory_full_info().pss / MB for pid in pids]


def cpu_seconds(pid: int) -> float:
    """What it has used of a CPU so far."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def parent_of(pid: int) -> int:
    """Of a worker: its nursery."""
    return psutil.Process(pid).ppid()
