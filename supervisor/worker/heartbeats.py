"""Heartbeats, made from the counters of the worker (pure, but for the memory read)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from heapq import nsmallest
from pathlib import Path

from docket.instrumentation import Counters
from docket.instrumentation import Histogram as Observed
from docket.supervision import RunningTask
from ipc.messages import MAX_TASKS_LISTED, Heartbeat, Histogram, Task, WorkerCounters
from supervisor.task_counters import TASK_COUNTERS
from supervisor.text import truncation

_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def heartbeat(
    sequence: int,
    now: float,
    loop_lag_seconds: float,
    running: Sequence[RunningTask],
    counters: Counters,
    rss: int,
    log_lines_dropped: int = 0,
) -> Heartbeat:
    """Make a heartbeat.

    `now` and the starts of the running tasks are time.monotonic(); `rss` is in bytes.
    """
    return Heartbeat(
        sequence=sequence,
        loop_lag_seconds=loop_lag_seconds,
        in_flight=in_flight(running, now),
        in_flight_total=len(running),
        counters=totals(counters, log_lines_dropped),
        rss_bytes=rss,
    )


def in_flight(running: Sequence[RunningTask], now: float) -> list[Task]:
    """The longest running tasks, as many as are listed."""
    oldest = nsmallest(MAX_TASKS_LISTED, running, key=lambda task: task.started_at)
    return [
        Task(
            truncation.head(task.key, truncation.NAME),
            truncation.head(task.function, truncation.NAME),
            max(0.0, now - task.started_at),
        )
        for task in oldest
    ]


def totals(counters: Counters, log_lines_dropped: int = 0) -> WorkerCounters:
    """The counters as they are sent: a copy, since the worker counts on."""
    return WorkerCounters(
        **{name: getattr(counters, name) for name in TASK_COUNTERS},
        duration=_histogram(counters.duration),
        punctuality=_histogram(counters.punctuality),
        log_lines_dropped=log_lines_dropped,
    )


def rss_bytes() -> int:
    """The resident memory of this process.

    From statm, 15 us; smaps would tell shared pages apart, and takes a lock on our own memory
    for milliseconds. Psutil reads statm too, but running its code costs each worker 0.2 MB of
    pages that are shared with the nursery until then; so it is asked only where there is no /proc.
    """
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except OSError:
        rss: int = importlib.import_module("psutil").Process().memory_info().rss
        return rss


def _histogram(observed: Observed) -> Histogram:
    return Histogram(list(observed.counts), observed.sum)
