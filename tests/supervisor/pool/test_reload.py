"""Reload: what is forked from which generation, when, and what happens if the new code is bad."""

import signal
from datetime import timedelta

from ipc.messages import Drain, Hello, Loaded, LoadFailed, Unsafe, Waiting
from supervisor.observer import ReloadFinished, ReloadStarted
from supervisor.pool.state.inbox_events import CommandReceived, NurseryMessage, SignalReceived
from supervisor.pool.state.pool_commands import Done, Outcome, Refused, Reload, Restart, Scale
from supervisor.pool.state.worker_registry import WorkerProcess, WorkerState
from supervisor.signals import ReceivedSignal
from tests.support.recording_process_control import Rig


class Rolling(Rig):
    """A rig that is reloaded, with the answers to its orders."""

    def __init__(self, processes: int = 2, **options: object) -> None:
        super().__init__(processes, **options)
        self.answers: list[Outcome] = []
        self.boot()

    def reload(self) -> None:
        self.feed(CommandReceived(Reload(), self.answers.append))

    def loaded(self) -> int:
        """The newest nursery has imported the code; its generation."""
        generation, _ = self.process_control.nurseries[-1]
        self.feed(NurseryMessage(generation, Hello(1, 1000 + generation)))
        self.feed(NurseryMessage(generation, Loaded(generation, 0.1)))
        return generation

    def load_failed(self, reason: str = "no module named shop") -> None:
        generation, _ = self.process_control.nurseries[-1]
        self.feed(NurseryMessage(generation, LoadFailed(generation, reason)))
        self.nursery_exit(generation)

    @property
    def newest(self) -> WorkerProcess:
        return self.process_control.spawned[-1]

    def get_ready(self, worker: WorkerProcess) -> None:
        self.fork(worker)
        self.ready(worker)

    def drained(self, worker: WorkerProcess) -> bool:
        return bool(self.process_control.sent_to(worker.number, Drain))

    def consuming(self) -> int:
        return len(self.pool_state.registry.consuming())


def test_a_reload_starts_a_nursery_beside_the_old_one_and_reports_it() -> None:
    rig = Rolling()
    assert rig.pool_state.state == "running"
    rig.reload()
    assert rig.process_control.nurseries == [(1, True), (2, True)]
    assert rig.process_control.retired == []
    assert rig.pool_state.state == "reloading"
    assert rig.saw(ReloadStarted) == [ReloadStarted(2, rig.now)]
    assert len(rig.process_control.spawned) == 2
    assert rig.answers == []


def test_hup_reloads() -> None:
    rig = Rolling()
    rig.feed(SignalReceived(ReceivedSignal(signal.SIGHUP, rig.now)))
    assert len(rig.process_control.nurseries) == 2


def test_one_worker_proves_the_new_code_before_any_other_is_asked_for() -> None:
    rig = Rolling(3)
    rig.reload()
    rig.loaded()
    assert [each.slot for each in rig.process_control.spawned[3:]] == [1]
    rig.pass_seconds(1.0)
    assert len(rig.process_control.spawned) == 4
    rig.get_ready(rig.newest)
    assert [each.slot for each in rig.process_control.spawned[4:]] == [2, 3]
    assert {each.generation for each in rig.process_control.spawned[3:]} == {2}


def test_an_old_worker_drains_without_a_deadline_once_its_successor_is_ready() -> None:
    rig = Rolling()
    old = rig.first
    rig.reload()
    rig.loaded()
    rig.fork(rig.newest)
    assert not rig.drained(old)
    rig.ready(rig.newest)
    assert rig.process_control.sent_to(old.number, Drain) == [Drain(None)]
    assert old.state is WorkerState.DRAINING
    assert old.deadline is None
    assert rig.first.generation == 2


def test_never_fewer_than_target_are_ready() -> None:
    rig = Rolling(3)
    rig.reload()
    rig.loaded()
    least = rig.consuming()
    for _ in range(3):
        rig.get_ready(rig.newest if rig.newest.is_starting else rig.process_control.spawned[-2])
        least = min(least, rig.consuming())
    assert least >= 3


def test_it_ends_when_every_slot_has_a_worker_of_the_new_generation() -> None:
    rig = Rolling()
    old = [rig.first, rig.second]
    rig.reload()
    rig.loaded()
    rig.get_ready(rig.newest)
    assert rig.pool_state.state == "reloading"
    rig.now += 2.0
    rig.get_ready(rig.newest)
    assert rig.answers == [Done("every worker runs generation 2")]
    assert rig.pool_state.state == "running"
    assert rig.pool_state.reload_error is None
    (finished,) = rig.saw(ReloadFinished)
    assert (finished.generation, finished.error, finished.seconds) == (2, None, 2.0)
    assert rig.pool_state.totals.reloads == {"succeeded": 1}
    assert rig.pool_state.totals.replacements == {"reload": 2}
    for each in old:
        rig.drain_and_exit(each)
    assert rig.pool_state.totals.restarts.total() == 0
    assert len(rig.process_control.spawned) == 4


def test_the_old_nursery_retires_when_the_new_code_is_proven_and_its_end_is_no_news() -> None:
    rig = Rolling()
    rig.reload()
    rig.loaded()
    assert rig.process_control.retired == []
    rig.get_ready(rig.newest)
    assert rig.process_control.retired == [1]
    rig.nursery_exit(1)
    rig.pass_seconds(1.0)
    assert len(rig.process_control.nurseries) == 2
    assert rig.pool_state.totals.restarts.total() == 0


def test_code_that_does_not_import_leaves_the_old_generation_running_and_fails_the_reload() -> None:
    rig = Rolling()
    rig.reload()
    rig.load_failed("no module named shop")
    assert rig.answers == [Refused("no module named shop")]
    assert rig.pool_state.reload_error == "no module named shop"
    assert rig.pool_state.state == "running"
    assert rig.consuming() == 2
    rig.pass_seconds(5.0)
    assert len(rig.process_control.nurseries) == 2
    assert rig.saw(ReloadFinished)[0].error == "no module named shop"
    rig.exit(rig.first)
    assert rig.newest.generation == 1


def test_a_good_reload_forgets_the_error_of_a_bad_one() -> None:
    rig = Rolling(1)
    rig.reload()
    rig.load_failed()
    rig.reload()
    rig.loaded()
    rig.get_ready(rig.newest)
    assert rig.pool_state.reload_error is None
    assert isinstance(rig.answers[-1], Done)


def test_after_three_first_workers_that_do_not_get_ready_the_old_generation_stays() -> None:
    rig = Rolling()
    rig.reload()
    generation = rig.loaded()
    for _ in range(3):
        rig.fork(rig.newest)
        rig.exit(rig.newest)
        rig.pass_seconds(1.0, rig.all_beat)
    assert isinstance(rig.answers[0], Refused)
    assert "3 successors failed; last: killed by SIGKILL" in str(rig.pool_state.reload_error)
    assert rig.process_control.retired == [generation]
    assert rig.consuming() == 2
    assert len(rig.process_control.spawned) == 5
    assert rig.pool_state.totals.restarts.total() == 0, "nobody who served has died"


def test_a_crash_before_the_code_is_proven_is_filled_from_the_old_generation() -> None:
    rig = Rolling()
    rig.reload()
    rig.loaded()
    rig.exit(rig.second)
    assert (rig.newest.slot, rig.newest.generation) == (2, 1)


def test_a_crash_after_it_is_filled_from_the_new_one() -> None:
    rig = Rolling(3)
    rig.pool_state.starting_at_once = 1
    rig.reload()
    rig.loaded()
    rig.get_ready(rig.newest)
    third = rig.worker(3)
    rig.get_ready(rig.newest)
    rig.exit(third)
    rig.pass_seconds(0.5)
    assert (rig.newest.slot, rig.newest.generation) == (3, 2)
    rig.get_ready(rig.newest)
    assert isinstance(rig.answers[0], Done)


def test_a_slot_whose_worker_dies_while_its_successor_starts_is_filled_by_that() -> None:
    rig = Rolling()
    rig.reload()
    rig.loaded()
    successor = rig.newest
    rig.exit(rig.first)
    rig.pass_seconds(1.0)
    assert rig.newest is successor
    rig.get_ready(successor)
    assert rig.first is successor


def test_a_later_slot_that_fails_three_times_keeps_its_worker_and_fails_the_reload() -> None:
    rig = Rolling()
    stays = rig.second
    rig.reload()
    rig.loaded()
    rig.get_ready(rig.newest)
    for _ in range(3):
        rig.fork(rig.newest)
        rig.exit(rig.newest)
        rig.pass_seconds(1.0)
    assert rig.second is stays
    assert str(rig.pool_state.reload_error).startswith(
        "1 of 2 workers stay as they were; worker 2: 3"
    )
    assert rig.pool_state.totals.reloads == {"failed": 1}


def test_a_second_reload_takes_the_place_of_one_that_is_loading() -> None:
    rig = Rolling()
    rig.reload()
    rig.reload()
    assert rig.answers == [Refused("a newer reload took its place")]
    assert rig.process_control.killed_nurseries == [2]
    rig.nursery_exit(2, 9)
    assert rig.loaded() == 3
    assert rig.newest.generation == 3
    rig.get_ready(rig.newest)
    rig.get_ready(rig.newest)
    assert rig.answers[1:] == [Done("every worker runs generation 3")]


def test_a_second_reload_takes_the_place_of_one_that_rolls_out() -> None:
    rig = Rolling()
    rig.reload()
    rig.loaded()
    rig.get_ready(rig.newest)
    unready = rig.newest
    rig.reload()
    assert rig.process_control.killed == [unready.number]
    rig.exit(unready)
    rig.loaded()
    rig.get_ready(rig.newest)
    rig.get_ready(rig.newest)
    assert [type(each) for each in rig.answers] == [Refused, Done]
    assert {rig.first.generation, rig.second.generation} == {3}
    assert rig.process_control.retired == [1, 2]


def test_a_reload_before_the_pool_is_ready_begins_when_it_is() -> None:
    rig = Rig(1)
    answers: list[Outcome] = []
    rig.load()
    rig.feed(CommandReceived(Reload(), answers.append))
    rig.feed(CommandReceived(Reload(), answers.append))
    assert len(rig.process_control.nurseries) == 1
    rig.fork(rig.first)
    rig.ready(rig.first)
    assert len(rig.process_control.nurseries) == 2
    assert answers == []


def test_code_that_is_not_safe_to_fork_is_left_to_the_workers() -> None:
    rig = Rolling(1)
    rig.reload()
    rig.feed(NurseryMessage(2, Unsafe(2, ["a thread"])))
    rig.nursery_exit(2)
    assert rig.process_control.nurseries[-1] == (3, False)
    rig.loaded()
    rig.get_ready(rig.newest)
    assert rig.answers == [Done("every worker runs generation 3")]
    assert rig.pool_state.nurseries.preload is False
    rig.reload()
    assert rig.process_control.nurseries[-1] == (4, True), "newer code may be safe again"


def test_a_candidate_that_is_killed_while_it_loads_fails_the_reload() -> None:
    rig = Rolling()
    rig.reload()
    rig.nursery_exit(2, 9)
    (refused,) = rig.answers
    assert refused.text == (
        "the nursery ended: killed by SIGKILL while it imported the task modules"
    )


def test_a_candidate_that_dies_under_its_first_worker_fails_the_reload() -> None:
    rig = Rolling()
    rig.reload()
    rig.loaded()
    starting = rig.newest
    rig.fork(starting)
    rig.nursery_exit(2, 9)
    assert isinstance(rig.answers[0], Refused)
    assert rig.drained(starting)
    assert rig.first.generation == 1
    rig.pass_seconds(6.0)
    assert starting.number in rig.process_control.killed


def test_no_room_for_a_nursery_fails_the_reload() -> None:
    rig = Rolling()
    rig.process_control.no_room = OSError(11, "Resource temporarily unavailable")
    rig.reload()
    assert "Resource temporarily unavailable" in str(rig.pool_state.reload_error)
    assert rig.pool_state.state == "running"


def test_while_the_server_is_away_no_successor_is_asked_for() -> None:
    rig = Rolling()
    rig.reload()
    rig.say(rig.second, Waiting("connection refused"))
    rig.loaded()

    def meanwhile() -> None:
        rig.beat(rig.first)
        rig.beat(rig.second)

    rig.pass_seconds(60.0, meanwhile)
    assert len(rig.process_control.spawned) == 2
    rig.ready(rig.second)
    assert len(rig.process_control.spawned) == 3


def test_a_drain_ends_the_reload_and_kills_a_nursery_that_loads() -> None:
    rig = Rolling(1)
    rig.reload()
    rig.feed(SignalReceived(ReceivedSignal(signal.SIGTERM, rig.now)))
    assert rig.answers == [Refused("the pool drains")]
    assert rig.process_control.killed_nurseries == [2]
    rig.reload()
    assert rig.answers[1:] == [Refused("the pool drains")]
    assert rig.pool_state.state == "draining"


def test_a_drain_answers_reloads_asked_for_before_the_pool_was_ready() -> None:
    rig = Rig(1)
    answers: list[Outcome] = []
    rig.load()
    rig.feed(CommandReceived(Reload(), answers.append))
    rig.feed(SignalReceived(ReceivedSignal(signal.SIGTERM, rig.now)))
    assert answers == [Refused("the pool drains")]


def test_if_the_slot_that_proves_the_code_is_given_up_another_one_does() -> None:
    rig = Rolling(2)
    rig.feed(CommandReceived(Restart(1)))
    rig.reload()
    rig.loaded()
    assert [each.slot for each in rig.process_control.spawned[2:]] == [1, 2]
    rig.feed(CommandReceived(Scale(1)))
    assert rig.answers == []
    rig.get_ready(rig.process_control.spawned[2])
    assert (rig.newest.slot, rig.newest.generation) == (1, 2)
    rig.get_ready(rig.newest)
    assert rig.answers == [Done("every worker runs generation 2")]


def test_when_every_slot_is_empty_the_first_is_filled_by_the_one_that_proves_the_code() -> None:
    rig = Rolling(1)
    for _ in range(3):
        rig.exit(rig.first)
        rig.fork(rig.newest)
    slot = rig.pool_state.registry.slots()[0]
    rig.exit(rig.newest)
    slot.due_at = rig.now + 1000.0
    rig.reload()
    rig.loaded()
    assert (rig.newest.slot, rig.newest.generation) == (1, 2)
    rig.get_ready(rig.newest)
    assert rig.answers == [Done("every worker runs generation 2")]
    assert rig.consuming() == 1


def test_a_retire_timeout_bounds_the_old_ones() -> None:
    rig = Rolling(1, retire_timeout=timedelta(seconds=7))
    old = rig.first
    rig.reload()
    rig.loaded()
    rig.get_ready(rig.newest)
    assert rig.process_control.sent_to(old.number, Drain) == [Drain(7.0)]
    rig.pass_seconds(11.0, lambda: rig.beat(rig.first))
    assert rig.process_control.killed == []
    rig.pass_seconds(2.0, lambda: rig.beat(rig.first))
    assert rig.process_control.killed == [old.number]
    rig.exit(old)
    assert rig.pool_state.totals.crashes == 0
