"""The counters of workers and dockets: plain numbers that become metrics on each scrape.

Incremented on the event loop only, and readable on any thread: a reader sees each number as it was
at some instant, and never sees one fall.
"""

from bisect import bisect_left
from collections.abc import Callable, Sized
from dataclasses import dataclass, field, fields

#: Upper bounds of the histogram buckets, in seconds; one more bucket takes larger values.
DURATION_BUCKETS: tuple[float, ...] = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
)

#: Maximum number of task names counted separately: names come with the tasks, so producers could
#: invent any number of them.
MAX_NAMES = 500
#: Maximum length of such a name: it is repeated in each sample.
LONGEST_NAME = 256
#: The name under which all further tasks are counted, and those with a longer name.
OTHERS = "(others)"


def _has_place(names: Sized, name: bytes | str) -> bool:
    """Return whether a name that is not among these is to be counted under itself."""
    return len(names) < MAX_NAMES and len(name) <= LONGEST_NAME


@dataclass(slots=True)
class Histogram:
    """Observations in seconds, counted by bucket (not cumulatively)."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS) + 1))
    sum: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(DURATION_BUCKETS, seconds)] += 1
        self.sum += seconds

    def add(self, other: "Histogram") -> None:
        """Count what another one has counted."""
        for index, count in enumerate(other.counts):
            self.counts[index] += count
        self.sum += other.sum


@dataclass(slots=True)
class Counters:
    """The counters of one worker since it started; none of them ever falls.

    failed: attempts that raised, those that are tried again (`retried`) too. superseded: runs that
    ended after a newer one took their place; each counts as what it ended with, too. duration: of
    runs. punctuality: from the due time of a task to its claim.
    """

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    perpetuated: int = 0
    redelivered: int = 0
    superseded: int = 0
    stricken: int = 0
    cancelled: int = 0
    duration: Histogram = field(default_factory=Histogram)
    punctuality: Histogram = field(default_factory=Histogram)

    @property
    def completed(self) -> int:
        """The number of attempts that have ended, in whatever state."""
        return self.succeeded + self.failed + self.cancelled

    def add(self, other: "Counters") -> None:
        """Count what another one has counted."""
        for name in PLAIN_COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.duration.add(other.duration)
        self.punctuality.add(other.punctuality)


#: The plain numbers of `Counters`.
PLAIN_COUNTERS: tuple[str, ...] = tuple(
    entry.name for entry in fields(Counters) if entry.type in (int, "int")
)


class TaskCounters:
    """The counters of one worker by task; sums are computed on demand.

    Args:
        make: makes the counters of a task, by its name.
    """

    def __init__(self, make: Callable[[str], Counters] | None = None) -> None:
        self._by_task: dict[bytes, Counters] = {}
        self._make = make

    def of(self, function: bytes) -> Counters:
        """Return the counters of the task of this name."""
        counters = self._by_task.get(function)
        return self._begin(function) if counters is None else counters

    def _begin(self, function: bytes) -> Counters:
        if not _has_place(self._by_task, function):
            function = OTHERS.encode()
        counters = self._by_task.get(function)
        if counters is None:
            make = self._make
            counters = Counters() if make is None else make(function.decode(errors="replace"))
            self._by_task[function] = counters
        return counters

    def by_task(self) -> list[tuple[str, Counters]]:
        """Return the live counters of each task, by its name."""
        # Copied in one step: the loop may add another task at any moment.
        return [(name.decode(errors="replace"), at) for name, at in list(self._by_task.items())]

    def add(self, other: "TaskCounters") -> None:
        """Count what another one has counted."""
        for name, counters in other.by_task():
            self.of(name.encode()).add(counters)

    def total(self) -> Counters:
        """Return the sum over all tasks at this moment."""
        total = Counters()
        for counters in list(self._by_task.values()):
            total.add(counters)
        return total


@dataclass(slots=True)
class ScheduledCounts:
    """The executions of one task that this process has added to a docket, or replaced there.

    stricken: those that it has not, because of a strike.
    """

    added: int = 0
    replaced: int = 0
    stricken: int = 0

    @property
    def scheduled(self) -> int:
        """The sum of those added and those replaced."""
        return self.added + self.replaced


class Producer:
    """The counters of this process as a producer for one docket.

    Attributes:
        cancelled: tasks that `Docket.cancel` removed before they ran.
        cleared: tasks that `Docket.clear` removed.
    """

    def __init__(self) -> None:
        self._by_task: dict[str, ScheduledCounts] = {}
        self.cancelled = 0
        self.cleared = 0

    def of(self, function_name: str) -> ScheduledCounts:
        """Return the counters of the task of this name."""
        counters = self._by_task.get(function_name)
        if counters is None:
            known = _has_place(self._by_task, function_name)
            counters = self._by_task.setdefault(
                function_name if known else OTHERS, ScheduledCounts()
            )
        return counters

    def count(self, function_name: str, *, replace: bool) -> None:
        """Count one execution put on the docket."""
        counters = self._by_task.get(function_name) or self.of(function_name)
        if replace:
            counters.replaced += 1
        else:
            counters.added += 1

    def by_task(self) -> list[tuple[str, ScheduledCounts]]:
        """Return the counters of each task, by its name."""
        return list(self._by_task.items())
