"""The contents of heartbeats."""

from pathlib import Path

import pytest

from docket.instrumentation import Counters
from docket.supervision import RunningTask
from ipc.framing import encode
from ipc.messages import MAX_TASKS_LISTED, Task, WorkerCounters
from supervisor.worker import heartbeats
from supervisor.worker.heartbeats import heartbeat, in_flight, rss_bytes, totals


def test_the_longest_running_tasks_are_listed_first() -> None:
    running = [RunningTask("new", "f", 9.0), RunningTask("old", "g", 1.0)]

    assert in_flight(running, now=10.0) == [Task("old", "g", 9.0), Task("new", "f", 1.0)]


def test_a_start_after_now_counts_as_now() -> None:
    assert in_flight([RunningTask("k", "f", 10.5)], now=10.0) == [Task("k", "f", 0.0)]


def test_any_number_of_tasks_with_keys_of_any_length_fits_a_frame() -> None:
    running = [RunningTask("\U0001f600" * 10_000, "f" * 10_000, float(i)) for i in range(1000)]

    message = heartbeat(1, 2000.0, 0.1, running, Counters(), 1)

    assert len(message.in_flight) == MAX_TASKS_LISTED
    assert message.in_flight_total == 1000
    assert message.in_flight[0].seconds == 2000.0
    assert encode(message)


def test_the_counters_sent_do_not_change_when_the_worker_counts_on() -> None:
    counters = Counters(started=3, succeeded=2, failed=1)
    counters.duration.observe(0.0001)

    sent = totals(counters)
    counters.started += 1
    counters.duration.observe(0.0001)

    assert (sent.started, sent.succeeded, sent.failed) == (3, 2, 1)
    assert sent.duration.counts[0] == 1
    assert sent.duration.sum == 0.0001


def test_every_counter_of_docket_is_sent() -> None:
    sent = set(WorkerCounters.__struct_fields__)
    assert set(Counters.__slots__) == sent - {"log_lines_dropped"}  # that is the process's


def test_the_resident_memory_is_that_of_this_process() -> None:
    assert 5_000_000 < rss_bytes() < 2_000_000_000


def test_where_there_is_no_proc_the_resident_memory_is_still_the_present_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    present = rss_bytes()
    monkeypatch.setattr(heartbeats, "_STATM", tmp_path / "statm")
    assert 0.8 * present < rss_bytes() < 1.2 * present
