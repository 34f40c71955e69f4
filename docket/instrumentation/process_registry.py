"""The registry of this process's workers and dockets, which metrics and health probes read."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct, field

from docket.backlog import Backlog
from docket.instrumentation.counters import Producer, TaskCounters
from docket.instrumentation.readiness import Readiness

if TYPE_CHECKING:
    import asyncio

#: Maximum number of dockets, and of ended workers, to keep counters for; the oldest are dropped.
MAX_KEPT = 256

#: Longest wait of a scrape for the server, in seconds; without an answer the backlog is omitted.
BACKLOG_PATIENCE_SECONDS = 1.0

K = TypeVar("K")
V = TypeVar("V")


class RunningWorker(Struct, frozen=True, eq=False):
    """A running worker.

    Attributes:
        docket: the name of its docket.
        label: its name in labels: never a process id.
        task_counters: its counters.
        readiness: its ability to claim tasks.
        running: returns the task name of each run; callable on any thread.
        places: returns the number of tasks that it can run at once; callable on any thread.
        disruptions: returns the number of times its connection has broken; callable on any thread.
        strikes: returns the number of strikes in effect; callable on any thread.
        backlog: asks the server for the backlog of its docket, on `loop`.
        loop: its event loop.
    """

    docket: str
    label: str
    task_counters: TaskCounters
    readiness: Readiness
    running: Callable[[], list[bytes]]
    places: Callable[[], int]
    disruptions: Callable[[], int]
    strikes: Callable[[], int]
    backlog: Callable[[], Awaitable[Backlog]]
    loop: asyncio.AbstractEventLoop


class EndedWorkers(Struct):
    """The counters of the ended workers of one name."""

    task_counters: TaskCounters = field(default_factory=TaskCounters)
    disruptions: int = 0


class ProcessRegistry:
    """The workers and dockets of a process. Written on event loops, read on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running_workers: list[RunningWorker] = []
        self._ended: dict[tuple[str, str], EndedWorkers] = {}
        self._producers: dict[str, Producer] = {}

    @contextmanager
    def at_work(self, worker: RunningWorker) -> Generator[None]:
        """Register a worker while the context lasts; its counters are kept afterwards."""
        with self._lock:
            self._running_workers.append(worker)
        try:
            yield
        finally:
            with self._lock:
                self._running_workers.remove(worker)
                ended = _kept(self._ended, (worker.docket, worker.label), EndedWorkers)
                ended.task_counters.add(worker.task_counters)
                ended.disruptions += worker.disruptions()

    def producer(self, docket_name: str) -> Producer:
        """Return the counters of this process as a producer for a docket."""
        with self._lock:
            return _kept(self._producers, docket_name, Producer)

    def running_workers(self) -> list[RunningWorker]:
        """Return the workers that run at this moment."""
        with self._lock:
            return list(self._running_workers)

    def counters_by_labels(self) -> dict[tuple[str, str], TaskCounters]:
        """Return all counters by docket and worker, ended workers included."""
        with self._lock:
            parts = [(key, ended.task_counters) for key, ended in self._ended.items()]
            parts += [
                ((worker.docket, worker.label), worker.task_counters)
                for worker in self._running_workers
            ]
            sums: dict[tuple[str, str], TaskCounters] = {}
            for key, task_counters in parts:
                sums.setdefault(key, TaskCounters()).add(task_counters)
            return sums

    def disruptions(self) -> dict[tuple[str, str], int]:
        """Return the number of times that connections broke, by docket and worker."""
        with self._lock:
            sums = {key: ended.disruptions for key, ended in self._ended.items()}
            for worker in self._running_workers:
                key = (worker.docket, worker.label)
                sums[key] = sums.get(key, 0) + worker.disruptions()
            return sums

    def producers(self) -> list[tuple[str, Producer]]:
        """Return the counters of this process as a producer, by docket."""
        with self._lock:
            return list(self._producers.items())


def _kept(table: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """Return an entry of a table of bounded size, made if missing; the oldest is evicted."""
    if key not in table and len(table) >= MAX_KEPT:
        del table[next(iter(table))]
    return table.setdefault(key, make())


#: The registry of this process.
PROCESS_REGISTRY = ProcessRegistry()
