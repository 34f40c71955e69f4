"""What the four paths answer for a pool, read from the pool alone."""

import json
from http import HTTPStatus

from prometheus_client.parser import text_string_to_metric_families

from ipc.messages import Histogram, WorkerCounters
from supervisor.answers import handlers_of
from supervisor.status import report
from tests.support.recording_edge import Rig


def scrape(rig: Rig) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = handlers_of(rig.ground)["/metrics"]().body.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_probe_of_life_is_always_answered() -> None:
    assert handlers_of(Rig(1).ground)["/livez"]().status is HTTPStatus.OK


def test_a_probe_of_readiness_is_told_why_not() -> None:
    rig = Rig(1)
    readyz = handlers_of(rig.ground)["/readyz"]
    assert (readyz().status, readyz().body) == (HTTPStatus.SERVICE_UNAVAILABLE, b"booting\n")
    rig.boot()
    assert (readyz().status, readyz().body) == (HTTPStatus.OK, b"ready\n")


def test_the_status_has_the_shape_that_operators_read() -> None:
    rig = Rig(2, docket="orders", url="redis://:secret@host/0").boot()
    rig.beat(rig.first, "order-1", started=100, succeeded=97)
    rig.now += 0.3
    status = report(rig.ground, rig.now)
    supervisor = status["supervisor"]
    assert supervisor["state"] == "running"
    assert (supervisor["generation"], supervisor["target"]) == (1, 2)
    assert (supervisor["docket"], supervisor["url"]) == ("orders", "redis://:***@host/0")
    first, second = status["workers"]
    assert first == {
        "slot": 1,
        "pid": 5001,
        "name": "host#1.1",
        "generation": 1,
        "state": "ready",
        "uptime_seconds": first["uptime_seconds"],
        "restarts": 0,
        "in_flight": 1,
        "tasks": [{"key": "order-1", "function": "f", "seconds": 0.1}],
        "loop_lag_seconds": 0.001,
        "heartbeat_age_seconds": first["heartbeat_age_seconds"],
        "rss_bytes": 2_000_000,
        "started": 100,
        "succeeded": 97,
        "failed": 0,
        "retried": 0,
        "redelivered": 0,
    }
    assert abs(first["heartbeat_age_seconds"] - 0.3) < 1e-6
    assert second["heartbeat_age_seconds"] is None
    assert status["totals"] == {
        "started": 100,
        "succeeded": 97,
        "failed": 0,
        "retried": 0,
        "redelivered": 0,
        "poisoned": 0,
        "crashes": 0,
        "restarts": 0,
        "stalls": 0,
    }
    assert json.loads(handlers_of(rig.ground)["/status"]().body)["totals"] == status["totals"]


def test_a_slot_that_waits_for_its_backoff_is_shown_as_dead() -> None:
    rig = Rig(1).boot()
    rig.beat(rig.first, "order-1")
    for slot in rig.ground.registry.slots():
        slot.backoff.pause_after(0.0)
        slot.backoff.pause_after(0.0)
    rig.ground.generations.preload = True
    rig.exit(rig.first)
    (worker,) = report(rig.ground, rig.now + 5)["workers"]
    assert worker["state"] in ("dead", "starting")
    assert worker["in_flight"] == 0
    assert worker["restarts"] == 1


def test_before_anything_runs_the_status_is_empty() -> None:
    status = report(Rig(1).ground, 100.5)
    assert status["workers"] == []
    assert status["supervisor"]["state"] == "starting"
    assert status["supervisor"]["generation"] == 0


def test_metrics_have_labels_that_are_bounded() -> None:
    rig = Rig(2).boot()
    rig.beat(rig.first, "order-1", started=5)
    rig.beat(rig.second)
    rig.exit(rig.first)
    samples = scrape(rig)
    labels = {name for _, pairs in samples for name, _ in pairs}
    assert labels == {"docket", "worker", "slot", "state", "reason", "le"}
    assert samples["docket_supervisor_workers", (("state", "ready"),)] == 1
    assert samples["docket_supervisor_workers", (("state", "starting"),)] == 1
    assert samples["docket_supervisor_worker_restarts_total", (("reason", "crash"),)] == 1
    assert samples["docket_supervisor_crashes_total", ()] == 1


def test_counters_and_histograms_keep_what_the_dead_have_done() -> None:
    rig = Rig(1).boot()
    duration = Histogram([1, 2, *[0] * 15, 4], 9.5)
    rig.ground.totals.counted(1, 1, WorkerCounters(started=7, duration=duration))
    rig.exit(rig.first)
    rig.ground.totals.redelivered_after(0.06)
    samples = scrape(rig)
    started = ("docket_tasks_started_total", (("docket", "docket"), ("worker", "1")))
    assert samples[started] == 7
    bucket = "docket_task_duration_bucket"
    assert samples[bucket, (("docket", "docket"), ("le", "0.001"))] == 1
    assert samples[bucket, (("docket", "docket"), ("le", "0.0025"))] == 3
    assert samples[bucket, (("docket", "docket"), ("le", "+Inf"))] == 7
    assert samples["docket_task_duration_sum", (("docket", "docket"),)] == 9.5
    redelivery = "docket_supervisor_redelivery_seconds_bucket"
    assert samples[redelivery, (("le", "0.05"),)] == 0
    assert samples[redelivery, (("le", "0.075"),)] == 1
