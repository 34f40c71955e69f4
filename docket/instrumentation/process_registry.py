"""What this process knows of its own workers and dockets: what metrics and health probes read."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from docket.instrumentation.counters import Producer, TaskCounters
from docket.instrumentation.readiness import Readiness

if TYPE_CHECKING:
    import asyncio

#: Most dockets, and most workers that have ended, whose numbers are kept; then the oldest go.
MAX_KEPT = 256

K = TypeVar("K")
V = TypeVar("V")


class Depths(NamedTuple):
    """How many tasks wait: ready ones, and those for later."""

    ready: int
    later: int


@dataclass(frozen=True, eq=False)
class RunningWorker:
    """A worker while it works.

    Attributes:
        docket: name of its docket.
        worker: what it is called in labels: never a process id.
        tally: what it counts.
        standing: whether it can claim.
        running: names of the tasks that run, one for each run; asked on any thread.
        disruptions: how often its connection broke since it began; asked on any thread.
        strikes: how many strikes are in effect; asked on any thread.
        depths: asks the server how much waits, on `loop`.
        loop: its event loop.
    """

    docket: str
    worker: str
    task_counters: TaskCounters
    readiness: Readiness
    running: Callable[[], list[bytes]]
    disruptions: Callable[[], int]
    strikes: Callable[[], int]
    depths: Callable[[], Awaitable[Depths]]
    loop: asyncio.AbstractEventLoop


@dataclass
class EndedWorkers:
    """What the workers of one name have counted that have ended."""

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
    def at_work(self, post: RunningWorker) -> Generator[None]:
        """The worker works while the context lasts; what it has counted then is kept."""
        with self._lock:
            self._running_workers.append(post)
        try:
            yield
        finally:
            with self._lock:
                self._running_workers.remove(post)
                ended = _kept(self._ended, (post.docket, post.worker), EndedWorkers)
                ended.task_counters.add(post.task_counters)
                ended.disruptions += post.disruptions()

    def producer(self, docket_name: str) -> Producer:
        """Where to count what this process asks of a docket."""
        with self._lock:
            return _kept(self._producers, docket_name, Producer)

    def posts(self) -> list[RunningWorker]:
        """The workers that work at this moment."""
        with self._lock:
            return list(self._running_workers)

    def counters_by_labels(self) -> dict[tuple[str, str], TaskCounters]:
        """What was counted so far, by docket and worker, those that have ended included."""
        with self._lock:
            parts = [(key, ended.task_counters) for key, ended in self._ended.items()]
            parts += [
                ((post.docket, post.worker), post.task_counters) for post in self._running_workers
            ]
            sums: dict[tuple[str, str], TaskCounters] = {}
            for key, task_counters in parts:
                sums.setdefault(key, TaskCounters()).add(task_counters)
            return sums

    def disruptions(self) -> dict[tuple[str, str], int]:
        """How often connections broke, by docket and worker."""
        with self._lock:
            sums = {key: ended.disruptions for key, ended in self._ended.items()}
            for post in self._running_workers:
                key = (post.docket, post.worker)
                sums[key] = sums.get(key, 0) + post.disruptions()
            return sums

    def producers(self) -> list[tuple[str, Producer]]:
        """What this process has asked of each docket."""
        with self._lock:
            return list(self._producers.items())


def _kept(table: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """The entry of a table of bounded size, made if it is missing; the oldest makes room."""
    if key not in table and len(table) >= MAX_KEPT:
        del table[next(iter(table))]
    return table.setdefault(key, make())


#: The one of this process.
PROCESS_REGISTRY = ProcessRegistry()
