"""What a worker counts, as plain numbers that a runtime can carry between processes and sum."""

from bisect import bisect_left
from dataclasses import dataclass, field

#: Upper bounds of the histogram buckets, in seconds; one more bucket takes what is above.
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


@dataclass(slots=True)
class Histogram:
    """Observations in seconds, counted by bucket (not cumulative)."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS) + 1))
    sum: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(DURATION_BUCKETS, seconds)] += 1
        self.sum += seconds


@dataclass(slots=True)
class Counters:
    """What happened in one worker since it started; nothing in it ever goes down.

    duration: of runs. punctuality: from the instant a task was due to its claim.
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
