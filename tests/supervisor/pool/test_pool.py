"""The pool's decisions, with a process control that only records its calls."""

import json
import signal

import pytest

from ipc.messages import (
    Adopt,
    Adopted,
    Drained,
    Draining,
    Fault,
    Hello,
    Ready,
    Redelivered,
    ServerPolicy,
    Steward,
    Waiting,
)
from supervisor.ctl.report import read_report
from supervisor.ctl.status_view import render
from supervisor.exit_codes import ExitCode
from supervisor.monitoring.status import report, worker_states
from supervisor.observer import (
    AdoptionFinished,
    FirstRedelivered,
    PoolReady,
    WorkerDied,
    WorkerReady,
)
from supervisor.pool.state.inbox_events import (
    SignalReceived,
    Tick,
    WorkerDisconnected,
    WorkerExited,
    WorkerMessage,
)
from supervisor.pool.state.worker_registry import LATE_SECONDS, Cause, WorkerState
from supervisor.signals import ReceivedSignal
from supervisor.systemd.messages import service_status
from tests.support.recording_process_control import Rig


def test_workers_are_asked_for_once_the_code_is_loaded() -> None:
    rig = Rig(2)
    rig.load()
    assert rig.process_control.nurseries == [(1, True)]
    assert [worker.slot for worker in rig.process_control.spawned] == [1, 2]


def test_no_more_workers_are_starting_at_once_than_allowed() -> None:
    rig = Rig(4)
    rig.pool_state.starting_at_once = 2
    rig.load()
    assert len(rig.process_control.spawned) == 2
    rig.ready(rig.first)
    assert len(rig.process_control.spawned) == 3


@pytest.mark.parametrize(
    ("used", "waited", "more"),
    [
        (0.05, 0.01, True),  # its import waits for something
        (0.9, 0.0, False),  # its import computes
        (0.1, 0.8, False),  # it would compute, if it got a CPU
        (None, None, False),  # nobody knows
    ],
)
def test_a_worker_whose_start_only_waits_takes_no_room(
    used: float | None, waited: float | None, *, more: bool
) -> None:
    rig = Rig(6)
    rig.pool_state.starting_at_once = 2
    rig.load()
    for worker in rig.process_control.spawned:
        rig.fork(worker)
    rig.process_control.used, rig.process_control.waited = used, waited
    rig.feed(Tick(regular=True))
    assert len(rig.process_control.spawned) == 2  # too early to say
    rig.pass_seconds(1.0)
    assert len(rig.process_control.spawned) == (4 if more else 2)


def test_the_pool_is_ready_when_every_worker_is() -> None:
    rig = Rig(2)
    rig.load()
    assert rig.pool_state.not_ready_because(rig.now) == "booting"
    rig.ready(rig.first)
    assert rig.pool_state.not_ready_because(rig.now) is None  # the first one serves already
    assert rig.saw(PoolReady) == []
    rig.ready(rig.second)
    assert rig.pool_state.not_ready_because(rig.now) is None
    (ready,) = rig.saw(PoolReady)
    assert ready.workers == 2
    assert [event.slot for event in rig.saw(WorkerReady)] == [1, 2]


def test_a_worker_may_be_ready_before_the_nursery_reports_its_fork() -> None:
    rig = Rig(1)
    rig.load()
    rig.ready(rig.first)
    assert rig.first.state is WorkerState.READY
    rig.fork(rig.first)
    assert rig.first.state is WorkerState.READY
    assert rig.first.deadline is None


def test_a_crash_is_adopted_by_a_live_worker_and_replaced_at_once() -> None:
    rig = Rig(2).boot()
    dead = rig.first
    rig.beat(dead, "order-1")
    rig.exit(dead)
    (adopt,) = rig.process_control.sent_to(rig.second.number, Adopt)
    assert (adopt.consumer, adopt.blame) == ("host#1.1", "everyone")
    assert rig.first is not dead
    assert rig.first.state is WorkerState.REQUESTED
    assert rig.process_control.released == [dead.number]
    (died,) = rig.saw(WorkerDied)
    assert (died.slot, died.expected, died.reason) == (1, False, "killed by SIGKILL")


def test_an_adoption_waits_for_the_next_ready_worker_if_there_is_none() -> None:
    rig = Rig(1).boot()
    rig.exit(rig.first)
    successor = rig.first
    assert rig.process_control.sent_to(successor.number, Adopt) == []
    rig.fork(successor)
    rig.ready(successor)
    assert [each.consumer for each in rig.process_control.sent_to(successor.number, Adopt)] == [
        "host#1.1"
    ]


def test_an_adoption_is_sent_again_when_its_adopter_dies() -> None:
    rig = Rig(3).boot()
    rig.exit(rig.first)
    adopter = rig.second
    assert len(rig.process_control.sent_to(adopter.number, Adopt)) == 1
    rig.exit(adopter)
    consumers = [each.consumer for each in rig.process_control.sent_to(rig.worker(3).number, Adopt)]
    assert sorted(consumers) == ["host#1.1", "host#2.2"]


def test_an_adoption_goes_to_another_when_its_adopter_loses_the_server() -> None:
    rig = Rig(3).boot()
    rig.exit(rig.first)
    rig.say(rig.second, Waiting("connection refused"))
    assert len(rig.process_control.sent_to(rig.worker(3).number, Adopt)) == 1


def test_an_adoption_that_is_done_is_reported_once() -> None:
    rig = Rig(2).boot()
    rig.exit(rig.first)
    rig.now += 0.01
    rig.say(rig.second, Adopted("host#1.1", 7, ["bad"], 1))
    rig.say(rig.second, Adopted("host#1.1", 0))
    (finished,) = rig.saw(AdoptionFinished)
    assert (finished.moved, finished.poisoned) == (7, ("bad",))
    assert finished.seconds == pytest.approx(0.01)
    assert rig.pool_state.totals.sums()["poisoned"] == 1


def test_a_task_failed_as_poison_is_logged_with_the_option_that_limits_deaths(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    rig = Rig(2).boot()
    rig.exit(rig.first)
    rig.say(rig.second, Adopted("host#1.1", 0, ["bad"], 1))
    assert "1 task failed as poison, for --max-deliveries deaths of workers: bad" in caplog.text
    assert "put back" not in caplog.text


def test_only_the_first_redelivery_of_a_dead_worker_is_measured() -> None:
    rig = Rig(3).boot()
    rig.exit(rig.first)
    rig.say(rig.second, Redelivered("host#1.1", rig.now + 0.02))
    rig.say(rig.worker(3), Redelivered("host#1.1", rig.now + 0.05))
    (first,) = rig.saw(FirstRedelivered)
    assert first.seconds == pytest.approx(0.02)
    assert sum(rig.pool_state.totals.redelivery_seconds) == 1


def test_every_name_under_which_a_worker_claimed_is_adopted() -> None:
    rig = Rig(2).boot()
    rig.say(rig.first, Waiting("connection reset"))
    rig.say(rig.first, Ready("host#1.other", "host#1", 1))
    rig.exit(rig.first)
    consumers = [each.consumer for each in rig.process_control.sent_to(rig.second.number, Adopt)]
    assert consumers == ["host#1.1", "host#1.other"]


def test_a_slot_that_keeps_crashing_waits_longer_and_longer() -> None:
    rig = Rig(1, max_restarts=100).boot()
    pauses = []
    for _ in range(6):
        rig.exit(rig.first)
        pauses.append(rig.pool_state.registry.slots()[0].due_at - rig.now)
        rig.pass_seconds(max(0.25, pauses[-1]))
        rig.fork(rig.first)
        rig.ready(rig.first)
    assert pauses[0] == 0.0
    bounds = (0.1, 0.2, 0.4, 0.8, 1.6)
    assert all(0 <= pause <= most for pause, most in zip(pauses[1:], bounds, strict=True))


def test_an_empty_slot_has_a_time_at_which_it_is_due() -> None:
    rig = Rig(1).boot()
    assert rig.pool.next_due(rig.now) is None
    rig.pool_state.registry.slots()[0].due_at = rig.now + 7
    rig.first.enter(WorkerState.DEAD)
    assert rig.pool.next_due(rig.now) == rig.now + 7


def test_more_restarts_than_allowed_in_the_window_drain_the_pool_with_code_4() -> None:
    rig = Rig(2, max_restarts=2).boot()
    for _ in range(3):
        rig.exit(rig.first)
        rig.pass_seconds(0.5)
        if rig.first.alive and rig.pool_state.drain is None:
            rig.fork(rig.first)
            rig.ready(rig.first)
    drain = rig.pool_state.drain
    assert drain is not None
    assert drain.code is ExitCode.GAVE_UP
    assert "more than 2 restarts in 1m00s" in (drain.reason or "")
    assert "killed by SIGKILL" in (drain.reason or "")


def test_the_first_ready_worker_is_steward_and_its_death_moves_that() -> None:
    rig = Rig(2).boot()
    assert rig.process_control.sent_to(rig.first.number, Steward) == [Steward(True)]
    rig.exit(rig.first)
    assert rig.process_control.sent_to(rig.second.number, Steward) == [Steward(True)]


def test_a_server_that_evicts_is_a_warning_once_and_again_when_it_was_changed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    rig = Rig(2).boot()
    for worker, policy in (
        (rig.first, ServerPolicy("allkeys-lru", appendonly=True)),
        (rig.second, ServerPolicy("allkeys-lru", appendonly=True)),
        (rig.second, ServerPolicy("noeviction", appendonly=False)),
        (rig.second, ServerPolicy("volatile-ttl", appendonly=True)),
    ):
        rig.say(worker, policy)

    said = [(r.levelname, r.getMessage()) for r in caplog.records if "the server" in r.getMessage()]
    assert [level for level, _ in said] == ["WARNING", "INFO", "WARNING"]
    assert "maxmemory-policy allkeys-lru" in said[0][1]
    assert "appendonly no" in said[1][1]
    assert "maxmemory-policy volatile-ttl" in said[2][1]


def test_a_steward_whose_loop_is_late_is_relieved() -> None:
    rig = Rig(2).boot()
    late, other = rig.first, rig.second
    rig.pass_seconds(2.0, lambda: rig.beat(other))
    assert rig.process_control.sent_to(late.number, Steward) == [Steward(True), Steward(False)]
    assert rig.process_control.sent_to(other.number, Steward) == [Steward(True)]


def test_a_lost_channel_is_a_hint_and_the_exit_is_the_fact() -> None:
    rig = Rig(2).boot()
    lost = rig.first
    rig.feed(WorkerDisconnected(lost.number, None))
    assert rig.process_control.killed == [lost.number]
    assert rig.process_control.sent_to(rig.second.number, Adopt) == []
    rig.exit(lost)
    (adopt,) = rig.process_control.sent_to(rig.second.number, Adopt)
    assert adopt.blame == "everyone"


def test_a_worker_that_breaks_its_channel_is_killed_and_its_tasks_are_innocent() -> None:
    rig = Rig(2).boot()
    broken = rig.first
    rig.feed(WorkerDisconnected(broken.number, ValueError("not our protocol")))
    rig.exit(broken)
    (adopt,) = rig.process_control.sent_to(rig.second.number, Adopt)
    assert adopt.blame == "nobody"


def test_the_end_of_a_drained_workers_channel_kills_no_worker() -> None:
    rig = Rig(2).boot()
    rig.say(rig.first, Draining())
    rig.say(rig.first, Drained())
    rig.feed(WorkerDisconnected(rig.first.number, None))
    assert rig.process_control.killed == []


def test_a_worker_that_drained_unasked_is_replaced_without_a_crash() -> None:
    rig = Rig(2).boot()
    drained = rig.first
    rig.drain_and_exit(drained)
    assert rig.first is not drained
    assert rig.pool_state.totals.sums()["crashes"] == 0
    assert rig.saw(WorkerDied)[0].expected


def test_a_process_that_does_not_end_after_its_drain_is_killed_and_no_crash() -> None:
    rig = Rig(2).boot()
    stuck = rig.first
    rig.say(stuck, Drained())
    rig.pass_seconds(4.5, lambda: rig.beat(rig.second))
    assert rig.process_control.killed == []
    rig.pass_seconds(1.0, lambda: rig.beat(rig.second))
    assert rig.process_control.killed == [stuck.number]
    rig.exit(stuck)
    assert rig.pool_state.totals.sums()["crashes"] == 0
    assert rig.process_control.sent_to(rig.second.number, Adopt) == []


def test_a_fault_is_the_reason_of_the_death() -> None:
    rig = Rig(2).boot()
    rig.say(rig.first, Fault("the codec is broken", "Traceback"))
    rig.exit(rig.first, 256)
    assert rig.saw(WorkerDied)[0].reason == "the codec is broken"


def test_a_boot_whose_code_cannot_be_loaded_is_not_tried_again() -> None:
    rig = Rig(2)
    rig.load()
    rig.fork(rig.first)
    rig.say(rig.first, Fault("cannot import 'shop'", "Traceback", cannot_load=True))
    assert rig.pool_state.drain is not None
    assert (rig.pool_state.drain.code, rig.pool_state.drain.reason) == (
        ExitCode.BOOT_FAILED,
        "cannot import 'shop'",
    )


def test_a_boot_goes_on_when_others_could_load_the_code() -> None:
    rig = Rig(2)
    rig.load()
    rig.ready(rig.first)
    rig.say(rig.second, Fault("cannot import 'shop'", "Traceback", cannot_load=True))
    assert rig.pool_state.drain is None


def test_a_pool_that_was_ready_goes_on_when_a_replacement_cannot_load_its_code() -> None:
    rig = Rig(2).boot()
    rig.exit(rig.first)
    rig.fork(rig.first)
    rig.say(rig.first, Fault("cannot import 'shop'", "Traceback", cannot_load=True))
    rig.exit(rig.first, 256)
    assert rig.pool_state.drain is None


def test_another_protocol_is_no_worker_of_ours() -> None:
    rig = Rig(1)
    rig.load()
    rig.say(rig.first, Hello(99, 4242))
    assert rig.process_control.killed == [rig.first.number]
    assert rig.first.kill_cause is Cause.BOOT
    assert "protocol 99" in (rig.pool_state.last_error or "")


def test_messages_of_a_dead_or_unknown_worker_change_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1).boot()
    dead = rig.first
    rig.exit(dead)
    rig.say(dead, Drained())
    rig.feed(WorkerMessage(99, Drained()))
    rig.feed(WorkerExited(99, 0))
    rig.feed(WorkerDisconnected(99, None))
    assert "unexpected Drained" in caplog.text


def test_a_message_out_of_order_is_logged_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(1).boot()
    rig.say(rig.first, Drained())
    rig.say(rig.first, Draining())
    assert rig.first.state is WorkerState.DRAINED
    assert "unexpected draining while drained" in caplog.text


def test_counters_of_the_dead_stay_in_the_totals() -> None:
    rig = Rig(1).boot()
    rig.beat(rig.first, started=10, succeeded=9)
    rig.exit(rig.first)
    rig.fork(rig.first)
    rig.ready(rig.first)
    rig.beat(rig.first, started=3, succeeded=1)
    sums = rig.pool_state.totals.sums()
    assert (sums["started"], sums["succeeded"], sums["restarts"]) == (13, 10, 1)


def test_lost_readiness_has_a_reason() -> None:
    rig = Rig(1).boot()
    rig.say(rig.first, Waiting("connection refused"))
    assert rig.pool_state.not_ready_because(rig.now) == "server away"
    rig.exit(rig.first)
    assert rig.pool_state.not_ready_because(rig.now) == "no worker is ready"


def test_a_pool_whose_loops_are_all_silent_is_not_ready_until_one_beats() -> None:
    rig = Rig(2).boot()
    rig.pass_seconds(LATE_SECONDS - 0.25, lambda: rig.beat(rig.first))
    assert rig.pool_state.ready_slots(rig.now) == 2
    rig.pass_seconds(1.0, lambda: rig.beat(rig.first))  # the second is blocked, or was stopped
    assert rig.pool_state.ready_slots(rig.now) == 1
    assert rig.pool_state.not_ready_because(rig.now) is None
    rig.pass_seconds(LATE_SECONDS + 0.25)
    assert rig.pool_state.ready_slots(rig.now) == 0
    assert rig.pool_state.not_ready_because(rig.now) == "every worker is silent"
    rig.beat(rig.second)
    assert rig.pool_state.not_ready_because(rig.now) is None


@pytest.mark.parametrize("trouble", ["outage", "silence", "none", "both"])
def test_readiness_is_the_same_wherever_it_is_told(trouble: str) -> None:
    rig = Rig(2).boot()
    if trouble in ("silence", "both"):
        rig.pass_seconds(LATE_SECONDS + 0.5)
        if trouble == "both":
            rig.beat(rig.first)
    else:
        rig.pass_seconds(LATE_SECONDS + 0.5, lambda: [rig.beat(rig.first), rig.beat(rig.second)])
    if trouble in ("outage", "both"):
        for worker in (rig.first, rig.second) if trouble == "outage" else (rig.first,):
            rig.say(worker, Waiting("connection refused"))
    ready = 2 if trouble == "none" else 0
    status = report(rig.pool_state, rig.now)
    shown = "\n".join(line.plain for line in render(read_report(json.dumps(status))))
    assert (rig.pool_state.not_ready_because(rig.now) is None) is (ready > 0)
    assert (status["supervisor"]["not_ready_because"] is None) is (ready > 0)
    assert status["supervisor"]["ready_workers"] == ready
    assert sum(worker["ready"] for worker in status["workers"]) == ready
    assert worker_states(rig.pool_state, rig.now)["ready"] == ready
    assert f"{ready} of 2 workers ready" in service_status(rig.pool_state, rig.now).status
    assert f"{ready} of 2 workers ready" in shown
    assert ("not ready: " in shown) is (ready == 0)
    assert ("the server is away: connection refused" in shown) is (trouble in ("outage", "both"))


def test_an_outage_is_logged_once_for_each_worker_and_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1).boot()
    for _ in range(3):
        rig.say(rig.first, Waiting("connection refused"))
    rig.say(rig.first, Waiting("LOADING"))
    told = [record for record in caplog.records if "waits for the server" in record.message]
    assert len(told) == 2


def test_a_signal_that_means_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(1).boot()
    rig.feed(SignalReceived(ReceivedSignal(signal.SIGWINCH, rig.now)))
    assert "SIGWINCH is not understood" in caplog.text
    rig.feed(SignalReceived(ReceivedSignal(signal.SIGCHLD, rig.now)))
    assert rig.pool_state.drain is None


def test_usr1_dumps_every_worker() -> None:
    rig = Rig(2)
    rig.load()
    rig.ready(rig.first)
    rig.feed(SignalReceived(ReceivedSignal(signal.SIGUSR1, rig.now)))
    assert rig.process_control.dumped == [1, 2]


def test_an_observer_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(1)

    def fail(event: object) -> None:
        raise ValueError("the observer's own bug")

    rig.pool_state.observer = fail
    rig.boot()
    assert rig.pool_state.ready_at is not None
    assert "the observer of pool events failed" in caplog.text
