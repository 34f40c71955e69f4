"""Statistics as values: rates and percentiles out of counters."""

from datetime import UTC, datetime, timedelta

import pytest

from docket.instrumentation.counters import DURATION_BUCKETS, Counters, Histogram
from docket.statistics import percentile_seconds, statistics_of

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = SINCE + timedelta(minutes=10)


def histogram(*seconds: float) -> Histogram:
    made = Histogram()
    for each in seconds:
        made.observe(each)
    return made


def test_rates_are_over_the_whole_period() -> None:
    counters = Counters(started=600, succeeded=450, failed=150, retried=100, redelivered=3)

    statistics = statistics_of(SINCE, UNTIL, {"f": counters})

    found = statistics.functions["f"]
    assert (found.runs, found.runs_per_second, found.runs_per_minute) == (600, 1.0, 60.0)
    assert found.failure_rate == 0.25
    assert (found.retried, found.redelivered, found.cancelled) == (100, 3, 0)
    assert statistics.period == timedelta(minutes=10)


def test_what_never_ended_has_no_failure_rate_and_no_times() -> None:
    found = statistics_of(SINCE, UNTIL, {"f": Counters(started=1)}).functions["f"]

    assert found.failure_rate is None
    assert found.waiting is None
    assert found.running is None


def test_the_total_is_that_of_all_functions() -> None:
    one = Counters(started=1, duration=histogram(0.02))
    two = Counters(started=2, duration=histogram(0.2, 2.0))

    statistics = statistics_of(SINCE, UNTIL, {"two": two, "one": one})

    assert list(statistics.functions) == ["one", "two"]
    assert statistics.total.runs == 3
    assert statistics.total.running is not None
    assert statistics.total.running.count == 3
    assert statistics.total.running.mean_seconds == pytest.approx(0.74)
    assert one == Counters(started=1, duration=histogram(0.02))


def test_a_docket_without_runs_has_statistics_of_nothing() -> None:
    statistics = statistics_of(SINCE, SINCE, {})

    assert statistics.functions == {}
    assert statistics.total.runs_per_second == 0


def test_a_percentile_is_interpolated_within_its_bucket() -> None:
    observed = histogram(*[0.6] * 10)  # between 0.5 and 1.0

    assert percentile_seconds(observed, 0.5) == pytest.approx(0.75)
    assert percentile_seconds(observed, 1.0) == pytest.approx(1.0)


def test_a_percentile_beyond_the_last_bound_is_that_bound() -> None:
    assert percentile_seconds(histogram(7200.0), 0.5) == DURATION_BUCKETS[-1]
