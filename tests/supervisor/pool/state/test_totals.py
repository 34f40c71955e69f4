"""Counters never go backwards, whatever the children say and however they end."""

from hypothesis import given
from hypothesis import strategies as st

from ipc.messages import Histogram, WorkerCounters
from supervisor.pool.state.totals import REDELIVERY_BUCKETS, Totals

NUMBERS = st.integers(0, 1000)


def said(number: int) -> WorkerCounters:
    return WorkerCounters(
        started=number, succeeded=number // 2, duration=Histogram([number, 0, number], number / 10)
    )


@given(st.lists(st.tuples(st.integers(1, 4), NUMBERS), max_size=40))
def test_the_sums_only_rise(reports: list[tuple[int, int]]) -> None:
    totals, before, most = Totals(), 0, dict.fromkeys(range(1, 5), 0)
    for process, number in reports:
        totals.add(process, 1 + process % 2, said(number))
        now = totals.sums()["started"]
        assert now >= before
        before = now
        most[process] = max(most[process], number)
    assert before >= sum(most.values())


def test_a_new_worker_adds_to_the_counters_of_its_slot() -> None:
    totals = Totals()
    totals.add(1, 1, said(10))
    totals.add(1, 1, said(14))
    totals.forget(1)
    totals.add(2, 1, said(6))
    assert totals.by_slot[1]["started"] == 20
    assert totals.duration.counts == [20, 0, 20]
    assert totals.duration.sum == 2.0


def test_slots_and_reasons_are_summed() -> None:
    totals = Totals()
    totals.add(1, 1, said(10))
    totals.add(2, 2, said(20))
    totals.restarts["crash"] += 1
    totals.restarts["stall"] += 1
    assert totals.sums()["started"] == 30
    assert totals.sums()["restarts"] == 2


def test_a_redelivery_falls_into_the_bucket_of_its_time() -> None:
    totals = Totals()
    for seconds in (0.001, 0.1, 0.11, 99.0):
        totals.redelivered_after(seconds)
    assert totals.redelivery_seconds[0] == 1
    assert totals.redelivery_seconds[REDELIVERY_BUCKETS.index(0.1)] == 1
    assert totals.redelivery_seconds[REDELIVERY_BUCKETS.index(0.25)] == 1
    assert totals.redelivery_seconds[-1] == 1


def test_log_lines_that_workers_lost_are_summed_and_kept() -> None:
    totals = Totals()
    totals.add(1, 1, WorkerCounters(log_lines_dropped=3))
    totals.add(1, 1, WorkerCounters(log_lines_dropped=5))
    totals.forget(1)
    totals.add(2, 1, WorkerCounters(log_lines_dropped=2))
    assert totals.log_lines_dropped == 7
