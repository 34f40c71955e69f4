"""Workers that are replaced, added or given up one by one: restart, recycle, scale."""

import signal

import pytest

from ipc.messages import Drain, Heartbeat, Ready, WorkerCounters
from supervisor.monitoring.status import report, worker_states
from supervisor.observer import Scaled
from supervisor.pool.state.inbox_events import CommandReceived, SignalReceived
from supervisor.pool.state.pool_commands import Done, DumpAll, Outcome, Refused, Restart, Scale
from supervisor.pool.state.pool_commands import Drain as DrainOrder
from supervisor.pool.state.worker_registry import WorkerProcess, WorkerState
from supervisor.signals import ReceivedSignal
from tests.support.recording_process_control import Rig


def ordered(rig: Rig, order: Restart | Scale | DumpAll | DrainOrder) -> list[Outcome]:
    answers: list[Outcome] = []
    rig.feed(CommandReceived(order, answers.append))
    return answers


def get_ready(rig: Rig, worker: WorkerProcess) -> None:
    rig.fork(worker)
    rig.ready(worker)


def did(rig: Rig, worker: WorkerProcess, started: int, rss: int = 2_000_000) -> None:
    """A heartbeat, and the tick at which it is looked at."""
    counters = WorkerCounters(started=started)
    rig.say(worker, Heartbeat(1, 0.0, [], 0, counters, rss))
    rig.pass_seconds(0.25)


# Restart.


def test_a_restarted_worker_goes_when_its_successor_is_ready() -> None:
    rig = Rig(2).boot()
    old = rig.first
    answers = ordered(rig, Restart(1))
    successor = rig.process_control.spawned[-1]
    assert (successor.slot, answers) == (1, [])
    get_ready(rig, successor)
    assert answers == [Done(f"worker 1 was replaced; its pid is {successor.pid}")]
    assert rig.process_control.sent_to(old.number, Drain) == [Drain(None)]
    rig.drain_and_exit(old)
    assert rig.first is successor
    assert rig.pool_state.totals.replacements == {"requested": 1}
    assert rig.pool_state.totals.restarts.total() == 0


def test_a_restart_whose_successors_fail_keeps_the_old_worker_and_is_refused() -> None:
    rig = Rig(1).boot()
    old = rig.first
    answers = ordered(rig, Restart(1))
    for _ in range(3):
        rig.fork(rig.process_control.spawned[-1])
        rig.exit(rig.process_control.spawned[-1])
        rig.pass_seconds(1.0)
    assert answers == [Refused("3 successors failed; last: killed by SIGKILL")]
    assert rig.first is old
    assert old.state is WorkerState.READY


def test_a_slot_that_is_not_there_or_is_being_replaced_is_refused() -> None:
    rig = Rig(2).boot()
    assert ordered(rig, Restart(3)) == [Refused("there is no slot 3; they are 1 to 2")]
    ordered(rig, Restart(1))
    assert ordered(rig, Restart(1)) == [Refused("worker 1 is being replaced: requested")]


def test_a_slot_in_a_long_pause_is_restarted_at_once() -> None:
    rig = Rig(1).boot()
    rig.exit(rig.first)
    rig.fork(rig.first)
    rig.exit(rig.first)
    rig.pool_state.registry.slots()[0].due_at = rig.now + 1000.0
    spawned = len(rig.process_control.spawned)
    answers = ordered(rig, Restart(1))
    assert len(rig.process_control.spawned) == spawned + 1
    get_ready(rig, rig.process_control.spawned[-1])
    assert isinstance(answers[0], Done)


def test_a_worker_not_yet_forked_is_restarted_after_its_fork() -> None:
    rig = Rig(1)
    rig.load()
    ordered(rig, Restart(1))
    assert len(rig.process_control.spawned) == 1, "the nursery's answer could not tell them apart"
    rig.fork(rig.first)
    assert len(rig.process_control.spawned) == 2


# Recycle.


def test_a_worker_that_has_started_enough_tasks_is_replaced_successor_first() -> None:
    rig = Rig(2, max_tasks=100, recycle_jitter=0.0).boot()
    old = rig.first
    did(rig, old, 99)
    assert len(rig.process_control.spawned) == 2
    did(rig, old, 100)
    assert rig.process_control.spawned[-1].slot == 1
    assert old.state is WorkerState.READY
    get_ready(rig, rig.process_control.spawned[-1])
    assert old.state is WorkerState.DRAINING
    assert rig.pool_state.totals.replacements == {"recycle": 1}


def test_one_is_recycled_at_a_time() -> None:
    rig = Rig(3, max_tasks=10, recycle_jitter=0.0).boot()
    for worker in rig.pool_state.registry.consuming():
        did(rig, worker, 10)
    assert len(rig.process_control.spawned) == 4
    get_ready(rig, rig.process_control.spawned[-1])
    rig.pass_seconds(0.25)
    assert len(rig.process_control.spawned) == 5


def test_the_limit_of_each_worker_is_drawn_within_the_jitter() -> None:
    rig = Rig(1, max_tasks=100, recycle_jitter=0.5).boot()
    rig.first.jitter = 1.0
    did(rig, rig.first, 49)
    assert len(rig.process_control.spawned) == 1
    did(rig, rig.first, 50)
    assert len(rig.process_control.spawned) == 2


def test_a_worker_that_grew_over_its_memory_is_replaced() -> None:
    rig = Rig(1, max_rss=50_000_000, recycle_jitter=0.0).boot()
    did(rig, rig.first, 0, rss=50_000_000)
    assert len(rig.process_control.spawned) == 1
    did(rig, rig.first, 0, rss=50_000_001)
    assert len(rig.process_control.spawned) == 2


def test_a_worker_over_the_limit_when_it_is_ready_is_warned_of_once_and_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(2, max_rss=10_000_000, recycle_jitter=0.0)
    rig.load()
    for worker in list(rig.process_control.spawned):
        rig.fork(worker)
        rig.say(worker, Ready(worker.name, worker.name, 11_000_000))
        did(rig, worker, 0, rss=12_000_000)
    assert len(rig.process_control.spawned) == 2
    told = [r.getMessage() for r in caplog.records if "--max-rss" in r.getMessage()]
    assert len(told) == 1
    assert "has 11.0 MB of memory when it is ready, --max-rss is 10.0 MB" in told[0]


def test_a_recycled_worker_serves_until_some_successor_gets_ready_however_long() -> None:
    rig = Rig(1, max_tasks=1, recycle_jitter=0.0).boot()
    old = rig.first
    did(rig, old, 1)
    for _ in range(6):
        rig.fork(rig.process_control.spawned[-1])
        rig.exit(rig.process_control.spawned[-1])
        rig.pass_seconds(40.0, lambda: rig.beat(old))
    assert old.state is WorkerState.READY
    assert rig.pool_state.drain is None
    get_ready(rig, rig.process_control.spawned[-1])
    assert old.state is WorkerState.DRAINING


# Scale.


def test_a_larger_pool_is_filled() -> None:
    rig = Rig(1).boot()
    assert ordered(rig, Scale(2)) == [Done("scaled from 1 to 2 processes")]
    assert rig.process_control.spawned[-1].slot == 2
    assert rig.saw(Scaled) == [Scaled(2, rig.now)]
    assert rig.pool_state.registry.target == 2


def test_a_smaller_pool_lets_the_highest_finish() -> None:
    rig = Rig(3).boot()
    second, third = rig.second, rig.worker(3)
    ordered(rig, Scale(1))
    assert {n for n, m in rig.process_control.sent if isinstance(m, Drain)} == {
        second.number,
        third.number,
    }
    shown = [(row["slot"], row["state"]) for row in report(rig.pool_state, rig.now)["workers"]]
    assert shown == [(1, "ready"), (2, "draining"), (3, "draining")]
    assert worker_states(rig.pool_state, rig.now)["draining"] == 2
    rig.drain_and_exit(second)
    rig.drain_and_exit(third)
    rig.pass_seconds(5.0, lambda: rig.beat(rig.first))
    assert len(rig.process_control.spawned) == 3
    assert rig.pool_state.totals.crashes == 0


def test_a_slot_wanted_again_is_filled_while_its_former_worker_drains() -> None:
    rig = Rig(2).boot()
    former = rig.second
    ordered(rig, Scale(1))
    ordered(rig, Scale(2))
    assert rig.process_control.spawned[-1].slot == 2
    assert rig.process_control.spawned[-1] is not former
    get_ready(rig, rig.process_control.spawned[-1])
    shown = [(row["slot"], row["state"]) for row in report(rig.pool_state, rig.now)["workers"]]
    assert shown == [(1, "ready"), (2, "draining"), (2, "ready")]


def test_a_worker_not_yet_forked_when_its_slot_is_given_up_is_killed_as_soon_as_it_is() -> None:
    rig = Rig(2)
    rig.load()
    unborn = rig.process_control.spawned[1]
    ordered(rig, Scale(1))
    assert rig.process_control.killed == [unborn.number]
    ordered(rig, Scale(2))
    assert len(rig.process_control.spawned) == 2
    rig.fork(unborn)
    rig.exit(unborn)
    assert rig.process_control.spawned[-1].slot == 2
    assert len(rig.process_control.spawned) == 3
    assert rig.pool_state.totals.restarts.total() == 0


def test_a_worker_that_got_ready_just_before_its_slot_was_given_up_finishes_what_it_claimed() -> (
    None
):
    rig = Rig(2)
    rig.load()
    for worker in list(rig.process_control.spawned):
        rig.fork(worker)
    late = rig.second
    rig.ready(rig.first)
    ordered(rig, Scale(1))
    assert rig.process_control.sent_to(late.number, Drain) == [Drain(None)]
    rig.ready(late)
    rig.pass_seconds(60.0, lambda: (rig.beat(rig.first), rig.beat(late, "a task")))
    assert rig.process_control.killed == []
    rig.exit(late)
    assert len(rig.pool_state.adoptions) == 1


def test_a_worker_that_is_starting_when_its_slot_is_given_up_has_five_seconds_to_end() -> None:
    rig = Rig(2)
    rig.load()
    for worker in list(rig.process_control.spawned):
        rig.fork(worker)
    rig.ready(rig.first)
    late = rig.second
    ordered(rig, Scale(1))
    rig.pass_seconds(6.0, lambda: rig.beat(rig.first))
    assert rig.process_control.killed == [late.number]


def test_a_crash_of_a_worker_that_was_given_up_is_counted_and_its_tasks_are_adopted() -> None:
    rig = Rig(2).boot()
    former = rig.second
    ordered(rig, Scale(1))
    rig.exit(former)
    assert rig.pool_state.totals.crashes == 1
    assert rig.pool_state.totals.restarts.total() == 0
    assert len(rig.pool_state.adoptions) == 1


def test_ttin_and_ttou_are_one_more_and_one_less_each_time_and_never_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(1).boot()
    for _ in range(2):
        rig.feed(SignalReceived(ReceivedSignal(signal.SIGTTIN, rig.now)))
    assert rig.pool_state.registry.target == 3
    for _ in range(3):
        rig.feed(SignalReceived(ReceivedSignal(signal.SIGTTOU, rig.now)))
    assert rig.pool_state.registry.target == 1
    assert "not scaled: a pool has 1 to 1024 processes, not 0" in caplog.text


@pytest.mark.parametrize("processes", [0, -1, 1025])
def test_a_size_that_no_pool_has_is_refused(processes: int) -> None:
    rig = Rig(1).boot()
    (refused,) = ordered(rig, Scale(processes))
    assert isinstance(refused, Refused)
    assert rig.pool_state.registry.target == 1


def test_the_size_that_it_has_is_no_news() -> None:
    rig = Rig(2).boot()
    assert ordered(rig, Scale(2)) == [Done("the pool has 2 processes already")]
    assert rig.saw(Scaled) == []


def test_restarts_allowed_grow_with_the_pool_unless_they_were_given() -> None:
    rig = Rig(1).boot()
    ordered(rig, Scale(4))
    for worker in rig.process_control.spawned[1:]:
        get_ready(rig, worker)
    for _ in range(40):
        rig.exit(rig.first)
        rig.pass_seconds(0.5, rig.all_beat)
        rig.pool_state.registry.slots()[0].due_at = rig.now
        rig.pass_seconds(0.25, rig.all_beat)
        get_ready(rig, rig.first)
    assert rig.pool_state.drain is None
    rig.exit(rig.first)
    assert rig.pool_state.drain is not None
    assert "more than 40 restarts in 1m00s" in (rig.pool_state.drain.reason or "")


def test_a_pool_that_drains_is_neither_scaled_nor_restarted() -> None:
    rig = Rig(1).boot()
    assert ordered(rig, DrainOrder()) == [Done("draining")]
    assert ordered(rig, Scale(2)) == [Refused("the pool drains")]
    assert ordered(rig, Restart(1)) == [Refused("the pool drains")]


def test_a_restart_that_a_drain_overtakes_is_answered_once() -> None:
    rig = Rig(1).boot()
    answers = ordered(rig, Restart(1))
    ordered(rig, DrainOrder())
    rig.pass_seconds(1.0)
    assert answers == [Refused("the pool drains")]


def test_a_dump_that_is_asked_for_goes_to_the_log() -> None:
    rig = Rig(2).boot()
    (done,) = ordered(rig, DumpAll())
    assert isinstance(done, Done)
    assert len(rig.process_control.dumped) == 2
