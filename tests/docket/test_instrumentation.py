"""What a worker counts."""

from docket.instrumentation import DURATION_BUCKETS, Counters, Histogram


def test_an_observation_goes_to_the_first_bucket_whose_bound_it_does_not_exceed() -> None:
    histogram = Histogram()

    for seconds in (0.0, DURATION_BUCKETS[0], DURATION_BUCKETS[0] * 1.01, 10_000):
        histogram.observe(seconds)

    assert histogram.counts[0] == 2
    assert histogram.counts[1] == 1
    assert histogram.counts[-1] == 1
    assert len(histogram.counts) == len(DURATION_BUCKETS) + 1
    assert histogram.sum == DURATION_BUCKETS[0] * 2.01 + 10_000


def test_two_workers_do_not_share_their_histograms() -> None:
    one, other = Counters(), Counters()

    one.duration.observe(1)

    assert sum(other.duration.counts) == 0
