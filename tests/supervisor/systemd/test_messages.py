"""Messages to the service manager, with a pool without processes and a manual clock."""

from datetime import timedelta

import pytest

from ipc.messages import LoadFailed, Waiting
from supervisor.pool.state.inbox_events import CommandReceived, NurseryMessage, Tick
from supervisor.pool.state.nursery_registry import Phase
from supervisor.pool.state.pool_commands import Drain
from supervisor.pool.state.worker_registry import LATE_SECONDS
from supervisor.systemd.messages import (
    MOST_STATUS,
    OVERTIME_SECONDS,
    NotifyProtocol,
    ServiceStatus,
    service_status,
)
from tests.support.recording_process_control import Rig


def status_at(rig: Rig) -> ServiceStatus:
    return service_status(rig.pool_state, rig.now)


def status_of(rig: Rig) -> str:
    return status_at(rig).status


def beat_all(rig: Rig) -> None:
    for worker in list(rig.pool_state.registry.alive()):
        rig.beat(worker)


def drain(rig: Rig) -> None:
    rig.feed(CommandReceived(Drain()))


# The text of STATUS=.


def test_a_boot_reports_its_import_then_its_ready_workers() -> None:
    rig = Rig(processes=3)
    rig.feed(Tick())
    assert status_of(rig) == "starting: importing the task modules, 0 of 3 workers ready"

    rig.load()
    assert status_of(rig) == "starting: 0 of 3 workers ready"

    first = rig.process_control.spawned[0]
    rig.fork(first)
    rig.ready(first)
    assert status_of(rig) == "starting: 1 of 3 workers ready"


def test_a_pool_is_ready_with_some_of_its_workers_once_the_boot_timeout_is_over() -> None:
    rig = Rig(processes=8, boot_timeout=timedelta(seconds=30))
    protocol = NotifyProtocol(None)
    rig.load()
    for worker in rig.process_control.spawned[:7]:
        rig.fork(worker)
        rig.ready(worker)
    sent = "".join(protocol.datagrams(status_at(rig), rig.now))
    assert "READY=1" not in sent
    assert "STATUS=starting: 7 of 8 workers ready" in sent

    rig.pass_seconds(30, lambda: beat_all(rig))
    assert protocol.datagrams(status_at(rig), rig.now) == ["READY=1\nSTATUS=7 of 8 workers ready"]


def test_a_pool_of_one_has_a_singular() -> None:
    assert status_of(Rig(processes=1).boot()) == "1 of 1 worker ready"


def test_a_pool_that_lost_a_worker_reports_the_rest_until_it_is_replaced() -> None:
    rig = Rig(processes=8).boot()
    assert status_of(rig) == "8 of 8 workers ready"

    rig.exit(rig.first)
    assert status_of(rig) == "7 of 8 workers ready"

    rig.fork(rig.first)
    rig.ready(rig.first)
    assert status_of(rig) == "8 of 8 workers ready"


def test_a_server_that_is_away_is_reported_with_the_reason_once() -> None:
    rig = Rig().boot()
    for worker in (rig.first, rig.second):
        rig.say(worker, Waiting("connection refused"))
    assert status_of(rig) == "0 of 2 workers ready; the server is away: connection refused"

    rig.ready(rig.first)
    rig.ready(rig.second)
    assert status_of(rig) == "2 of 2 workers ready"


def test_a_failed_reload_is_reported_until_one_succeeds() -> None:
    rig = Rig().boot()
    rig.pool_state.reload_error = "SyntaxError: invalid syntax\n  in line 3"
    text = "2 of 2 workers ready; the last reload failed: SyntaxError: invalid syntax in line 3"
    assert status_of(rig) == text

    rig.pool_state.reload_error = None
    assert status_of(rig) == "2 of 2 workers ready"


def test_a_drain_reports_its_remaining_tasks_and_its_reason() -> None:
    rig = Rig().boot()
    rig.beat(rig.first, "a", "b")
    rig.beat(rig.second, "c")
    rig.feed(CommandReceived(Drain()))
    assert rig.pool_state.drain is not None
    rig.pool_state.drain.cause = "more than 3 restarts in 1m00s"
    reason = "; more than 3 restarts in 1m00s"
    assert status_of(rig) == "draining: 3 tasks left in 2 workers" + reason

    rig.beat(rig.first, "b")
    rig.beat(rig.second)
    rig.drain_and_exit(rig.second)
    assert status_of(rig) == "draining: 1 task left in 1 worker" + reason


def test_a_slot_with_two_workers_counts_once_and_one_beyond_the_target_not_at_all() -> None:
    rig = Rig(processes=3).boot()
    registry = rig.pool_state.registry
    successor = registry.add(registry.slots()[0], 1, rig.now)
    rig.ready(successor)
    assert len(registry.consuming()) == 4
    assert rig.pool_state.ready_slots(rig.now) == 3

    registry.set_target(2)
    assert rig.pool_state.ready_slots(rig.now) == 2


def test_a_reason_of_many_lines_and_control_characters_is_one_line_of_bounded_length() -> None:
    rig = Rig().boot()
    rig.pool_state.reload_error = "READY=1\nSTOPPING=1\r\x1b[31m" + "x" * 5000
    text = status_of(rig)
    assert text.isprintable()
    assert len(text) == MOST_STATUS
    assert "READY=1 STOPPING=1 ?[31m" in text


# Extensions of time, and signs of life.


def test_an_import_has_no_time_limit() -> None:
    rig = Rig()
    rig.feed(Tick())
    rig.pass_seconds(3600)
    assert (status_at(rig).needs_time, status_at(rig).is_healthy) == (True, True)


def test_a_boot_that_is_over_time_gets_no_extension() -> None:
    rig = Rig(boot_timeout=timedelta(seconds=30))
    rig.load()
    rig.now += 30
    assert (status_at(rig).needs_time, status_at(rig).is_healthy) == (True, True)
    rig.now += 1  # and no tick has ended it: the pool's own clock stands
    assert (status_at(rig).needs_time, status_at(rig).is_healthy) == (False, False)


def test_a_running_pool_needs_no_extension() -> None:
    assert not status_at(Rig().boot()).needs_time


def test_one_loop_that_beats_is_enough() -> None:
    rig = Rig().boot()
    beat_all(rig)
    assert status_at(rig).is_healthy
    rig.now += LATE_SECONDS + 0.1
    assert not status_at(rig).is_healthy
    rig.beat(rig.second)
    assert status_at(rig).is_healthy


def test_a_pool_is_healthy_while_its_server_is_away_for_hours() -> None:
    rig = Rig().boot()
    beat_all(rig)

    def waits() -> None:
        if rig.now % 1.0:  # once a second: that is in time, and hours have many ticks
            return
        for worker in (rig.first, rig.second):
            rig.say(worker, Waiting("connection refused"))
        beat_all(rig)

    rig.pass_seconds(7200, waits)
    assert (status_at(rig).is_healthy, status_at(rig).needs_time) == (True, False)


def test_a_pool_whose_workers_all_hang_is_unhealthy_until_they_are_replaced() -> None:
    rig = Rig(stall_timeout=timedelta(seconds=20)).boot()
    beat_all(rig)
    rig.pass_seconds(LATE_SECONDS + 1)
    assert not status_at(rig).is_healthy
    rig.pass_seconds(20)
    assert len(rig.process_control.killed) == 2
    for worker in (rig.first, rig.second):
        rig.exit(worker)
    assert status_at(rig).is_healthy


def test_a_pool_with_a_booting_successor_is_healthy_until_its_time_is_over() -> None:
    rig = Rig(boot_timeout=timedelta(seconds=30)).boot()
    beat_all(rig)
    for worker in (rig.first, rig.second):
        rig.exit(worker)
    rig.fork(rig.first)
    rig.now += 29
    assert status_at(rig).is_healthy
    rig.now += 2
    assert not status_at(rig).is_healthy


def test_the_time_to_boot_begins_with_the_fork() -> None:
    rig = Rig(processes=1, boot_timeout=timedelta(seconds=30)).boot()
    rig.exit(rig.first)
    rig.now += 20
    rig.fork(rig.first)
    rig.now += 29
    assert status_at(rig).is_healthy
    rig.now += 2
    assert not status_at(rig).is_healthy


def test_a_pool_with_a_slot_in_backoff_is_healthy_until_its_pause_is_over() -> None:
    rig = Rig(processes=1, max_restarts=100).boot()
    rig.now += 3600
    (slot,) = rig.pool_state.registry.slots()
    rig.exit(rig.first)
    while slot.due_at <= rig.now:  # the first pause is none, the others are random
        rig.exit(rig.first)
    assert status_at(rig).is_healthy
    rig.now = slot.due_at + 0.001
    assert not status_at(rig).is_healthy


def test_a_pool_with_a_nursery_in_backoff_is_healthy_until_its_pause_is_over() -> None:
    rig = Rig(processes=1).boot()
    rig.now += 3600
    rig.nursery_exit(1, 9)
    assert rig.pool_state.nurseries.find(2) is not None
    assert status_at(rig).is_healthy  # it loads
    while rig.pool_state.nurseries.due_at <= rig.now:
        generation = rig.process_control.nurseries[-1][0]
        rig.feed(NurseryMessage(generation, LoadFailed(generation, "SyntaxError", "")))
        rig.nursery_exit(generation, 256)
    assert status_at(rig).is_healthy
    rig.now = rig.pool_state.nurseries.due_at + 0.001
    assert not status_at(rig).is_healthy


def test_a_drain_has_its_time_and_that_of_the_steps_after_its_deadline() -> None:
    rig = Rig(drain_timeout=timedelta(seconds=600)).boot()
    drain(rig)
    for elapsed in (0, 599, OVERTIME_SECONDS):
        rig.now += elapsed
        assert (status_at(rig).needs_time, status_at(rig).is_healthy) == (True, True)
    rig.now += 2
    assert (status_at(rig).needs_time, status_at(rig).is_healthy) == (False, False)


def test_a_reload_needs_time_while_it_imports_or_the_server_is_there() -> None:
    rig = Rig().boot()
    beat_all(rig)
    rig.pool_state.reloading_since = rig.now
    assert status_at(rig).state == "reloading"
    assert (status_at(rig).needs_time, status_of(rig)) == (True, "reloading: 2 of 2 workers ready")

    rig.say(rig.first, Waiting("connection refused"))
    assert (status_at(rig).needs_time, status_at(rig).is_healthy) == (False, True)

    nursery = rig.pool_state.nurseries.add(77, rig.now, preload=True)
    assert nursery.phase is Phase.LOADING
    assert status_at(rig).needs_time
    assert status_of(rig).startswith("reloading: importing the task modules, 1 of 2 workers ready")


# The messages.

STARTING = ServiceStatus("starting", "starting: 0 of 2 workers ready", True, True)
RUNNING = ServiceStatus("running", "2 of 2 workers ready", False, True)
RELOADING = ServiceStatus("reloading", "reloading: 2 of 2 workers ready", True, True)
DRAINING = ServiceStatus("draining", "draining: 1 task left in 1 worker", True, True)


def test_a_run_from_its_start_to_its_end() -> None:
    protocol = NotifyProtocol(None)
    more = "EXTEND_TIMEOUT_USEC=20000000"
    assert protocol.datagrams(STARTING, 1.0) == [f"STATUS={STARTING.status}\n{more}"]
    assert protocol.datagrams(STARTING, 2.0) == []
    assert protocol.datagrams(RUNNING, 3.0) == [f"READY=1\nSTATUS={RUNNING.status}"]
    assert protocol.datagrams(RELOADING, 4.5) == [
        f"RELOADING=1\nMONOTONIC_USEC=4500000\nSTATUS={RELOADING.status}\n{more}"
    ]
    assert protocol.datagrams(RELOADING, 5.0) == []
    assert protocol.datagrams(RUNNING, 6.0) == [f"READY=1\nSTATUS={RUNNING.status}"]
    assert protocol.datagrams(DRAINING, 7.0) == [f"STOPPING=1\nSTATUS={DRAINING.status}\n{more}"]
    assert protocol.datagrams(DRAINING, 8.0) == []


def test_more_time_is_asked_for_again_and_again() -> None:
    protocol = NotifyProtocol(None)
    asked = [now for now in range(31) if protocol.datagrams(DRAINING, float(now))]
    assert asked == [0, 5, 10, 15, 20, 25, 30]


def test_a_status_waits_its_second_and_is_then_the_latest() -> None:
    protocol = NotifyProtocol(None)
    protocol.datagrams(RUNNING, 1.0)
    for ready, now in ((1, 1.1), (0, 1.5), (1, 1.9)):
        assert protocol.datagrams(ServiceStatus("running", f"{ready} of 2", False, True), now) == []
    assert protocol.datagrams(ServiceStatus("running", "1 of 2", False, True), 2.0) == [
        "STATUS=1 of 2"
    ]
    assert protocol.datagrams(ServiceStatus("running", "1 of 2", False, True), 9.0) == []


def test_a_change_of_state_brings_the_status_however_soon_after_another() -> None:
    protocol = NotifyProtocol(None)
    protocol.datagrams(RUNNING, 1.0)
    assert f"STATUS={RELOADING.status}" in protocol.datagrams(RELOADING, 1.1)[0]
    assert protocol.datagrams(RUNNING, 1.2) == [f"READY=1\nSTATUS={RUNNING.status}"]


@pytest.mark.parametrize("status", [RUNNING, RELOADING], ids=lambda each: each.state)
def test_a_hangup_is_always_answered_by_a_reload_newer_than_itself(status: ServiceStatus) -> None:
    protocol = NotifyProtocol(None)
    protocol.datagrams(RUNNING, 1.0)
    protocol.datagrams(status, 2.0)
    answered = protocol.datagrams(status, 3.0, reload_asked=True)
    assert answered[0].startswith("RELOADING=1\nMONOTONIC_USEC=3000000")
    assert [each.startswith("READY=1") for each in answered[1:]] == [True] * (status is RUNNING)


@pytest.mark.parametrize("status", [STARTING, DRAINING], ids=lambda each: each.state)
def test_a_hangup_during_the_start_or_the_end_reloads_nothing(status: ServiceStatus) -> None:
    protocol = NotifyProtocol(None)
    sent = protocol.datagrams(status, 1.0) + protocol.datagrams(status, 2.0, reload_asked=True)
    assert not any("RELOADING" in each for each in sent)


def test_a_pool_that_is_drained_before_it_was_ready_is_never_reported_ready() -> None:
    protocol = NotifyProtocol(None)
    sent = protocol.datagrams(STARTING, 1.0) + protocol.datagrams(DRAINING, 2.0)
    assert "READY=1" not in "\n".join(sent)
    assert sent[-1].startswith("STOPPING=1\n")


def test_a_sign_of_life_is_sent_at_half_of_the_watchdog_time_and_only_if_healthy() -> None:
    protocol = NotifyProtocol(2.0)
    dead = ServiceStatus("running", RUNNING.status, False, False)
    assert protocol.next_due() is None
    assert protocol.datagrams(RUNNING, 1.0)[-1].endswith("WATCHDOG=1")
    assert protocol.next_due() == 2.0
    assert protocol.datagrams(RUNNING, 1.9) == []
    assert protocol.datagrams(RUNNING, 2.0) == ["WATCHDOG=1"]
    assert protocol.datagrams(dead, 3.0) == []
    assert protocol.next_due() is None
    assert protocol.datagrams(RUNNING, 3.3) == ["WATCHDOG=1"]


def test_without_a_watchdog_there_are_no_signs_of_life() -> None:
    protocol = NotifyProtocol(None)
    assert "WATCHDOG" not in "".join(
        protocol.datagrams(RUNNING, 1.0) + protocol.datagrams(RUNNING, 1000.0)
    )
    assert protocol.next_due() is None
