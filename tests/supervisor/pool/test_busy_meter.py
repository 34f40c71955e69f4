"""The busy part of workers, from heartbeats and from the CPU of their loops."""

import pytest

from ipc.messages import Heartbeat, WorkerCounters
from supervisor.pool.busy_meter import LOOK_SECONDS, BusyMeter
from supervisor.pool.state.pool_state import HEARTBEAT_SECONDS
from tests.support.recording_process_control import Rig


def pool(processes: int = 1) -> tuple[Rig, BusyMeter]:
    rig = Rig(processes, concurrency=4).boot()
    return rig, BusyMeter(rig.pool_state)


def measured(rig: Rig, meter: BusyMeter) -> float:
    return meter.measure(rig.pool_state.registry.consuming(), rig.now)


def test_it_is_the_part_of_the_places_that_are_taken() -> None:
    rig, meter = pool(2)
    assert measured(rig, meter) == 0.0
    rig.beat(rig.first, "a", "b", "c")
    rig.beat(rig.second, "d")
    assert measured(rig, meter) == pytest.approx(1.0, abs=0.01)


def test_a_loop_that_computes_is_busy_although_no_task_runs_at_its_heartbeats() -> None:
    rig, meter = pool()
    rig.beat(rig.first)
    rig.process_control.used, rig.process_control.waited = 10.0, 1.0
    assert measured(rig, meter) < 0.01
    rig.now += LOOK_SECONDS
    rig.process_control.used, rig.process_control.waited = 11.0, 1.5
    assert measured(rig, meter) == pytest.approx(1.5 / LOOK_SECONDS)
    rig.now += LOOK_SECONDS / 2
    rig.process_control.used = 20.0
    assert measured(rig, meter) == pytest.approx(1.5 / LOOK_SECONDS), "it was read too early"


def test_a_worker_is_never_more_than_busy() -> None:
    rig, meter = pool()
    rig.process_control.used = rig.process_control.waited = 0.0
    measured(rig, meter)
    rig.now += LOOK_SECONDS
    rig.process_control.used = rig.process_control.waited = LOOK_SECONDS
    assert measured(rig, meter) == 1.0


def test_a_late_heartbeat_tells_of_a_blocked_loop() -> None:
    rig, meter = pool()
    lag = 3 * HEARTBEAT_SECONDS
    rig.say(rig.first, Heartbeat(1, lag, [], 0, WorkerCounters(), 2_000_000))
    assert measured(rig, meter) == pytest.approx(0.75)


def test_a_worker_that_is_measured_no_more_is_forgotten() -> None:
    rig, meter = pool(1)
    rig.process_control.used = rig.process_control.waited = 0.0
    measured(rig, meter)
    assert meter.measure([], rig.now) == 0.0
    rig.now += LOOK_SECONDS
    rig.process_control.used = LOOK_SECONDS
    assert measured(rig, meter) < 0.01, "the first look after that has none before it"
