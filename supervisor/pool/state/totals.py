"""Counters of the pool: the workers', summed, and kept when a worker is gone (pure).

A worker counts from zero since its own start, so what is added here is the difference to its last
heartbeat. A worker that counts backwards (it never should) adds nothing.
"""

from collections import Counter

from msgspec import Struct, field

from ipc.messages import Histogram, WorkerCounters
from supervisor.task_counters import TASK_COUNTERS

#: Bounds in seconds of docket_supervisor_redelivery_seconds: the target is 0.1.
REDELIVERY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

#: The ends of a reload.
RELOAD_OUTCOMES = ("succeeded", "failed")


class Buckets(Struct):
    """A histogram that only grows: counts by bucket, and the sum in seconds."""

    counts: list[int] = field(default_factory=list[int])
    sum: float = 0.0

    def add(self, now: Histogram, before: Histogram) -> None:
        """Add the difference between `now` and `before`."""
        missing = len(now.counts) - len(self.counts)
        self.counts.extend([0] * missing)
        earlier = [*before.counts, *[0] * (len(now.counts) - len(before.counts))]
        for index, (new, old) in enumerate(zip(now.counts, earlier, strict=False)):
            self.counts[index] += max(0, new - old)
        self.sum += max(0.0, now.sum - before.sum)


class Totals:
    """The counters of the whole pool since the supervisor started."""

    def __init__(self) -> None:
        self._before: dict[int, WorkerCounters] = {}
        self.by_slot: dict[int, Counter[str]] = {}
        self.duration = Buckets()
        self.punctuality = Buckets()
        #: Slots (and nurseries) filled anew, by the cause of the death.
        self.restarts: Counter[str] = Counter()
        #: Workers replaced although they lived, by reason; no restarts in the sense of /status.
        self.replacements: Counter[str] = Counter()
        #: Reloads that ended, by outcome: succeeded or failed.
        self.reloads: Counter[str] = Counter()
        #: Changes of a size that follows the work: up, down.
        self.scalings: Counter[str] = Counter()
        self.redelivery_seconds: list[int] = [0] * (len(REDELIVERY_BUCKETS) + 1)
        self.redelivery_sum = 0.0
        self.poisoned = self.crashes = self.stalls = 0
        #: Of workers only; the supervisor counts its own.
        self.log_lines_dropped = 0

    def add(self, worker: int, slot: int, now: WorkerCounters) -> None:
        """Add a worker's counters, as its latest heartbeat has them."""
        before = self._before.get(worker, WorkerCounters())
        counters = self.by_slot.setdefault(slot, Counter())
        for name in TASK_COUNTERS:
            counters[name] += max(0, getattr(now, name) - getattr(before, name))
        self.log_lines_dropped += max(0, now.log_lines_dropped - before.log_lines_dropped)
        self.duration.add(now.duration, before.duration)
        self.punctuality.add(now.punctuality, before.punctuality)
        self._before[worker] = now

    def forget(self, worker: int) -> None:
        """Forget a dead worker; its counts stay."""
        self._before.pop(worker, None)

    def redelivered_after(self, seconds: float) -> None:
        """Count a first redelivery, so long after the death of its worker was seen."""
        index = sum(seconds > bound for bound in REDELIVERY_BUCKETS)
        self.redelivery_seconds[index] += 1
        self.redelivery_sum += max(0.0, seconds)

    def sums(self) -> dict[str, int]:
        """Every counter of /status over all slots, those given up included."""
        summed: Counter[str] = Counter()
        for counters in self.by_slot.values():
            summed.update(counters)
        tasks = {name: summed[name] for name in TASK_COUNTERS}
        return tasks | {
            "poisoned": self.poisoned,
            "crashes": self.crashes,
            "restarts": self.restarts.total(),
            "stalls": self.stalls,
        }
