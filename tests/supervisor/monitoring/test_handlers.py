"""The responses of the four paths, read from the state of a pool."""

import json
from http import HTTPStatus

import pytest

from ipc.messages import Backlog, ServerPolicy
from supervisor.monitoring import metrics
from supervisor.monitoring.handlers import handlers_of
from supervisor.monitoring.http_server import text
from supervisor.monitoring.status import report
from tests.support.recording_process_control import Rig


def test_the_liveness_probe_always_succeeds() -> None:
    assert handlers_of(Rig(1).pool_state)["/livez"]().status is HTTPStatus.OK


def test_a_failed_readiness_probe_has_the_reason() -> None:
    rig = Rig(1)
    readyz = handlers_of(rig.pool_state, lambda: rig.now)["/readyz"]
    assert (readyz().status, readyz().body) == (HTTPStatus.SERVICE_UNAVAILABLE, b"booting\n")
    rig.boot()
    assert (readyz().status, readyz().body) == (HTTPStatus.OK, b"ready\n")


def test_the_reason_of_a_failed_probe_is_one_printable_line() -> None:
    reason = text(HTTPStatus.SERVICE_UNAVAILABLE, "the server says \x1b[2J\u202e\nready")
    assert reason.body == rb"the server says \x1b[2J\u202e\nready" + b"\n"


def test_the_status_has_the_shape_that_operators_read() -> None:
    rig = Rig(2, docket="orders", url="redis://:secret@host/0").boot()
    rig.beat(rig.first, "order-1", started=100, succeeded=97)
    rig.now += 0.3
    status = report(rig.pool_state, rig.now)
    supervisor = status["supervisor"]
    assert supervisor["state"] == "running"
    assert (supervisor["generation"], supervisor["target"]) == (1, 2)
    assert (supervisor["docket"], supervisor["url"]) == ("orders", "redis://:***@host/0")
    assert status["server"] is None
    rig.say(rig.first, ServerPolicy("allkeys-lru", appendonly=True))
    server = report(rig.pool_state, rig.now)["server"]
    assert server == {"maxmemory_policy": "allkeys-lru", "appendonly": True}
    first, second = status["workers"]
    assert first == {
        "slot": 1,
        "pid": 5001,
        "name": "host#1.1",
        "generation": 1,
        "state": "ready",
        "ready": True,
        "waiting": None,
        "uptime_seconds": first["uptime_seconds"],
        "restarts": 0,
        "in_flight": 1,
        "tasks": [{"key": "order-1", "function": "f", "seconds": 0.1}],
        "loop_lag_seconds": 0.001,
        "heartbeat_age_seconds": first["heartbeat_age_seconds"],
        "rss_bytes": 2_000_000,
        "cpu_percent": 12.5,
        "cpu_seconds": 3.25,
        "open_descriptors": 17,
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
    answer = handlers_of(rig.pool_state, lambda: rig.now)["/status"]()
    assert json.loads(answer.body)["totals"] == status["totals"]


def test_the_status_has_the_backlog_once_a_steward_has_told_it() -> None:
    rig = Rig(2).boot()
    rig.beat(rig.first, "order-1")
    assert report(rig.pool_state, rig.now)["backlog"] is None

    rig.say(rig.first, Backlog(queued=7, oldest_ready_seconds=1.5, workers=2))
    rig.now += 0.1

    backlog = report(rig.pool_state, rig.now)["backlog"]
    assert (backlog["queued"], backlog["oldest_ready_seconds"]) == (7, 1.5)
    assert (backlog["places"], backlog["places_used"]) == (20, 1)
    assert backlog["age_seconds"] == pytest.approx(0.1)


def test_a_slot_that_waits_for_its_backoff_is_shown_as_dead() -> None:
    rig = Rig(1).boot()
    rig.beat(rig.first, "order-1")
    for slot in rig.pool_state.registry.slots():
        slot.backoff.pause_after(0.0)
        slot.backoff.pause_after(0.0)
    rig.pool_state.nurseries.preload = True
    rig.exit(rig.first)
    (worker,) = report(rig.pool_state, rig.now + 5)["workers"]
    assert worker["state"] in ("dead", "starting")
    assert worker["in_flight"] == 0
    assert worker["restarts"] == 1


def test_before_anything_runs_the_status_is_empty() -> None:
    status = report(Rig(1).pool_state, 100.5)
    assert status["workers"] == []
    assert status["supervisor"]["state"] == "starting"
    assert status["supervisor"]["generation"] == 0


def test_a_scrape_is_answered_in_the_format_of_prometheus() -> None:
    rig = Rig(2).boot()
    answer = handlers_of(rig.pool_state, lambda: rig.now)["/metrics"]()
    assert (answer.status, answer.content_type) == (HTTPStatus.OK, metrics.CONTENT_TYPE)
    assert 'docket_supervisor_workers{state="ready"} 2.0' in answer.body.decode()
