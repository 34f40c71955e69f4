"""A reload that begins while workers are being replaced for other reasons."""

import signal

from ipc.messages import Hello, Loaded, LoadFailed
from supervisor.pool.state.inbox_events import CommandReceived, NurseryMessage, SignalReceived
from supervisor.pool.state.pool_commands import Done, Outcome, Refused, Reload, Restart
from supervisor.pool.state.worker_registry import WorkerProcess
from supervisor.signals import ReceivedSignal
from tests.support.recording_process_control import Rig


def test_the_successor_of_a_restart_that_is_of_the_old_code_is_replaced_by_the_reload_too() -> None:
    rig = Rig(2).boot()
    rig.feed(CommandReceived(Restart(1)))
    old_code = rig.process_control.spawned[-1]
    rig.fork(old_code)
    answers = reload(rig)
    get_newest_ready(rig)
    assert rig.second.generation == 2
    assert answers == [], "worker 1 is to come"
    rig.ready(old_code)
    assert answers == []
    get_newest_ready(rig)
    assert rig.first.generation == 2
    assert answers == [Done("every worker runs generation 2")]


def test_a_recycle_whose_successors_hang_does_not_keep_the_only_worker_from_a_reload() -> None:
    rig = recycling_one()
    hangs = rig.process_control.spawned[-1]
    rig.fork(hangs)
    answers = reload(rig)
    assert (rig.process_control.spawned[-1].slot, rig.process_control.spawned[-1].generation) == (
        1,
        2,
    )
    get_newest_ready(rig)
    assert rig.first.generation == 2
    assert answers == [Done("every worker runs generation 2")]


def test_a_recycle_that_gave_way_to_a_reload_which_failed_begins_anew() -> None:
    rig = recycling_one()
    given_up = rig.process_control.spawned[-1]
    rig.fork(given_up)
    answers = reload(rig)
    rig.exit(given_up)
    rig.nursery_exit(2, 9)
    assert isinstance(answers[0], Refused)
    rig.pass_seconds(0.25)
    assert rig.process_control.spawned[-1].generation == 1
    get_newest_ready(rig)
    assert rig.first is rig.process_control.spawned[-1]
    assert rig.pool_state.totals.replacements == {"recycle": 1}


def test_a_nursery_that_does_not_end_after_its_last_worker_is_killed() -> None:
    rig = Rig(1).boot()
    old = rig.first
    reload(rig)
    get_newest_ready(rig)
    assert rig.process_control.retired == [1]
    rig.pass_seconds(60.0, lambda: beat(rig, old, rig.first))
    assert rig.process_control.killed_nurseries == [], "its last worker still runs a task"
    rig.drain_and_exit(old)
    rig.pass_seconds(4.5, lambda: rig.beat(rig.first))
    assert rig.process_control.killed_nurseries == []
    rig.pass_seconds(1.0, lambda: rig.beat(rig.first))
    assert rig.process_control.killed_nurseries == [1]
    rig.nursery_exit(1, 9)
    assert rig.pool_state.totals.restarts.total() == 0
    assert len(rig.process_control.nurseries) == 2


def test_a_nursery_that_could_not_load_and_does_not_end_is_killed_and_the_reload_fails() -> None:
    rig = Rig(1).boot()
    answers: list[Outcome] = []
    rig.feed(CommandReceived(Reload(), answers.append))
    rig.feed(NurseryMessage(2, LoadFailed(2, "no module named shop")))
    rig.pass_seconds(5.5, lambda: rig.beat(rig.first))
    assert rig.process_control.killed_nurseries == [2]
    rig.nursery_exit(2, 9)
    assert answers == [Refused("no module named shop")]


def test_time_in_which_the_machine_was_suspended_is_not_a_nurserys_delay() -> None:
    rig = Rig(1).boot()
    old = rig.first
    reload(rig)
    get_newest_ready(rig)
    rig.drain_and_exit(old)
    rig.pass_seconds(1.0, lambda: rig.beat(rig.first))
    rig.now += 3600.0
    rig.pass_seconds(1.0, lambda: rig.beat(rig.first))
    assert rig.process_control.killed_nurseries == []
    rig.pass_seconds(4.0, lambda: rig.beat(rig.first))
    assert rig.process_control.killed_nurseries == [1]


def recycling_one() -> Rig:
    """A pool of one worker whose successor was asked for since it has started enough tasks."""
    rig = Rig(1, max_tasks=10).boot()
    rig.beat(rig.first, started=10)
    rig.pass_seconds(0.25)
    assert len(rig.process_control.spawned) == 2
    return rig


def reload(rig: Rig) -> list[Outcome]:
    """Begin one, and have its nursery load the code."""
    answers: list[Outcome] = []
    rig.feed(CommandReceived(Reload(), answers.append))
    generation, _ = rig.process_control.nurseries[-1]
    rig.feed(NurseryMessage(generation, Hello(1, 1000 + generation)))
    rig.feed(NurseryMessage(generation, Loaded(generation, 0.1)))
    return answers


def get_newest_ready(rig: Rig) -> None:
    newest = rig.process_control.spawned[-1]
    rig.fork(newest)
    rig.ready(newest)


def beat(rig: Rig, *workers: WorkerProcess) -> None:
    for each in workers:
        rig.beat(each)


def test_a_second_hup_is_a_second_reload_however_soon_it_comes() -> None:
    rig = Rig(1).boot()
    rig.feed(SignalReceived(ReceivedSignal(signal.SIGHUP, rig.now)))
    rig.feed(NurseryMessage(2, LoadFailed(2, "no module named shop")))
    rig.nursery_exit(2)
    rig.feed(SignalReceived(ReceivedSignal(signal.SIGHUP, rig.now + 0.1)))
    assert len(rig.process_control.nurseries) == 3
