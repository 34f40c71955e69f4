"""Whatever workers count and whenever they report, nothing is lost, doubled or misplaced."""

from bisect import bisect_left
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from docket.instrumentation.counters import DURATION_BUCKETS, Counters, Histogram, TaskCounters
from docket.services.statistics_reporter import Differences
from docket.statistics import percentile_seconds
from docket.store.statistics import CODES, Difference, counters_of, in_calls, numbers_of

seconds = st.floats(min_value=0, max_value=4000, allow_nan=False)
parts = st.floats(min_value=0.001, max_value=1)


@given(st.lists(seconds, min_size=1, max_size=200), parts)
def test_a_percentile_is_in_the_bucket_of_the_exact_one(observed: list[float], part: float) -> None:
    histogram = Histogram()
    for each in observed:
        histogram.observe(each)

    found = percentile_seconds(histogram, part)

    exact = sorted(observed)[max(0, ceil(part * len(observed)) - 1)]
    bucket = bisect_left(DURATION_BUCKETS, exact)
    lower = DURATION_BUCKETS[bucket - 1] if bucket else 0.0
    upper = DURATION_BUCKETS[min(bucket, len(DURATION_BUCKETS) - 1)]
    assert min(lower, upper) <= found <= upper


@given(st.lists(seconds, min_size=1, max_size=200), parts, parts)
def test_a_higher_percentile_is_never_lower(
    observed: list[float], one: float, other: float
) -> None:
    histogram = Histogram()
    for each in observed:
        histogram.observe(each)

    lower, higher = sorted((one, other))
    assert percentile_seconds(histogram, lower) <= percentile_seconds(histogram, higher)


#: A step of a worker: it runs a task of this function for so long, or reports, with this luck.
runs = st.tuples(st.sampled_from(["one", "two", "drei ü"]), seconds, st.booleans())
reports = st.sampled_from(["recorded", "not sent", "reply lost"])
steps = st.lists(st.tuples(st.integers(0, 2), runs | reports), max_size=60)


@given(steps)
def test_the_differences_of_any_workers_add_up_to_what_they_counted(
    taken: list[tuple[int, tuple[str, float, bool] | str]],
) -> None:
    workers = [TaskCounters() for _ in range(3)]
    differences = [Differences(each) for each in workers]
    sums: dict[bytes, list[int]] = {}
    for worker, step in taken:
        if isinstance(step, str):
            report(differences[worker], "recorded" if step == "reply lost" else step, sums)
        else:
            run(workers[worker], *step)

    for each in differences:
        report(each, "recorded", sums)
        assert each.take() == []

    expected: dict[str, list[int]] = {}
    for each in workers:
        for name, counters in each.by_task():
            before = expected.setdefault(name, [0] * len(CODES))
            expected[name] = [a + b for a, b in zip(before, numbers_of(counters), strict=True)]
    assert {name.decode(): numbers for name, numbers in sums.items()} == expected
    for numbers in expected.values():
        assert numbers_of(counters_of(numbers)) == numbers


@given(steps)
def test_what_was_sent_and_not_answered_is_never_sent_again(
    taken: list[tuple[int, tuple[str, float, bool] | str]],
) -> None:
    """The sums may lack something, and never hold more than was counted."""
    counted, sums = TaskCounters(), dict[bytes, list[int]]()
    differences = Differences(counted)
    lost = False
    for _, step in taken:
        if isinstance(step, str):
            lost = lost or (step == "reply lost" and bool(differences.take()))
            report(differences, step, sums)
        else:
            run(counted, *step)
    report(differences, "recorded", sums)

    for name, counters in counted.by_task():
        found = sums.get(name.encode(), [0] * len(CODES))
        numbers = numbers_of(counters)
        assert all(have <= there for have, there in zip(found, numbers, strict=True))
        assert lost or found == numbers


def run(worker: TaskCounters, function: str, took: float, fails: bool) -> None:
    counters: Counters = worker.of(function.encode())
    counters.started += 1
    counters.failed += fails
    counters.succeeded += not fails
    counters.duration.observe(took)
    counters.punctuality.observe(took / 2)


def report(differences: Differences, luck: str, sums: dict[bytes, list[int]]) -> None:
    for batch in in_calls(differences.take()):
        if luck == "recorded":
            add(sums, batch)
        if luck != "not sent":
            differences.settle(batch)


def add(sums: dict[bytes, list[int]], batch: list[Difference]) -> None:
    for name, added in batch:
        numbers = sums.setdefault(name, [0] * len(CODES))
        for code, amount in added:
            numbers[CODES.index(code)] += amount
