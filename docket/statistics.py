"""Statistics of a docket: what its workers did with each function, and how long it took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from docket.instrumentation.counters import DURATION_BUCKETS, Counters, Histogram


@dataclass(frozen=True, slots=True)
class Times:
    """A distribution of times, in seconds.

    The percentiles are read from a histogram, interpolated within its buckets: they are as exact as
    a bucket is narrow. Beyond the last bound, half an hour, they are that bound.

    Attributes:
        count: the number of times.
        mean_seconds: their mean, which is exact.
        p50_seconds: the median.
        p95_seconds: the time that 95% of them are below.
        p99_seconds: the time that 99% of them are below.
    """

    count: int
    mean_seconds: float
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float


@dataclass(frozen=True, slots=True)
class FunctionStatistics:
    """The runs of one function, or of all of them.

    Attributes:
        runs: runs that began.
        succeeded: attempts that returned.
        failed: attempts that raised, those that are tried again too.
        retried: attempts that raised and are tried again.
        redelivered: runs of tasks whose earlier run was lost.
        cancelled: runs that were cancelled.
        runs_per_second: runs that began, by the length of the period.
        failure_rate: the part of the attempts that ended that raised, from 0 to 1; None if none
            ended.
        waiting: the times from due to claimed; None if nothing was claimed.
        running: the times that runs took; None if none ended.
    """

    runs: int
    succeeded: int
    failed: int
    retried: int
    redelivered: int
    cancelled: int
    runs_per_second: float
    failure_rate: float | None
    waiting: Times | None
    running: Times | None

    @property
    def runs_per_minute(self) -> float:
        """Runs that began, by the length of the period."""
        return 60 * self.runs_per_second


@dataclass(frozen=True, slots=True)
class Statistics:
    """The work of a docket in a period.

    Attributes:
        since: the beginning of the period, by the server's clock: a full minute, or for more than
            two hours a quarter of an hour.
        until: its end, the present.
        functions: by the name of the function; "(others)" has those beyond the first 500 names.
        total: all functions together.
    """

    since: datetime
    until: datetime
    functions: Mapping[str, FunctionStatistics]
    total: FunctionStatistics

    @property
    def period(self) -> timedelta:
        """The length of the period."""
        return self.until - self.since


def statistics_of(since: datetime, until: datetime, counters: Mapping[str, Counters]) -> Statistics:
    """Make the statistics of a period from the counters of each function."""
    seconds = (until - since).total_seconds()
    functions = {name: _of_function(each, seconds) for name, each in sorted(counters.items())}
    return Statistics(since, until, functions, _of_function(_sum(counters.values()), seconds))


@dataclass(frozen=True, slots=True)
class PeriodTotal:
    """The work of a docket in one minute, or one quarter of an hour, all functions together.

    Attributes:
        since: its beginning, by the server's clock.
        total: of all functions.
    """

    since: datetime
    total: FunctionStatistics


def total_of(since: datetime, seconds: float, counters: Iterable[Counters]) -> PeriodTotal:
    """Make the total of one period of so many seconds."""
    return PeriodTotal(since, _of_function(_sum(counters), seconds))


def percentile_seconds(histogram: Histogram, part: float) -> float:
    """Return the time that a part of the observations are not above, read from the buckets.

    Args:
        histogram: not empty.
        part: more than 0, at most 1.
    """
    rank = part * sum(histogram.counts)
    below = 0
    for bucket, reached in enumerate(accumulate(histogram.counts)):
        if reached >= rank and reached > below:
            return _within(bucket, (rank - below) / (reached - below))
        below = reached
    return DURATION_BUCKETS[-1]


def _within(bucket: int, part: float) -> float:
    """Interpolate between the bounds of a bucket."""
    if bucket == len(DURATION_BUCKETS):
        return DURATION_BUCKETS[-1]
    lower = DURATION_BUCKETS[bucket - 1] if bucket else 0.0
    return lower + part * (DURATION_BUCKETS[bucket] - lower)


def _sum(counters: Iterable[Counters]) -> Counters:
    total = Counters()
    for each in counters:
        total.add(each)
    return total


def _of_function(counters: Counters, seconds: float) -> FunctionStatistics:
    ended = counters.completed
    return FunctionStatistics(
        runs=counters.started,
        succeeded=counters.succeeded,
        failed=counters.failed,
        retried=counters.retried,
        redelivered=counters.redelivered,
        cancelled=counters.cancelled,
        runs_per_second=counters.started / seconds if seconds else 0.0,
        failure_rate=counters.failed / ended if ended else None,
        waiting=_times(counters.punctuality),
        running=_times(counters.duration),
    )


def _times(histogram: Histogram) -> Times | None:
    count = sum(histogram.counts)
    if not count:
        return None
    return Times(
        count,
        histogram.sum / count,
        *(percentile_seconds(histogram, part) for part in (0.5, 0.95, 0.99)),
    )
