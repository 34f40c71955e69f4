"""The counters of workers and dockets."""

from docket.instrumentation.counters import (
    DURATION_BUCKETS,
    LONGEST_NAME,
    MAX_NAMES,
    OTHERS,
    PLAIN_COUNTERS,
    Counters,
    Histogram,
    Producer,
    TaskCounters,
)


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


def test_adding_counters_adds_every_one_of_them() -> None:
    one, other = Counters(), Counters()
    for number, name in enumerate(PLAIN_COUNTERS, 1):
        setattr(one, name, number)
        setattr(other, name, 100 * number)
    one.duration.observe(0.002)
    other.duration.observe(0.002)
    other.punctuality.observe(3)

    one.add(other)

    for number, name in enumerate(PLAIN_COUNTERS, 1):
        assert getattr(one, name) == 101 * number
    assert (one.duration.counts[1], one.duration.sum) == (2, 0.004)
    assert one.punctuality.sum == 3


def test_counters_count_by_task_and_sum_when_it_is_asked() -> None:
    task_counters = TaskCounters()
    task_counters.of(b"greet").started += 2
    task_counters.of(b"sleep").started += 1

    assert {name: counters.started for name, counters in task_counters.by_task()} == {
        "greet": 2,
        "sleep": 1,
    }
    assert task_counters.total().started == 3


def test_names_beyond_the_limit_are_counted_together() -> None:
    task_counters, producer = TaskCounters(), Producer()
    for number in range(MAX_NAMES + 20):
        task_counters.of(f"task-{number}".encode()).started += 1
        producer.count(f"task-{number}", replace=False)

    started = {name: counters.started for name, counters in task_counters.by_task()}
    added = {name: scheduled.added for name, scheduled in producer.by_task()}
    for counted in (started, added):
        assert len(counted) == MAX_NAMES + 1
        assert counted[OTHERS] == 20
        assert counted["task-0"] == 1


def test_a_name_that_is_too_long_for_a_label_is_counted_with_others() -> None:
    task_counters, producer = TaskCounters(), Producer()
    for name in ("n" * LONGEST_NAME, "n" * (LONGEST_NAME + 1), "m" * 1_000_000):
        task_counters.of(name.encode()).started += 1
        producer.count(name, replace=False)

    assert [(name, at.started) for name, at in task_counters.by_task()] == [
        ("n" * LONGEST_NAME, 1),
        (OTHERS, 2),
    ]
    assert [name for name, _ in producer.by_task()] == ["n" * LONGEST_NAME, OTHERS]


def test_what_is_put_on_a_docket_is_added_or_replaced() -> None:
    producer = Producer()

    producer.count("greet", replace=False)
    producer.count("greet", replace=True)
    producer.count("greet", replace=True)

    counted = producer.of("greet")
    assert (counted.added, counted.replaced, counted.scheduled) == (1, 2, 3)
