"""Counters of the pool: the children's, summed, and kept when a child is gone (pure).

A worker counts from zero since its own start, so what is added here is the difference to what the
same incarnation said last. A child that counts backwards (it never should) adds nothing.
"""

from collections import Counter
from dataclasses import dataclass, field

from ipc.messages import Histogram, WorkerCounters

#: The plain counters of a worker, in the order of /status.
TASK_COUNTERS = (
    "started",
    "succeeded",
    "failed",
    "retried",
    "redelivered",
    "superseded",
    "stricken",
    "cancelled",
    "perpetuated",
)

#: How a reload may end.
RELOAD_OUTCOMES = ("succeeded", "failed")


@dataclass(slots=True)
class Buckets:
    """A histogram that only grows: counts by bucket, and the sum in seconds."""

    counts: list[int] = field(default_factory=list[int])
    sum: float = 0.0

    def add(self, now: Histogram, before: Histogram) -> None:
        """Add what `now` has beyond `before`."""
        missing = len(now.counts) - len(self.counts)
        self.counts.extend([0] * missing)
        earlier = [*before.counts, *[0] * (len(now.counts) - len(before.counts))]
        for index, (new, old) in enumerate(zip(now.counts, earlier, strict=False)):
            self.counts[index] += max(0, new - old)
        self.sum += max(0.0, now.sum - before.sum)


class Totals:
    """What the whole pool has done since the supervisor started."""

    def __init__(self) -> None:
        self._before: dict[int, WorkerCounters] = {}
        self.by_slot: dict[int, Counter[str]] = {}
        self.duration = Buckets()
        self.punctuality = Buckets()
        self.restarts: Counter[str] = Counter()
        #: Workers replaced although they lived, by reason; no restarts in the sense of /status.
        self.replacements: Counter[str] = Counter()
        #: Reloads that ended, by outcome: succeeded or failed.
        self.reloads: Counter[str] = Counter()
        self.redelivery_seconds: list[int] = [0] * (len(REDELIVERY_BUCKETS) + 1)
        self.redelivery_sum = 0.0
        self.poisoned = self.crashes = self.stalls = 0
        #: Of workers only; the supervisor counts its own.
        self.log_lines_dropped = 0

    def counted(self, process: int, slot: int, now: WorkerCounters) -> None:
        """A worker's counters, as its latest heartbeat has them."""
        before = self._before.get(process, WorkerCounters())
        counters = self.by_slot.setdefault(slot, Counter())
        for name in TASK_COUNTERS:
            counters[name] += max(0, getattr(now, name) - getattr(before, name))
        self.log_lines_dropped += max(0, now.log_lines_dropped - before.log_lines_dropped)
        self.duration.add(now.duration, before.duration)
        self.punctuality.add(now.punctuality, before.punctuality)
        self._before[process] = now

    def forget(self, process: int) -> None:
        """This child says nothing more; what it did stays counted."""
        self._before.pop(process, None)

    def restarted(self, reason: str) -> None:
        """A slot (or the nursery) is filled anew because of `reason`, one of a few words."""
        self.restarts[reason] += 1

    def replaced(self, reason: str) -> None:
        """A living worker has a ready successor because of `reason`, one of a few words."""
        self.replacements[reason] += 1

    def reloaded(self, *, failed: bool) -> None:
        """A reload ended."""
        self.reloads[RELOAD_OUTCOMES[failed]] += 1

    def redelivered_after(self, seconds: float) -> None:
        """The first task of a dead worker was claimed so long after the death was seen."""
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


#: Bounds in seconds of docket_supervisor_redelivery_seconds: the target is 0.1.
REDELIVERY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
